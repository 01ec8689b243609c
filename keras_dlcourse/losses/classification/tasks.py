"""What a network's outputs mean for a task, and the loss that follows from it.

Each loss is the negative logarithm of how likely the labels are if the outputs are the parameters
of a distribution (maximum likelihood): a normal one gives squared error, Bernoulli's binary
cross-entropy, a categorical one categorical cross-entropy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from keras_dlcourse.losses._checks import flag, one_of
from keras_dlcourse.losses.classification.tanh_crossentropy import TanhCrossentropy


@dataclass(frozen=True)
class Task:
    """One row of the table of tasks.

    Attributes:
        activation: Of the outputs.
        loss: Makes the loss of maximum likelihood, told whether it gets logits.
        logits: Whether the outputs have logits, from which the loss can be computed as well.
        fewest: The least number of outputs.
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
    """Return the loss that maximum likelihood gives a task.

    | task | labels | outputs | loss |
    |---|---|---|---|
    | `"regression"` | numbers | linear | mean squared error |
    | `"binary"` | 0, 1 | sigmoid | binary cross-entropy |
    | `"binary_tanh"` | -1, 1 | tanh | cross-entropy on (1 + y) / 2, or squared error |
    | `"multiclass"` | class numbers, or one-hot | softmax | categorical cross-entropy |

    Each is the mean over examples of the negative log-likelihood. Of the normal distribution with
    variance s^2 squared error is that up to constants: NLL = error / (2 s^2) + log(2 pi s^2) / 2.

    Args:
        task: One of the table.
        from_logits: Whether the network leaves its last activation to the loss, which is more exact
            (`MLP(..., logits=True)`). Not for regression, which has none.
        one_hot: Whether multi-class labels are one-hot rows `(rows, classes)` in place of class
            numbers `(rows,)`.
        squared: Whether `"binary_tanh"` takes squared error.

    Returns:
        A loss for `model.compile`.

    Raises:
        ValueError: If there is no such task, or an option does not go with it.

    Example:
        >>> for_task("binary").name, for_task("multiclass", one_hot=True).name
        ('binary_crossentropy', 'categorical_crossentropy')

    Reference:
        Bishop, "Neural Networks for Pattern Recognition", 1995, chapter 6
    """
    row = TASKS[one_of("task", task, tuple(TASKS))]
    _check_goes_with("from_logits", from_logits, row.logits, task)
    _check_goes_with("one_hot", one_hot, task == "multiclass", task)
    _check_goes_with("squared", squared, task == "binary_tanh", task)
    if squared and from_logits:
        raise ValueError("squared error needs the tanh itself: leave from_logits=True out.")
    if squared:
        return keras.losses.MeanSquaredError()
    if one_hot:
        return keras.losses.CategoricalCrossentropy(from_logits)
    return row.loss(from_logits)


def _check_goes_with(name: str, value: bool, fits: bool, task: str) -> None:
    if flag(name, value) and not fits:
        raise ValueError(f"{name}=True does not go with task={task!r}. Leave it out.")
