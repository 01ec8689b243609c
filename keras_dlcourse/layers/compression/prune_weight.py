"""Pruning: the weights closest to 0 become 0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import check_fraction, check_integer, is_whole
from keras_dlcourse.layers.compression.compressed import PACKAGE, WeightTransform
from keras_dlcourse.layers.compression.sparsity_schedules import PolynomialDecay, Schedule

Pattern = str | tuple[int, int] | None


@keras.saving.register_keras_serializable(package=PACKAGE)
class PruneWeight(WeightTransform):
    """Multiply a weight by a mask that is 0 where its absolute values are smallest.

    With a schedule, the mask is updated inside the training step, driven by a step counter that is
    saved with the model: plain `fit` prunes without a callback, and resumes where it stopped.

    Gradients are masked too: pruned weights get none and keep their stored value. So they can
    return when the mask is updated and other weights have shrunk below them. (A straight-through
    gradient would move pruned weights by slopes that were measured with them at 0, and they would
    return for no reason.)

    Args:
        sparsity: Final fraction of zeros.
        schedule: When to update the mask; None if only `choose_mask` does.
        pattern: None prunes single values. `(rows, columns)` prunes the blocks with the smallest
            mean, over the last two axes. `"n:m"` keeps the n largest of every m consecutive values
            along `axis`; a remainder at the end of the axis is kept.
        axis: The axis of input channels, for `"n:m"`.
        uses: Number of times the layer is called in one training step, if it is shared.
        **kwargs: `name` and `trainable`, as for every Keras layer. With `trainable=False` the mask
            is not updated.

    Call arguments:
        weight: A float32 tensor.
        training: Whether to advance the schedule.

    Raises:
        ValueError: If an argument is out of range, or pattern and sparsity contradict each other.

    Example:
        >>> import numpy as np
        >>> prune = PruneWeight(sparsity=0.5)
        >>> weight = np.array([[1.0, -4.0], [-0.5, 2.0]], "float32")
        >>> prune.build(weight.shape)
        >>> prune.choose_mask(weight)
        >>> np.asarray(prune(weight)).tolist()
        [[0.0, -4.0], [-0.0, 2.0]]

    Reference:
        Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model
        compression", 2017, https://arxiv.org/abs/1710.01878
    """

    def __init__(
        self,
        sparsity: float = 0.5,
        schedule: Schedule | Mapping[str, Any] | None = None,
        pattern: Pattern = None,
        axis: int = -2,
        uses: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sparsity = check_fraction("sparsity", sparsity)
        if isinstance(schedule, Mapping):
            schedule = keras.saving.deserialize_keras_object(schedule)
        self.schedule: Any = schedule
        self.pattern = check_pattern(pattern, self.sparsity, schedule)
        self.axis = int(axis)
        self.uses = check_integer("uses", uses)

    def build(self, input_shape: Any) -> None:
        """Create the mask, initially ones, and the step counter."""
        once = {"aggregation": "only_first_replica"}  # replicas hold the same weights
        self.mask = self.add_state("mask", input_shape, "ones", **once)
        self.calls = None
        if self.schedule is not None:
            self.calls = self.add_state("calls", (), "zeros", dtype="int32", **once)

    def call(self, weight: Any, training: bool | None = None) -> Any:
        """Return the weight, masked."""
        if self.calls is not None and training and self.trainable:
            self._follow_schedule(ops.stop_gradient(weight))
        return weight * self.mask

    def choose_mask(self, weight: Any) -> None:
        """Prune to the final sparsity at once, whatever the schedule."""
        self.mask.assign(self._mask_of(ops.convert_to_tensor(weight, "float32"), self.sparsity))

    @property
    def step(self) -> int:
        """Number of training steps so far, 0 without a schedule."""
        if self.calls is None:
            return 0
        return int(ops.convert_to_numpy(self.calls)) // self.uses

    @property
    def is_finished(self) -> bool:
        """Whether the schedule has reached the final sparsity."""
        return self.schedule is None or self.step > self.schedule.last_step

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this transform."""
        schedule = self.schedule
        return {
            **super().get_config(),
            "sparsity": self.sparsity,
            "schedule": schedule and keras.saving.serialize_keras_object(schedule),
            "pattern": self.pattern,
            "axis": self.axis,
            "uses": self.uses,
        }

    def _follow_schedule(self, weight: Any) -> None:
        calls: Any = self.calls
        step = calls.value // self.uses
        due = ops.logical_and(self.schedule.is_due(step), calls.value % self.uses == 0)
        sparsity = self.schedule.sparsity(step, self.sparsity)
        mask = ops.cond(due, lambda: self._mask_of(weight, sparsity), lambda: self.mask.value)
        self.mask.assign(mask)
        calls.assign(calls.value + 1)

    def _mask_of(self, weight: Any, sparsity: Any) -> Any:
        if isinstance(self.pattern, str):
            return _n_of_m_mask(weight, *parse_n_of_m(self.pattern), self.axis)
        if self.pattern is None:
            scores = ops.reshape(ops.abs(weight), (-1,))
            return ops.reshape(_mark_largest(scores, sparsity), weight.shape)
        means = block_means(weight, self.pattern)
        kept = ops.reshape(_mark_largest(ops.reshape(means, (-1,)), sparsity), means.shape)
        rows, columns = self.pattern
        kept = ops.repeat(ops.repeat(kept, rows, axis=-2), columns, axis=-1)
        return kept[..., : weight.shape[-2], : weight.shape[-1]]


