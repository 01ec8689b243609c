"""The weighted sum of the losses of several tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_number, is_real
from keras_dlcourse.losses.multitask.grad_norm import GradNorm

Schedule = keras.optimizers.schedules.LearningRateSchedule
LEARNED = "learned"


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class MultitaskLoss(keras.losses.Loss):
    """The weighted sum of the losses of several tasks, each with its own output.

        loss = alpha * loss of the first task + (1 - alpha) * loss of the second
        loss = sum over tasks of weight * loss of the task

    Train with it through `kd.models.MultitaskModel`, which also reports each task's loss and
    updates the weights if they change. `model.compile(loss=...)` cannot use it: Keras passes a loss
    one output at a time.

    Choose `alpha` by a metric of interest (accuracy, IoU) on a validation set, never by this loss,
    whose scale changes with `alpha`: see `kd.training.select_alpha`.

    Labels may be missing. A row counts for a task unless its labels contain NaN or, for class
    numbers, a negative value; a sample weight of 0 also excludes it. Each task's loss is the mean
    over its own labeled rows, and 0 if the batch has none.

    Args:
        tasks: The loss of each output, by output name: a Keras loss, its name, or a function of
            `(y_true, y_pred)` that returns a value for each row.
        alpha: For two tasks, a number from 0 to 1, the weight of the first. For any number of
            tasks, a dictionary with a weight of 0 or more for each. A `LearningRateSchedule` that
            returns alpha for a training step. `"learned"`: weights `exp(-s)` with a trained `s` for
            each task, plus `s / 2` (homoscedastic uncertainty). A `GradNorm`: weights that keep the
            gradients of all tasks at the same size.
        name: Name of the loss.
        dtype: Dtype of the result.

    Call arguments:
        y_true: A dictionary of the labels of each task.
        y_pred: A dictionary of the outputs.
        sample_weight: Weight of each row, for all tasks or as a dictionary by task.
        weights: A dictionary of weights that replace those of `alpha`.

    Raises:
        ValueError: If `alpha` is outside 0..1, a weight is negative, or a name is not a task.
        TypeError: If the labels or outputs are not dictionaries.

    Example:
        >>> import numpy as np
        >>> loss = MultitaskLoss({"label": "sparse_categorical_crossentropy", "box": "mse"}, 0.25)
        >>> outputs = {"label": np.array([[0.5, 0.5]]), "box": np.array([[1.0, 1.0]])}
        >>> labels = {"label": np.array([0]), "box": np.array([[1.0, 3.0]])}
        >>> round(float(loss(labels, outputs)), 3)  # 0.25 * log(2) + 0.75 * 2
        1.673

    Reference:
        Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
        Geometry and Semantics", CVPR 2018, https://arxiv.org/abs/1705.07115. There the weight of a
        regression is `exp(-s) / 2`, which is the same with `s` shifted by ln 2.
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
        self.alpha = _check_alpha(alpha, self.tasks)
        self._losses = {name: _task_loss(name, loss) for name, loss in self.tasks.items()}

    @property
    def is_learned(self) -> bool:
        """Whether the weights are trained."""
        return self.alpha == LEARNED

    @property
    def is_moving(self) -> bool:
        """Whether the weights change during training."""
        return self.is_learned or isinstance(self.alpha, Schedule | GradNorm)

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, weights: Any = None
    ) -> Any:
        """Return the weighted sum, a scalar."""
        with keras.name_scope(self.name):
            losses, _ = self.of_tasks(y_true, y_pred, sample_weight)
            weights = self.weights_at(0) if weights is None else weights
            return self.sum_losses(losses, weights)

    def of_tasks(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the unweighted loss of each task, and the number of rows with labels for it."""
        y_true, there = self._find_present(y_true, y_pred, sample_weight)
        losses, counts = {}, {}
        for task, loss in self._losses.items():
            counts[task] = ops.sum(there[task])
            # Keras divides by the number of all rows; scale so that only labeled rows count.
            scale = ops.cast(ops.shape(there[task])[0], "float32") / ops.maximum(counts[task], 1.0)
            weights = there[task] * scale * _weights_of(task, sample_weight)
            value = loss(y_true[task], y_pred[task], weights)
            losses[task] = ops.cast(value, self.dtype)
        return losses, counts

    def fill_gaps(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return labels with 0 where they are missing, and weights that are 0 in these rows."""
        labels, there = self._find_present(y_true, y_pred, sample_weight)
        return labels, {task: there[task] * _weights_of(task, sample_weight) for task in there}

    def _find_present(
        self, y_true: Any, y_pred: Any, sample_weight: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return labels with 0 where missing, and per task 1 for each fully labeled row, else 0."""
        self.check_names("y_true", y_true)
        self.check_names("y_pred", y_pred)
        if isinstance(sample_weight, Mapping) and set(sample_weight) - set(self.tasks):
            unknown = set(sample_weight) - set(self.tasks)
            raise ValueError(
                f"sample_weight has unknown tasks: {_list_names(unknown)}. {self._known}"
            )
        labels, there = dict(y_true), {}
        for task in self.tasks:
            labels[task], there[task] = _fill_gaps(y_true[task])
        return labels, there

    def sum_losses(self, losses: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
        """Return the weighted sum of the tasks' losses."""
        self.check_names("weights", weights)
        return sum(ops.multiply(losses[task], weights[task]) for task in self.tasks)

    def weights_at(self, step: Any) -> dict[str, Any]:
        """Return the weight of each task at a training step.

        Weights that are found during training start at 1; `MultitaskModel` stores them.
        """
        if isinstance(self.alpha, dict):
            return self.alpha
        if isinstance(self.alpha, Schedule):
            return self._split_weight(ops.cast(self.alpha(step), self.dtype))
        if isinstance(self.alpha, float):
            return self._split_weight(self.alpha)
        return dict.fromkeys(self.tasks, 1.0)

    def _split_weight(self, alpha: Any) -> dict[str, Any]:
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
                f"{argument} lacks {_list_names(missing)}. {self._known} "
                f"Received: {_list_names(given)}"
            )

    @property
    def _known(self) -> str:
        return f"The tasks are {_list_names(self.tasks)}."

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
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
        config["tasks"] = {task: _restore(loss) for task, loss in config["tasks"].items()}
        config["alpha"] = _restore(config["alpha"])
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


def _check_alpha(alpha: Any, tasks: Mapping[str, Any]) -> Any:
    if alpha == LEARNED or isinstance(alpha, Schedule | GradNorm):
        if isinstance(alpha, Schedule) and len(tasks) != 2:
            raise ValueError(_ONLY_TWO.format(len(tasks)))
        return alpha
    if isinstance(alpha, Mapping):
        if set(alpha) != set(tasks):
            raise ValueError(
                f"alpha must have a weight for each of {_list_names(tasks)}. "
                f"Received: {_list_names(alpha)}"
            )
        return {task: check_number(f"alpha of {task!r}", alpha[task], least=0) for task in tasks}
    if not is_real(alpha) or not 0 <= alpha <= 1:
        error = ValueError if isinstance(alpha, str) or is_real(alpha) else TypeError
        raise error(
            "alpha must be a number from 0 to 1, a dictionary of weights, a schedule, a GradNorm, "
            f"or 'learned'. Received: {alpha!r}"
        )
    if len(tasks) != 2:
        raise ValueError(_ONLY_TWO.format(len(tasks)))
    return float(alpha)


_ONLY_TWO = (
    "A single alpha weights two tasks against each other, but there are {}. Pass a dictionary of "
    "their weights."
)


def _restore(value: Any) -> Any:
    """Return the object that a nested config describes; Keras may already have restored it."""
    described = isinstance(value, Mapping) and "class_name" in value
    return keras.saving.deserialize_keras_object(value) if described else value


def _list_names(names: Any) -> str:
    return ", ".join(map(repr, names))


def _fill_gaps(y_true: Any) -> tuple[Any, Any]:
    """Return labels with 0 where missing, and 1 for each fully labeled row, `(rows,)` float32."""
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
            f"sample_weight must be (rows,), one value per row. Received: {weights.shape}"
        )
    return weights
