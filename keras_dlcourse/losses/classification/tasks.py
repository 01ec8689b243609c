"""The meaning of a network's outputs in each task, and the loss that follows from it.

Each loss is the negative log-likelihood of the labels, with the outputs as the parameters of a
distribution (maximum likelihood): a normal distribution gives squared error, a Bernoulli
distribution binary cross-entropy, a categorical distribution categorical cross-entropy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from keras_dlcourse._checks import check_flag, check_one_of
from keras_dlcourse.losses.classification.tanh_crossentropy import TanhCrossentropy


@dataclass(frozen=True)
class Task:
    """One row of the table of tasks.

    Attributes:
        activation: Activation of the outputs.
        loss: Function of `from_logits` that returns the maximum likelihood loss.
        logits: Whether the loss can also be computed from logits.
        fewest: Minimum number of outputs.
    """

    activation: str
    loss: Callable[[bool], keras.losses.Loss]
    logits: bool
    fewest: int


TASKS = {
    "regression": Task("linear", lambda _: keras.losses.MeanSquaredError(), False, 1),
    "binary": Task("sigmoid", lambda raw: keras.losses.BinaryCrossentropy(raw), True, 1),
    "binary_tanh": Task("tanh", TanhCrossentropy, True, 1),
    "multiclass": Task(
        "softmax", lambda raw: keras.losses.SparseCategoricalCrossentropy(raw), True, 2
    ),
}


def for_task(
    task: str, *, from_logits: bool = False, one_hot: bool = False, squared: bool = False
) -> keras.losses.Loss:
    """Return the maximum likelihood loss of a task.

    | task | labels | outputs | loss |
    |---|---|---|---|
    | `"regression"` | values | linear | mean squared error |
    | `"binary"` | 0, 1 | sigmoid | binary cross-entropy |
    | `"binary_tanh"` | -1, 1 | tanh | cross-entropy on (1 + y) / 2, or squared error |
    | `"multiclass"` | class numbers, or one-hot | softmax | categorical cross-entropy |

    Each is the mean negative log-likelihood over examples. For a normal distribution with variance
    s^2, squared error equals it up to constants: NLL = error / (2 s^2) + log(2 pi s^2) / 2.

    Args:
        task: A task of the table.
        from_logits: Whether the network omits its last activation and leaves it to the loss, which
            is more accurate (`MLP(..., logits=True)`). Not for regression, which has no activation.
        one_hot: Whether multi-class labels are one-hot rows `(rows, classes)` instead of class
            numbers `(rows,)`.
        squared: Whether `"binary_tanh"` uses squared error.

    Returns:
        A loss for `model.compile`.

    Raises:
        ValueError: If the task is unknown, or an option does not apply to it.

    Example:
        >>> for_task("binary").name, for_task("multiclass", one_hot=True).name
        ('binary_crossentropy', 'categorical_crossentropy')

    Reference:
        Bishop, "Neural Networks for Pattern Recognition", 1995, chapter 6
    """
    row = TASKS[check_one_of("task", task, tuple(TASKS))]
    _check_goes_with("from_logits", from_logits, row.logits, task)
    _check_goes_with("one_hot", one_hot, task == "multiclass", task)
    _check_goes_with("squared", squared, task == "binary_tanh", task)
    if squared and from_logits:
        raise ValueError("squared=True needs the tanh outputs themselves. Omit from_logits=True.")
    if squared:
        return keras.losses.MeanSquaredError()
    if one_hot:
        return keras.losses.CategoricalCrossentropy(from_logits)
    return row.loss(from_logits)


def _check_goes_with(name: str, value: bool, fits: bool, task: str) -> None:
    if check_flag(name, value) and not fits:
        raise ValueError(f"{name}=True does not apply to task={task!r}. Omit it.")
