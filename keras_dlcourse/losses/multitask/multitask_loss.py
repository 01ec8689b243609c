"""One number to train several tasks by: the weighted sum of their losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import is_real
from keras_dlcourse.losses.multitask.grad_norm import GradNorm

Schedule = keras.optimizers.schedules.LearningRateSchedule
LEARNED = "learned"


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class MultitaskLoss(keras.losses.Loss):
    """The weighted sum of the losses of several tasks, each with its own output.

        loss = alpha * loss of the first task + (1 - alpha) * loss of the second
        loss = sum over tasks of weight * loss of the task

    Train with it through `kd.models.MultitaskModel`, which also shows each task's loss, and
    moves the weights where they move. `model.compile(loss=...)` cannot take it: Keras gives a loss
    one output at a time.

    Choose `alpha` by a measure of what is wanted (accuracy, IoU) on a validation part, never by
    this loss, whose scale changes with `alpha`: `kd.training.select_alpha`.

    Labels may be missing. A row counts for a task if its labels hold no NaN, and, where they are
    class numbers, none below 0; or give it weight 0. Each task's loss is the mean over its own rows
    with labels, and 0 where the batch has none.

    Args:
        tasks: What each output is trained by, by its name: a Keras loss, its name, or a function of
            `(y_true, y_pred)` that returns a value for each row.
        alpha: A number from 0 to 1 for two tasks, in their order. A dictionary of a weight of 0 or
            more for each of any number of tasks. A `LearningRateSchedule` that gives alpha for a
            training step. `"learned"`: weights `exp(-s)` with `s` trained for each task, and
            `s / 2` added, which is homoscedastic uncertainty. A `GradNorm`: weights that keep the
            gradients of all tasks of one size.
        name: Name of the loss.
        dtype: Of the result.

    Call arguments:
        y_true: A dictionary of the labels of each task.
        y_pred: A dictionary of the outputs.
        sample_weight: A factor for each row, for all tasks or a dictionary of those of each.
        weights: A dictionary of weights that stand in for those of `alpha`.

    Raises:
        ValueError: For an `alpha` outside 0..1, a negative weight, or names that are no task's.
        TypeError: If the labels or outputs are no dictionaries.

    Example:
        >>> import numpy as np
        >>> loss = MultitaskLoss({"label": "sparse_categorical_crossentropy", "box": "mse"}, 0.25)
        >>> outputs = {"label": np.array([[0.5, 0.5]]), "box": np.array([[1.0, 1.0]])}
        >>> labels = {"label": np.array([0]), "box": np.array([[1.0, 3.0]])}
        >>> round(float(loss(labels, outputs)), 3)  # 0.25 * log(2) + 0.75 * 2
        1.673

    Reference:
        Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
        Geometry and Semantics", CVPR 2018, https://arxiv.org/abs/1705.07115. There a regression's
        weight is `exp(-s) / 2`: the same with `s` shifted by ln 2.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        alpha: Any = 0.5,
        name: str | None = "multitask_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction="sum_over_batch_size", dtype=dtype)
        if not isinstance(tasks, Mapping) or not tasks:
            raise TypeError(f"tasks must be a dictionary of losses by output. Received: {tasks!r}")
        self.tasks = dict(tasks)
        self.alpha = _checked_alpha(alpha, self.tasks)
        self._losses = {name: _task_loss(name, loss) for name, loss in self.tasks.items()}

    @property
    def is_learned(self) -> bool:
        """Whether the weights are trained."""
        return self.alpha == LEARNED

    @property
    def is_moving(self) -> bool:
        """Whether the weights change while training."""
        return self.is_learned or isinstance(self.alpha, Schedule | GradNorm)

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, weights: Any = None
    ) -> Any:
        """Return the weighted sum, a scalar."""
        with keras.name_scope(self.name):
            losses, _ = self.of_tasks(y_true, y_pred, sample_weight)
            weights = self.weights_at(0) if weights is None else weights
            return self.joined(losses, weights)

    def of_tasks(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the loss of each task without its weight, and how many rows have its labels."""
        y_true, there = self._present(y_true, y_pred, sample_weight)
        losses, counts = {}, {}
        for task, loss in self._losses.items():
            counts[task] = ops.sum(there[task])
            # Keras divides by the number of all rows: make that the number of those with labels.
            scale = ops.cast(ops.shape(there[task])[0], "float32") / ops.maximum(counts[task], 1.0)
            weights = there[task] * scale * _weights_of(task, sample_weight)
            value = loss(y_true[task], y_pred[task], weights)
            losses[task] = ops.cast(value, self.dtype)
        return losses, counts

    def without_gaps(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return labels with 0 where they are missing, and weights that are 0 in those rows."""
        labels, there = self._present(y_true, y_pred, sample_weight)
        return labels, {task: there[task] * _weights_of(task, sample_weight) for task in there}

    def _present(
        self, y_true: Any, y_pred: Any, sample_weight: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return labels with 0 in their gaps, and for each task 1 for each row without any."""
        self.check_names("y_true", y_true)
        self.check_names("y_pred", y_pred)
        if isinstance(sample_weight, Mapping) and set(sample_weight) - set(self.tasks):
            unknown = set(sample_weight) - set(self.tasks)
            raise ValueError(f"sample_weight names no task: {_listed(unknown)}. {self._known}")
        labels, there = dict(y_true), {}
        for task in self.tasks:
            labels[task], there[task] = _without_gaps(y_true[task])
        return labels, there

    def joined(self, losses: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
        """Return the weighted sum of the tasks' losses."""
        self.check_names("weights", weights)
        return sum(ops.multiply(losses[task], weights[task]) for task in self.tasks)

    def weights_at(self, step: Any) -> dict[str, Any]:
        """Return the weight of each task at a training step.

        Those that training finds start at 1; `MultitaskModel` keeps them.
        """
        if isinstance(self.alpha, dict):
            return self.alpha
        if isinstance(self.alpha, Schedule):
            return self._two(ops.cast(self.alpha(step), self.dtype))
        if isinstance(self.alpha, float):
            return self._two(self.alpha)
        return dict.fromkeys(self.tasks, 1.0)

    def _two(self, alpha: Any) -> dict[str, Any]:
        first, second = self.tasks
        return {first: alpha, second: 1 - alpha}

    def check_names(self, argument: str, given: Any) -> None:
        """Raise unless there is an entry for each task."""
        if not isinstance(given, Mapping):
            raise TypeError(
                f"{argument} must be a dictionary with an entry for each task. {self._known} "
                f"Received: {type(given).__name__}"
            )
        missing = [task for task in self.tasks if task not in given]
        if missing:
            raise ValueError(
                f"{argument} lacks {_listed(missing)}. {self._known} Received: {_listed(given)}"
            )

    @property
    def _known(self) -> str:
        return f"The tasks are {_listed(self.tasks)}."

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        tasks = {
            task: loss if isinstance(loss, str) else keras.saving.serialize_keras_object(loss)
            for task, loss in self.tasks.items()
        }
        plain = isinstance(self.alpha, float | str | dict)
        alpha = self.alpha if plain else keras.saving.serialize_keras_object(self.alpha)
        return {"name": self.name, "dtype": self.dtype, "tasks": tasks, "alpha": alpha}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MultitaskLoss:
        """Return the loss that `get_config` describes."""
        config = dict(config)
        config["tasks"] = {task: _restored(loss) for task, loss in config["tasks"].items()}
        config["alpha"] = _restored(config["alpha"])
        return cls(**config)


class _FunctionLoss(keras.losses.Loss):
    """A function of labels and outputs as a loss."""

    def __init__(self, function: Callable[[Any, Any], Any], name: str) -> None:
        super().__init__(name=name)
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return a value for each row."""
        return self.function(y_true, y_pred)


def _task_loss(task: str, loss: Any) -> keras.losses.Loss:
    found = loss if isinstance(loss, keras.losses.Loss) else keras.losses.get(loss)
    if isinstance(found, keras.losses.Loss):
        if found.reduction not in ("sum_over_batch_size", "mean"):
            raise ValueError(
                f"the loss of {task!r} must be a mean over rows. Received: "
                f"reduction={found.reduction!r}"
            )
        return found
    if not callable(found):
        raise TypeError(f"the loss of {task!r} must be a Keras loss. Received: {loss!r}")
    return _FunctionLoss(found, f"{task}_loss")


def _checked_alpha(alpha: Any, tasks: Mapping[str, Any]) -> Any:
    if alpha == LEARNED or isinstance(alpha, Schedule | GradNorm):
        if isinstance(alpha, Schedule) and len(tasks) != 2:
            raise ValueError(_ONLY_TWO.format(len(tasks)))
        return alpha
    if isinstance(alpha, Mapping):
        if set(alpha) != set(tasks):
            raise ValueError(
                f"alpha must have a weight for each of {_listed(tasks)}. Received: {_listed(alpha)}"
            )
        for task, weight in alpha.items():
            if not (_is_number(weight) and weight >= 0):
                raise ValueError(f"alpha of {task!r} must be 0 or more. Received: {weight!r}")
        return {task: float(alpha[task]) for task in tasks}
    if not _is_number(alpha) or not 0 <= alpha <= 1:
        raise ValueError(
            "alpha must be a number from 0 to 1, a dictionary of weights, a schedule, a GradNorm, "
            f"or 'learned'. Received: {alpha!r}"
        )
    if len(tasks) != 2:
        raise ValueError(_ONLY_TWO.format(len(tasks)))
    return float(alpha)


_ONLY_TWO = (
    "one alpha weights two tasks against each other, and there are {}: give a dictionary of their "
    "weights"
)


def _is_number(value: Any) -> bool:
    return is_real(value) and math.isfinite(value)


def _restored(value: Any) -> Any:
    """Return what a nested configuration describes; Keras may have restored it already."""
    described = isinstance(value, Mapping) and "class_name" in value
    return keras.saving.deserialize_keras_object(value) if described else value


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names))


def _without_gaps(y_true: Any) -> tuple[Any, Any]:
    """Return labels with 0 in their gaps, and 1 for each row without any, `(rows,)` float32."""
    y_true = ops.convert_to_tensor(y_true)
    floating = "float" in keras.backend.standardize_dtype(y_true.dtype)
    gaps = ops.isnan(y_true) if floating else y_true < 0
    there = ops.logical_not(ops.any(gaps, axis=tuple(range(1, len(y_true.shape)))))
    return ops.where(gaps, ops.zeros_like(y_true), y_true), ops.cast(there, "float32")


def _weights_of(task: str, sample_weight: Any) -> Any:
    """Return the weight of each row in a task, `(rows,)`, or 1."""
    if isinstance(sample_weight, Mapping):
        sample_weight = sample_weight.get(task)
    if sample_weight is None:
        return 1.0
    weights = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
    if len(weights.shape) == 2 and weights.shape[1] == 1:
        weights = ops.squeeze(weights, axis=1)
    if len(weights.shape) != 1:
        raise ValueError(
            f"sample_weight must be (rows,), one number for each row. Received: {weights.shape}"
        )
    return weights
