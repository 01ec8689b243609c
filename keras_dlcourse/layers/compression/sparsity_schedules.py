"""Schedules of when and how much to prune during training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import (
    check_fraction,
    check_integer,
    check_number,
)

PACKAGE = "keras_dlcourse"


@keras.saving.register_keras_serializable(package=PACKAGE)
@dataclass(frozen=True)
class ConstantSparsity:
    """Prune to the final sparsity in one step, then update the choice of weights periodically.

    Args:
        begin_step: The first training step that prunes, counted from 0.
        frequency: Number of steps between two updates.
        end_step: The last step that updates the choice of weights; None for no end.

    Raises:
        ValueError: If an argument is out of range, or `end_step` is before `begin_step`.

    Example:
        >>> schedule = ConstantSparsity(begin_step=100, frequency=10)
        >>> [float(schedule.sparsity(step, 0.5)) for step in (99, 100, 9999)]
        [0.0, 0.5, 0.5]
    """

    begin_step: int = 0
    frequency: int = 100
    end_step: int | None = None

    def __post_init__(self) -> None:
        _check_steps(self.begin_step, self.end_step)
        check_integer("frequency", self.frequency)

    def sparsity(self, step: Any, final: float) -> Any:
        """Return the sparsity at a step, given the final sparsity."""
        return ops.where(ops.convert_to_tensor(step) >= self.begin_step, final, 0.0)

    def is_due(self, step: Any) -> Any:
        """Return whether the choice of weights is updated at a step."""
        return _is_due(step, self.begin_step, self.end_step, self.frequency)

    def scale(self, factor: float) -> ConstantSparsity:
        """Return the schedule for a layer that ends at `factor` times the model's sparsity."""
        return self

    @property
    def last_step(self) -> int:
        """The step at which the final sparsity is reached."""
        return self.begin_step

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this schedule."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ConstantSparsity:
        """Return the schedule that `get_config` describes."""
        return cls(**config)


@keras.saving.register_keras_serializable(package=PACKAGE)
@dataclass(frozen=True)
class PolynomialDecay:
    """Prune fast at first, when many weights are redundant, and more slowly toward the end.

        sparsity = final + (initial - final) * (1 - (step - begin) / (end - begin)) ** power

    `final` is the `sparsity` passed to `prune`.

    Args:
        end_step: The training step at which the final sparsity is reached. An epoch has as many
            steps as batches; leave some epochs after it for recovery.
        begin_step: The first training step that prunes, counted from 0.
        initial: The sparsity at `begin_step`.
        power: Exponent of the decay.
        frequency: Number of steps between two prunings. `end_step` always prunes.

    Raises:
        ValueError: If an argument is out of range, or `end_step` is not after `begin_step`.

    Example:
        >>> schedule = PolynomialDecay(end_step=100, initial=0.2)
        >>> [round(float(schedule.sparsity(step, 0.8)), 3) for step in (0, 50, 100, 200)]
        [0.2, 0.725, 0.8, 0.8]

    Reference:
        Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model
        compression", 2017, https://arxiv.org/abs/1710.01878
    """

    end_step: int
    begin_step: int = 0
    initial: float = 0.0
    power: float = 3.0
    frequency: int = 100

    def __post_init__(self) -> None:
        _check_steps(self.begin_step, self.end_step)
        if self.end_step == self.begin_step:
            raise ValueError(
                f"end_step must be after begin_step. Received: both {self.end_step}. To prune in "
                "one step, use ConstantSparsity."
            )
        check_fraction("initial", self.initial)
        check_number("power", self.power, above=0)
        check_integer("frequency", self.frequency)

    def sparsity(self, step: Any, final: float) -> Any:
        """Return the sparsity at a step, given the final sparsity."""
        step = ops.cast(ops.convert_to_tensor(step), "float32")
        done = (step - self.begin_step) / (self.end_step - self.begin_step)
        left = (1.0 - ops.clip(done, 0.0, 1.0)) ** self.power
        return ops.where(step >= self.begin_step, final + (self.initial - final) * left, 0.0)

    def is_due(self, step: Any) -> Any:
        """Return whether the choice of weights is updated at a step."""
        return _is_due(step, self.begin_step, self.end_step, self.frequency)

    def scale(self, factor: float) -> PolynomialDecay:
        """Return the schedule for a layer that ends at `factor` times the model's sparsity."""
        return replace(self, initial=self.initial * factor)

    @property
    def last_step(self) -> int:
        """The step at which the final sparsity is reached."""
        return self.end_step

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this schedule."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PolynomialDecay:
        """Return the schedule that `get_config` describes."""
        return cls(**config)


Schedule = ConstantSparsity | PolynomialDecay


def _is_due(step: Any, begin: int, end: int | None, frequency: int) -> Any:
    step = ops.convert_to_tensor(step)
    due = ops.logical_and(step >= begin, (step - begin) % frequency == 0)
    if end is None:
        return due
    # The last step counts even if the number of steps to it is not a multiple of the frequency.
    return ops.logical_or(ops.logical_and(due, step <= end), step == end)


def _check_steps(begin: Any, end: Any) -> None:
    for argument, value in (("begin_step", begin), ("end_step", end)):
        if value is not None:
            check_integer(argument, value, least=0)
    if end is not None and end < begin:
        raise ValueError(
            f"end_step must not be before begin_step. Received: end_step={end}, begin_step={begin}"
        )
