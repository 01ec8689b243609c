"""Multilayer perceptron: dense layers, with an output encoded for the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_dlcourse._checks import check_fraction, check_integer, check_one_of
from keras_dlcourse.losses.classification.tasks import TASKS
from keras_dlcourse.models._shared import parts

# Initializers that preserve the variance of signals: He for activations that pass half of their
# input, LeCun for SELU by its derivation, Glorot for activations that are linear around 0.
_HALVES = ("relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "swish", "hard_silu", "hard_swish")
_INITIALIZERS = {**dict.fromkeys(_HALVES, "he_normal"), "selu": "lecun_normal"}


def MLP(
    input_shape: int | Sequence[int],
    hidden_units: Sequence[int] = (64,),
    *,
    task: str,
    outputs: int | None = None,
    activation: str = "tanh",
    kernel_initializer: Any = None,
    dropout: float = 0.0,
    logits: bool = False,
    name: str = "mlp",
) -> keras.Model:
    """Build a feed-forward network whose outputs are encoded for the task.

    Train it with `kd.losses.for_task(task)`. Without hidden layers, it is the linear model of the
    task: linear regression, logistic regression, or a linear classifier.

    Args:
        input_shape: Number of features, or a shape such as `(28, 28, 1)`, which is flattened.
        hidden_units: Units of each hidden layer, first to last; `()` for none.
        task: `"regression"` (linear outputs), `"binary"` (sigmoid, labels 0 and 1), `"binary_tanh"`
            (tanh, labels -1 and 1), or `"multiclass"` (softmax).
        outputs: Number of outputs. Defaults to 1; for `"multiclass"`, the number of classes, at
            least 2, is required.
        activation: Name of the Keras activation of the hidden layers.
        kernel_initializer: Kernel initializer of the hidden layers. None selects He's for ReLU and
            similar activations, LeCun's for SELU, and Glorot's for all others, such as sigmoid and
            tanh.
        dropout: Fraction of each hidden layer's units dropped during training.
        logits: Whether to omit the last activation, for use with
            `kd.losses.for_task(task, from_logits=True)`.
        name: Name of the model.

    Returns:
        A functional model from `(batch, *input_shape)` to `(batch, outputs)`. Its layers are
        `hidden_1`, `hidden_2`, and so on, and `output`.

    Raises:
        ValueError: If an argument is out of range, or does not fit the task.

    Example:
        >>> from keras_dlcourse.losses import for_task
        >>> model = MLP(4, (16, 16), task="multiclass", outputs=3)
        >>> model.compile("adam", for_task("multiclass"), metrics=["accuracy"])
        >>> model.output_shape, model.count_params()
        ((None, 3), 403)

    Reference:
        Hornik, Stinchcombe & White, "Multilayer feedforward networks are universal approximators",
        Neural Networks 1989
    """
    shape = _check_shape(input_shape)
    units = _check_units(hidden_units)
    row = TASKS[check_one_of("task", task, tuple(TASKS))]
    count = _check_outputs(outputs, task, row.fewest)
    _check_activation(activation)
    share = check_fraction("dropout", dropout)
    if logits and not row.logits:
        raise ValueError(f"logits must be False if task={task!r}, whose outputs are linear.")
    if kernel_initializer is None:
        kernel_initializer = _INITIALIZERS.get(activation, "glorot_uniform")
    inputs = keras.Input(shape, name="features")
    x = keras.layers.Flatten(name="flatten")(inputs) if len(shape) > 1 else inputs
    for number, width in enumerate(units, 1):
        x = keras.layers.Dense(
            width, activation, kernel_initializer=kernel_initializer, name=f"hidden_{number}"
        )(x)
        if share:
            x = keras.layers.Dropout(share, name=f"dropout_{number}")(x)
    last = "linear" if logits else row.activation
    x = keras.layers.Dense(count, last, dtype=parts.output_dtype(), name="output")(x)
    return keras.Model(inputs, x, name=name)


def _check_shape(input_shape: Any) -> tuple[int, ...]:
    sizes = input_shape if isinstance(input_shape, (list, tuple)) else (input_shape,)
    if not sizes:
        raise ValueError("input_shape must be a number of features or a shape. Received: ()")
    return tuple(check_integer("input_shape", size) for size in sizes)


def _check_units(hidden_units: Any) -> tuple[int, ...]:
    if not isinstance(hidden_units, (list, tuple)):
        raise TypeError(
            "hidden_units must be a sequence, such as (64,) for one hidden layer. "
            f"Received: {hidden_units!r}"
        )
    return tuple(check_integer("hidden_units", width) for width in hidden_units)


def _check_outputs(outputs: Any, task: str, fewest: int) -> int:
    count = check_integer("outputs", fewest if outputs is None and fewest == 1 else outputs)
    if count < fewest:
        raise ValueError(
            f"outputs must be the number of classes, at least {fewest}, if task={task!r}. "
            f"Received: {outputs!r}. For two classes with one output, use task='binary'."
        )
    return count


def _check_activation(activation: Any) -> None:
    try:
        known = isinstance(activation, str) and keras.activations.get(activation) is not None
    except ValueError:
        known = False
    if not known:
        error = ValueError if isinstance(activation, str) else TypeError
        raise error(f"activation must be the name of a Keras activation. Received: {activation!r}")
