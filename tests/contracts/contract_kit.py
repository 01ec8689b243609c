"""What the contract checks share: random weights, images, reloading elsewhere, conversion."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

RELOAD = Path(__file__).with_name("reload_models.py")
BACKENDS = [
    name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name) is not None
]

# State that says something definite, where a random number would be nonsense.
DEFINITE = {"low": -1.5, "high": 2.0, "observed": 1.0, "factors": 0.9, "steps": 1}


def images(shape: tuple[int, ...], count: int = 3, seed: int = 0) -> np.ndarray:
    """Return seeded images that look normalised: mean 0, standard deviation 1."""
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype("float32")


def randomise(layer: keras.layers.Layer, seed: int = 0) -> None:
    """Give every weight and every moving statistic a random value of a sane size.

    Networks with fresh weights answer a constant, whatever the image: equality of two of them
    would prove nothing.
    """
    random = np.random.default_rng(seed)
    values = []
    for weight in layer.weights:
        shape = tuple(weight.shape)
        if weight.name in DEFINITE:
            values.append(np.full(shape, DEFINITE[weight.name]))
        elif len(shape) > 1:
            depthwise = len(shape) == 4 and shape[-1] == 1
            fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
            values.append(random.normal(0, np.sqrt(2 / fan_in), shape))
        elif weight.name in ("gamma", "moving_variance"):
            values.append(random.uniform(0.5, 1.5, shape))
        else:
            values.append(random.normal(0, 0.2, shape))
    layer.set_weights(values)


def model_of(layer: keras.layers.Layer, input_shape: tuple[int, ...]) -> keras.Model:
    """Return a model that is this layer and nothing else."""
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layer(inputs))


def answers(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """Return what a model answers in inference; called once, this is quicker than `predict`."""
    return keras.ops.convert_to_numpy(model(inputs, training=False))


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, as a share of the largest expected value."""
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def reload_elsewhere(folder: Path, backend: str, names: Sequence[str] = ()) -> dict[str, str]:
    """Load the `.keras` files of a folder in a fresh process, and write what they answer.

    The process imports `keras_dlcourse` and Keras only. `NAME.keras` and `NAME.inputs.npy` give
    `NAME.BACKEND.npy`. All are loaded if no names are given.

    Returns:
        For each name that failed, the error.
    """
    return json.loads(run_on(backend, RELOAD, folder, *names).splitlines()[-1])


def run_on(backend: str, *arguments: str | Path) -> str:
    """Run Python in a fresh process on a backend, and return what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def tflite(model: keras.Model) -> bytes:
    """Convert a model with nothing but builtin operators allowed."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        return converter.convert()


def run_tflite(content: bytes, inputs: np.ndarray) -> np.ndarray:
    """Run a `.tflite` model with one input and one output in the device's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    (source,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(source["index"], inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], inputs)
    interpreter.invoke()
    (target,) = interpreter.get_output_details()
    return interpreter.get_tensor(target["index"])
