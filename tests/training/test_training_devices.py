"""Training on several devices: the same as on one, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_dlcourse as kd
from keras_dlcourse.training.run import devices

PROGRAM = """
import sys, json
if sys.argv[1] == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from types import SimpleNamespace
import keras, numpy as np
import keras_dlcourse as kd
from keras_dlcourse.training import Evidence, Recipe, Task, run
from keras_dlcourse.report import TaskPage

def build(data, recipe):
    inputs = keras.Input(data.train.image_shape)
    x = keras.layers.Flatten()(inputs)
    if keras.backend.backend() == "jax":  # where it sees the whole batch
        x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dense(4, "tanh")(x)))

def evaluate(model, data):
    found = model.evaluate(data.test, return_dict=True, verbose=0)
    return Evidence(found, "", {"steps": int(model.optimizer.iterations)})

def part(examples, seed):
    x = np.random.default_rng(seed).random((examples, 3, 3, 1)).astype("float32")
    return kd.data.pipeline(x, x.mean((1, 2, 3)), batch_size=8, shuffle=seed == 0)

task = Task(
    name="mean", check_data=lambda data: None, build=build, mode="min", evaluate=evaluate,
    compile_options=lambda data, recipe: {"loss": "mse", "metrics": ["mae"]},
    quantizations=(), rules=(),
    page=TaskPage(metric="mae", figures=lambda test: [], sections=lambda *given: []),
)
class Count(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        if keras.backend.backend() == "jax":
            count = len(self.model.trainable_variables[0].value.sharding.device_set)
        else:
            count = self.model.distribute_strategy.num_replicas_in_sync
        print("devices in use:", count)

data = SimpleNamespace(name="numbers", train=part(24, 0), validation=part(10, 1), test=part(7, 2))
for devices in (None, "all"):
    data.train.epoch = 0
    recipe = Recipe(model="mean", task="mean", epochs=2, learning_rate=0.05)
    folder = f"{sys.argv[2]}/{devices}"
    run(data, folder, recipe, task=task, devices=devices, callbacks=[Count()])
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_find_what_one_does(backend, tmp_path):
    for module in ("tensorflow", backend):  # a run needs TensorFlow for its export
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}")
    environment = {**os.environ, "KERAS_BACKEND": backend}
    if backend == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        environment["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, backend, tmp_path],
        env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "devices=all: cpu:0, cpu:1 share each batch" in done.stdout
    assert re.findall("devices in use: (.)", done.stdout) == ["1", "2"]
    one, two = (tmp_path / name for name in ("None", "all"))
    assert json.loads((two / "config.json").read_text())["machine"]["devices"] == ["cpu:0", "cpu:1"]
    rows = [np.loadtxt(run / "history.csv", delimiter=",", skiprows=1) for run in (one, two)]
    names = (one / "history.csv").read_text().splitlines()[0].split(",")
    measured = [number for number, name in enumerate(names) if name != "seconds"]
    assert {"loss", "val_loss", "val_mae"} <= set(names)
    np.testing.assert_allclose(rows[1][:, measured], rows[0][:, measured], rtol=1e-5, atol=1e-6)
    results = [json.loads((run / "results.json").read_text()) for run in (one, two)]
    assert results[1]["steps"] == results[0]["steps"] == 6
    assert results[1]["test"] == pytest.approx(results[0]["test"], rel=1e-5)
    weights = [
        keras.saving.load_model(run / "model.keras", compile=False).get_weights()
        for run in (one, two)
    ]
    for first, second in zip(*weights, strict=True):
        np.testing.assert_allclose(second, first, rtol=1e-4, atol=1e-5)


def test_one_device_is_trained_on_as_usual(monkeypatch):
    said = []
    monkeypatch.setattr(devices.backend, "list_devices", lambda: ["cpu:0"])
    assert devices.find_devices("all", said.append) == []
    assert said == ["devices=all: there is only cpu:0, so training is as usual"]
    assert devices.find_devices(None, said.append) == [] and len(said) == 1
    with pytest.raises(ValueError, match="devices must be .*all.* Received: 'two'"):
        devices.find_devices("two", said.append)


def test_torch_names_the_way_out():
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    from keras_dlcourse.backend import torch

    with pytest.raises(ValueError, match="must be None on PyTorch.*KERAS_BACKEND=jax or tensor"):
        torch.list_devices()


def _pipeline(examples, size):
    return kd.data.pipeline(np.zeros((examples, 1, 1, 1)), np.zeros(examples), batch_size=size)


def test_batches_are_shared_evenly():
    three = ["gpu:0", "gpu:1", "gpu:2"]
    data = _pipeline(20, 6)
    assert devices.share_evenly(data, [], keep_size=True) is data
    assert [len(x) for x, _ in devices.share_evenly(data, three, keep_size=True)] == [6, 6, 6]
    # Of 20 examples 18 can be shared by three.
    assert [len(x) for x, _ in devices.share_evenly(data, three, keep_size=False)] == [6, 6, 6]
    sizes = [len(x) for x, _ in devices.share_evenly(_pipeline(20, 16), three, keep_size=False)]
    assert sizes == [9, 9]
    with pytest.raises(ValueError, match="multiple of the number of devices, 3. Received: 8.*=9"):
        devices.share_evenly(_pipeline(20, 8), three, keep_size=True)
    with pytest.raises(TypeError, match="made by kd.data.pipeline. Received: list"):
        devices.share_evenly([], three, keep_size=True)
