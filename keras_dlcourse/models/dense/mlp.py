"""The multi-layer perceptron: dense layers, and an output coded by the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_dlcourse._checks import fraction, one_of, positive_int
from keras_dlcourse.losses.classification.tasks import TASKS
from keras_dlcourse.models._shared import parts as _graph

# What keeps the variance of signals from layer to layer: He for units that pass half of what comes
# in, LeCun for SELU by its derivation, Glorot for those that are linear around 0.
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
    """Build a feed-forward network whose outputs are coded as the task wants it.

    Train it with `kd.losses.for_task(task)`. Without hidden layers it is the linear model of the
    task: linear regression, logistic regression, or the linear classifier.

    Args:
        input_shape: Number of features, or a shape such as `(28, 28, 1)`, which is flattened.
        hidden_units: Units of each hidden layer, first to last; `()` for none.
        task: `"regression"` (linear outputs), `"binary"` (sigmoid, labels 0 and 1), `"binary_tanh"`
            (tanh, labels -1 and 1), or `"multiclass"` (softmax).
        outputs: Number of outputs: 1 by default, and classes, 2 at least, for `"multiclass"`.
        activation: Of the hidden layers: the name of a Keras activation.
        kernel_initializer: Of the hidden layers; None for He's with ReLU and its like, LeCun's with
            SELU, and Glorot's with sigmoid, tanh and all others.
        dropout: Share of each hidden layer's units dropped in training.
        logits: Whether the last activation is left to `kd.losses.for_task(task, from_logits=True)`.
        name: Name of the model.

    Returns:
        A functional model from `(batch, *input_shape)` to `(batch, outputs)`. Its layers are
        `hidden_1`, `hidden_2`, and so on, and `output`.

    Raises:
        ValueError: If an argument is out of its range, or does not go with the task.

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
    shape = _checked_shape(input_shape)
    units = _checked_units(hidden_units)
    row = TASKS[one_of("task", task, tuple(TASKS))]
    count = _checked_outputs(outputs, task, row.fewest)
    _check_activation(activation)
    share = fraction("dropout", dropout)
    if logits and not row.logits:
        raise ValueError(f"logits=True does not go with task={task!r}, whose outputs are linear.")
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
    x = keras.layers.Dense(count, last, dtype=_graph.output_dtype(), name="output")(x)
    return keras.Model(inputs, x, name=name)


def _checked_shape(input_shape: Any) -> tuple[int, ...]:
    sizes = input_shape if isinstance(input_shape, (list, tuple)) else (input_shape,)
    if not sizes:
        raise ValueError("input_shape must be a number of features, or a shape. Received: ()")
    return tuple(positive_int("input_shape", size) for size in sizes)


def _checked_units(hidden_units: Any) -> tuple[int, ...]:
    if not isinstance(hidden_units, (list, tuple)):
        raise ValueError(
            "hidden_units must be a sequence, such as (64,) for one hidden layer. "
            f"Received: {hidden_units!r}"
        )
    return tuple(positive_int("hidden_units", width) for width in hidden_units)


def _checked_outputs(outputs: Any, task: str, fewest: int) -> int:
    count = positive_int("outputs", fewest if outputs is None and fewest == 1 else outputs)
    if count < fewest:
        raise ValueError(
            f"outputs must be the number of classes, {fewest} at least, with task={task!r}. "
            f"Received: {outputs!r}. For two classes and one output take task='binary'."
        )
    return count


def _check_activation(activation: Any) -> None:
    try:
        known = isinstance(activation, str) and keras.activations.get(activation) is not None
    except ValueError:
        known = False
    if not known:
        raise ValueError(
            f"activation must be the name of a Keras activation. Received: {activation!r}"
        )