def check_pattern(pattern: Any, sparsity: float, schedule: Any = None) -> Pattern:
    """Return the pattern, or raise ValueError if it is invalid or does not fit the sparsity."""
    if pattern is None:
        return None
    if isinstance(pattern, str):
        kept, group = parse_n_of_m(pattern)
        if not math.isclose(sparsity, 1 - kept / group):
            raise ValueError(
                f'pattern "{pattern}" requires a sparsity of {1 - kept / group:g}. Received: '
                f"sparsity={sparsity:g}"
            )
        if isinstance(schedule, PolynomialDecay):
            raise ValueError(
                f'pattern "{pattern}" cannot be reached gradually. Use '
                "schedule=ConstantSparsity(...)."
            )
        return pattern
    try:
        block = tuple(pattern)
    except TypeError:
        block = ()
    if len(block) != 2 or not all(is_whole(size) and size >= 1 for size in block):
        raise ValueError(
            'pattern must be None, "n:m" such as "2:4", or a block of two integers '
            f"(rows, columns). Received: {pattern!r}"
        )
    return int(block[0]), int(block[1])


def parse_n_of_m(pattern: str) -> tuple[int, int]:
    """Return the two numbers of a pattern such as "2:4"."""
    kept, _, group = pattern.partition(":")
    if not (kept.isdecimal() and group.isdecimal() and 0 < int(kept) < int(group)):
        raise ValueError(
            f'pattern must be "n:m" with 0 < n < m, such as "2:4". Received: {pattern!r}'
        )
    return int(kept), int(group)


def block_means(weight: Any, block: tuple[int, int]) -> Any:
    """Return the mean absolute value of each block over the last two axes.

    Args:
        weight: A tensor `(..., rows, columns)`.
        block: Rows and columns of a block; blocks at the edges may be smaller.

    Returns:
        A tensor `(..., ceil(rows / block[0]), ceil(columns / block[1]))`.
    """

    def sums(values: Any) -> Any:
        *outer, rows, columns = values.shape
        padding = [(0, 0)] * len(outer) + [(0, -rows % block[0]), (0, -columns % block[1])]
        values = ops.pad(values, padding)
        rows, columns = values.shape[-2] // block[0], values.shape[-1] // block[1]
        return ops.sum(ops.reshape(values, (*outer, rows, block[0], columns, block[1])), (-3, -1))

    inside = ops.convert_to_tensor(np.ones((1,) * (len(weight.shape) - 2) + weight.shape[-2:], "f"))
    return sums(ops.abs(weight)) / sums(inside)


def _mark_largest(scores: Any, sparsity: Any) -> Any:
    """Return 0 for the smallest scores and 1 for the others, with an exact count even on ties."""
    n = scores.shape[0]
    pruned = ops.cast(ops.round(ops.cast(sparsity, "float32") * n), "int32")
    kept = ops.cast(ops.arange(n, dtype="int32") >= pruned, "float32")
    order = ops.cast(ops.argsort(scores), "int32")
    return ops.scatter(ops.expand_dims(order, 1), kept, (n,))


def _n_of_m_mask(weight: Any, kept: int, group: int, axis: int) -> Any:
    last = ops.moveaxis(ops.abs(weight), axis, -1)
    whole = last.shape[-1] // group * group
    groups = ops.reshape(last[..., :whole], (*last.shape[:-1], whole // group, group))
    ranks = ops.argsort(ops.argsort(groups, axis=-1), axis=-1)
    mask = ops.reshape(ops.cast(ranks >= group - kept, "float32"), (*last.shape[:-1], whole))
    mask = ops.concatenate([mask, ops.ones_like(last[..., whole:])], axis=-1)
    return ops.moveaxis(mask, -1, axis)
