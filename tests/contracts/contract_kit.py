"""What the contract checks share: random weights, images, many cases at once, conversion."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from cases.kinds import LossCase, MetricCase

from keras_dlcourse import backend

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


def together(
    names: Sequence[str], run: Callable[[Sequence[str]], dict[str, Any]]
) -> dict[str, Any]:
    """Run many cases as one, which is far cheaper, and one by one if that fails.

    Returns:
        What `run` gave for each name, or the exception that it raised for this name alone.
    """
    try:
        return dict(run(names))
    except Exception:
        found: dict[str, Any] = {}
        for name in names:
            try:
                found[name] = run([name])[name]
            except Exception as error:
                found[name] = error
        assert any(isinstance(answer, Exception) for answer in found.values()), (
            "these cases fail together, but not one by one"
        )
        return found


def answer_of(answers: dict[str, Any], name: str) -> Any:
    """Return what a case gave in `together`, or raise what it raised."""
    if isinstance(answers[name], Exception):
        raise answers[name]
    return answers[name]


def loss_gradient(
    case: LossCase, predicted: Any = None, **arguments: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient of a loss by what is predicted, and its value."""
    loss = case.loss(**case.arguments, **arguments)

    def both(x: Any) -> tuple[Any, Any]:
        value = loss(case.true, x)
        return value, value

    run = backend.gradient(both)
    if keras.backend.backend() == "jax":
        run = backend.compiled(run, [])  # operation by operation it takes many times as long
    if predicted is None:
        predicted = keras.ops.convert_to_tensor(case.predicted)
    gradient, value = run(predicted)
    return keras.ops.convert_to_numpy(gradient), keras.ops.convert_to_numpy(value)


def measured(case: MetricCase, **weights: np.ndarray) -> keras.metrics.Metric:
    """Return a metric that has seen the examples of its case."""
    metric = case.metric(**case.arguments)
    metric.update_state(case.true, case.predicted, **weights)
    return metric


def result(metric: keras.metrics.Metric) -> float:
    """Return what a metric has measured."""
    return float(keras.ops.convert_to_numpy(metric.result()))


def tflite(model: keras.Model) -> bytes:
    """Convert a model with nothing but builtin operators allowed.

    With its weights as constants, in one trace: `export` traces a model three times, and its
    variables cost the converter most of the time. tests/export go that road.
    """
    import tensorflow as tf

    values = [(variable, keras.ops.convert_to_numpy(variable)) for variable in model.variables]

    def serve(inputs: dict[str, Any]) -> Any:
        constants = [(variable, tf.constant(value)) for variable, value in values]
        given = [inputs[tensor.name] for tensor in model.inputs]
        with keras.StatelessScope(state_mapping=constants):
            outputs = model(given if len(given) > 1 else given[0], training=False)
        return outputs if isinstance(outputs, dict) else {"output": outputs}

    module = tf.Module()
    signature = {
        tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name)
        for tensor in model.inputs
    }
    module.serve = tf.function(serve, input_signature=[signature], autograph=False)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=module.serve)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        return converter.convert()


def run_tflite(content: bytes, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a `.tflite` model in the device's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=content).get_signature_runner()
    return runner(**inputs)
