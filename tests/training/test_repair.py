"""An int8 file that loses too much is repaired, step by step; another is left alone."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from quantize.planted_faults import examples, network, scale_channel

import keras_dlcourse as kd
from keras_dlcourse.training import Recipe, RunFolder
from keras_dlcourse.training.run import repair
from keras_dlcourse.training.run.repair import BIAS, EQUALIZE, QAT, find_shortfall, repair_file

RECIPE = Recipe(learning_rate=1e-3)
TASK = SimpleNamespace(
    metric="accuracy",
    mode="max",
    augmentation=lambda data, recipe: None,
    add_augmentation=lambda model, layer: model,
    most_compared=lambda data: None,
    fit_data=lambda data, recipe: data.train,
    compile_options=lambda data, recipe: {
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": ["accuracy"],
    },
)


@pytest.fixture(scope="module", params=["faulty", "healthy"])
def exported(request, tmp_path_factory):
    """A network whose channels differ by a factor of 100, or not; its data and its int8 file."""
    model = network()
    if request.param == "faulty":
        scale_channel(model, "stem", "depthwise", channel=3, factor=100)
        scale_channel(model, "middle", "late", channel=3, factor=100)
    model.compile(keras.optimizers.Adam(1e-3), **TASK.compile_options(None, RECIPE))

    def part(n, seed):
        """Return the images on which the network is surest: 8 bits change no answer."""
        images = examples(3 * n, seed)
        scores = model.predict(images, batch_size=360, verbose=0)
        margins = np.diff(np.sort(scores)[:, -2:])[:, 0]
        surest = np.sort(np.argsort(-margins)[:n])
        labels = scores[surest].argmax(1).astype("int32")
        return kd.data.pipeline(images[surest], labels, batch_size=40)

    data = SimpleNamespace(train=part(120, 1), validation=part(60, 2), test=part(80, 3))
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    path = folder.tflite("int8")
    kd.export.to_tflite(model, path, quantization="int8", calibration=data.train)
    return model, data, folder, kd.export.verify(model, path, data.test)


def test_steps_are_tried_until_the_file_is_good(exported):
    model, data, folder, before = exported
    weights, said = model.get_weights(), []
    content = folder.tflite("int8").read_bytes()
    after, steps = repair_file(
        model, data, RECIPE, TASK, data.train, {}, folder, before, said.append
    )
    assert all(map(np.array_equal, weights, model.get_weights()))
    if not find_shortfall(before):
        assert (after, steps, said) == (before, [], [])
        assert folder.tflite("int8").read_bytes() == content
        return
    assert before.agreement < 0.95
    assert re.fullmatch(r"Repairing model.int8.tflite: it .* on validation images", said[0])
    json.dumps(steps)
    assert [step["step"] for step in steps] == [BIAS, EQUALIZE]  # training is not needed
    assert steps[-1]["kept"] and steps[-1]["after"]["agreement"] == after.agreement >= 0.97
    assert steps[0]["before"] == {"agreement": before.agreement, "accuracy": before.accuracy}
    assert said[1] == "Trying bias correction" and said[3] == "Trying cross-layer equalization"
    assert len(said) == 5 and said[4].startswith(f"{EQUALIZE}: agreement with Keras from ")
    # What is said of the file is true of the file in the folder.
    found = kd.export.verify(model, folder.tflite("int8"), data.test)
    assert (found.agreement, found.accuracy) == (after.agreement, after.accuracy)
    assert "a copy of this model with other biases" in str(found) and found.passed
    assert after.path == folder.tflite("int8")


def test_training_in_integers_and_steps_that_do_not_help(exported, monkeypatch, capsys):
    model, data, folder, before = exported
    if not find_shortfall(before):
        return

    def spoil(job, kept):
        worse = keras.models.clone_model(job.model)
        worse.set_weights([-weight for weight in job.model.get_weights()])
        return worse

    def refuse(job, kept):
        raise ValueError("has two inputs")

    kd.export.to_tflite(model, folder.tflite("int8"), quantization="int8", calibration=data.train)
    content = folder.tflite("int8").read_bytes()
    monkeypatch.setattr(repair, "LEAST_STEPS", 3)
    monkeypatch.setattr(
        repair, "STEPS", {"Spoiling": spoil, "Refusing": refuse, QAT: repair.STEPS[QAT]}
    )
    said = []
    after, steps = repair_file(
        model, data, RECIPE, TASK, data.train, {}, folder, before, said.append
    )
    assert [step["kept"] for step in steps[:2]] == [False, False]
    assert steps[1]["problem"] == "has two inputs" and "after" not in steps[1]
    assert said[2].endswith("; not kept") and said[4] == "Refusing is not possible: has two inputs"
    trained = steps[2]
    assert trained["before"] == steps[0]["before"] and trained["step"] == QAT
    assert after.agreement >= before.agreement
    assert trained["kept"] == (folder.tflite("int8").read_bytes() != content)
    assert trained["kept"] and "Epoch 1/1: 3 steps" in capsys.readouterr().out
    copy = keras.models.load_model(folder.trained_in_integers)
    assert kd.export.verify(copy, folder.tflite("int8"), data.test).same_weights


def test_the_test_part_decides_nothing(exported, monkeypatch):
    model, data, folder, before = exported
    if not find_shortfall(before):
        return
    verify = repair._verify

    def mislead(job, path, part):
        found = verify(job, path, part)
        if part is data.test:
            found.outputs[0].figures["agreement"] = 0.0
        return found

    kd.export.to_tflite(model, folder.tflite("int8"), quantization="int8", calibration=data.train)
    monkeypatch.setattr(repair, "_verify", mislead)
    monkeypatch.setattr(repair, "STEPS", {EQUALIZE: repair.STEPS[EQUALIZE]})
    figures = {"agreement": 1.0, "accuracy": 1.0, "accuracy_loss": 0.0}
    before = SimpleNamespace(**figures, iou=None, iou_loss=None)
    after, (step,) = repair_file(
        model, data, RECIPE, TASK, data.train, {}, folder, before, lambda text: None
    )
    assert step["kept"] and (after.agreement, step["before"]["agreement"]) == (0, 1)
