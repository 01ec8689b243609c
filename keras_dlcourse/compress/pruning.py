"""Pruning: set the smallest weights of a model to 0, at once or gradually during training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_fraction, check_one_of
from keras_dlcourse._tables import text_table
from keras_dlcourse.compress.transformed import (
    Kernel,
    add_transforms,
    find_unfinished_schedules,
    kernels,
    open_except,
)
from keras_dlcourse.graph.flat import to_functional
from keras_dlcourse.graph.kernel_layers import open_layers
from keras_dlcourse.layers import ClusterWeight, ConstantSparsity, PolynomialDecay, PruneWeight
from keras_dlcourse.layers.compression.prune_weight import (
    Pattern,
    block_means,
    check_pattern,
    parse_n_of_m,
)
from keras_dlcourse.layers.compression.sparsity_schedules import Schedule

__all__ = [
    "ConstantSparsity",
    "LayerSparsity",
    "PolynomialDecay",
    "Sparsity",
    "prune",
    "sparsity",
]

PER = ("layer", "model")


def prune(
    model: keras.Model,
    sparsity: float | None = None,
    schedule: Schedule | None = None,
    per: str = "layer",
    pattern: Pattern = None,
    skip: Sequence[str] = (),
    depthwise: bool = False,
) -> keras.Model:
    """Return a copy of a model in which a fraction of the weights is 0 and stays 0 in training.

    Compile and fit it like any model; then `strip` it, or export it unchanged. The kernels of
    convolutions and dense layers are pruned. By default, depthwise convolutions are not: they hold
    only a few percent of the weights, and each weight is a ninth of what a channel sees of its
    neighborhood.

    A pruned `.tflite` file is neither smaller nor faster on the device: zeros take as much space
    as other values. It is smaller when compressed, as in an app package; see `sizes`. For a faster
    model, see `prune_filters`.

    Args:
        model: A built functional or Sequential model. It is not modified. Nested models and blocks
            are expanded into their layers.
        sparsity: Final fraction of zeros in each kernel (or in all kernels together), at least 0
            and below 1. Defaults to 0.5, or to the sparsity of the pattern.
        schedule: None prunes immediately and keeps the same weights pruned. `ConstantSparsity` and
            `PolynomialDecay` prune during training, with steps counted from the first one.
        per: `"layer"`: each layer gets the same sparsity. `"model"`: one ranking of all weights,
            each relative to the root mean square of its layer, decides how sparse each layer
            becomes, so that layers that need their weights keep more. The ranking is computed once,
            from the initial weights.
        pattern: None prunes single weights; `(1, 4)`, for example, prunes whole blocks of 1 input
            and 4 output channels; `"2:4"` keeps the two largest of every four input channels.
        skip: Names of layers to leave dense; `*` is a wildcard. For a composite layer or nested
            model, everything inside it is skipped.
        depthwise: Whether to also prune depthwise convolutions.

    Returns:
        A functional model with the same inputs, outputs and weights.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If an argument is out of range, the model is unbuilt, subclassed, or already
            pruned or clustered, or a name in `skip` matches nothing.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="scores")])
        >>> print(sparsity(prune(model, 0.75)))
         layer    values   zeros   fraction
        ────────────────────────────────────
         scores       12       9       0.75
         all          12       9       0.75

    Reference:
        Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model
        compression", 2017, https://arxiv.org/abs/1710.01878
    """
    if sparsity is None:
        kept, group = parse_n_of_m(pattern) if isinstance(pattern, str) else (1, 2)
        sparsity = 1 - kept / group
    check_fraction("sparsity", sparsity)
    pattern = check_pattern(pattern, sparsity, schedule)
    check_one_of("per", per, PER)
    if per == "model" and isinstance(pattern, str):
        raise ValueError(
            f'pattern "{pattern}" gives every layer the same sparsity. Use per="layer".'
        )
    graph, left_out = open_except(model, skip)
    chosen = [kernel for kernel in kernels(graph) if _is_chosen(kernel, left_out, depthwise)]
    if not chosen:
        raise ValueError(f"model {model.name!r} has no layer to prune.")
    shares = {id(kernel.layer): sparsity for kernel in chosen}
    if per == "model":
        shares = _rank_weights(chosen, sparsity, pattern)

    def transform(kernel: Kernel) -> PruneWeight | None:
        share = shares.get(id(kernel.layer))
        if share is None:
            return None
        scaled = schedule.scale(share / sparsity) if schedule and sparsity else schedule
        made = PruneWeight(share, scaled, pattern, axis=kernel.inputs, uses=kernel.uses)
        made.build(tuple(kernel.layer.kernel.shape))
        if schedule is None:
            made.choose_mask(kernel.values)
        return made

    return add_transforms(graph, transform)


def _is_chosen(kernel: Kernel, left_out: set[str], depthwise: bool) -> bool:
    for transform in kernel.transforms:
        if isinstance(transform, PruneWeight):
            raise ValueError(
                f"Layer {kernel.layer.name!r} is already pruned. Call strip(model) first."
            )
        if isinstance(transform, ClusterWeight):
            raise ValueError(
                f"Layer {kernel.layer.name!r} is already clustered. Prune first, then cluster."
            )
    return kernel.layer.name not in left_out and (depthwise or not kernel.is_depthwise)


def _rank_weights(chosen: list[Kernel], sparsity: float, pattern: Pattern) -> dict[int, float]:
    """Return the sparsity of each layer that results from one ranking of all scores."""
    scores = []
    for kernel in chosen:
        values = kernel.values
        if isinstance(pattern, tuple):
            values = block_means(values, pattern)
        flat = np.abs(keras.ops.convert_to_numpy(values)).ravel()
        # Batch normalization makes the overall magnitude of a kernel meaningless.
        scores.append(flat / max(float(np.sqrt(np.mean(flat**2))), 1e-12))
    everything = np.concatenate(scores)
    pruned = np.zeros(len(everything), bool)
    pruned[np.argsort(everything, kind="stable")[: round(sparsity * len(everything))]] = True
    # Keep at least one block or weight per layer: with none, the layer passes nothing on.
    ends = np.cumsum([len(flat) for flat in scores])[:-1]
    return {
        id(kernel.layer): min(float(part.mean()), 1 - 1 / len(part))
        for kernel, part in zip(chosen, np.split(pruned, ends), strict=True)
    }


@dataclass(frozen=True)
class LayerSparsity:
    """The zeros of one kernel.

    Attributes:
        layer: Name of the layer.
        numbers: Number of values in its kernel.
        zeros: Number of values that are exactly 0.
    """

    layer: str
    numbers: int
    zeros: int

    @property
    def share(self) -> float:
        """Fraction of zeros, from 0 to 1."""
        return self.zeros / self.numbers if self.numbers else 0.0


@dataclass(frozen=True)
class Sparsity:
    """The zeros of a model's kernels. Prints as a table.

    Attributes:
        layers: One row per kernel.
        notes: Pruning schedules that are not finished.
    """

    layers: tuple[LayerSparsity, ...]
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> LayerSparsity:
        """The total over all kernels."""
        return LayerSparsity(
            "all", sum(row.numbers for row in self.layers), sum(row.zeros for row in self.layers)
        )

    def __str__(self) -> str:
        rows = [
            [row.layer, row.numbers, row.zeros, row.share] for row in (*self.layers, self.total)
        ]
        table = text_table(["layer", "values", "zeros", "fraction"], rows)
        if not self.notes:
            return table
        return "\n".join([table, f"not finished: {'; '.join(self.notes)}"])


def sparsity(model: keras.Model) -> Sparsity:
    """Count the zeros of each kernel, as used by the model.

    Args:
        model: A functional or Sequential model, pruned or not.

    Returns:
        A `Sparsity`; print it for a table.

    Raises:
        ValueError: If the model is unbuilt or subclassed.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> sparsity(prune(model, 0.5)).total.share
        0.5
    """
    to_functional(model)
    graph = open_layers(model)
    rows = [
        LayerSparsity(kernel.layer.name, *_count_zeros(kernel.values)) for kernel in kernels(graph)
    ]
    return Sparsity(tuple(rows), tuple(find_unfinished_schedules(graph)))


def _count_zeros(values: Any) -> tuple[int, int]:
    array = keras.ops.convert_to_numpy(values)
    return int(array.size), int((array == 0).sum())
