"""Pruning: set the smallest weights of a model to 0, at once or step by step in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import fraction
from keras_dlcourse._tables import text_table
from keras_dlcourse.compress.transformed import (
    Kernel,
    kernels,
    opened_except,
    unfinished_schedules,
    with_transforms,
)
from keras_dlcourse.graph.flat import functional
from keras_dlcourse.graph.kernel_layers import open_layers
from keras_dlcourse.layers import ClusterWeight, ConstantSparsity, PolynomialDecay, PruneWeight
from keras_dlcourse.layers.compression.prune_weight import (
    Pattern,
    block_means,
    checked_pattern,
    n_of_m,
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
    """Return a copy of a model in which a share of the weights is 0 and stays 0 in training.

    Compile and fit it as any model; then `strip` it, or export it as it is. What is pruned are the
    kernels of convolutions and dense layers. Those of depthwise convolutions are left out: they
    are a few hundredths of the weights, and each number in them is a ninth of all that a channel
    sees of its neighbourhood.

    A pruned `.tflite` file is no smaller and no faster as it lies on the device: zeros take the
    space of other numbers. It is smaller when compressed, as in an app package; see `sizes`. For a
    faster model, see `prune_filters`.

    Args:
        model: A built functional or Sequential model; left as it is. Nested models and blocks are
            opened into their layers.
        sparsity: Share of the numbers of each kernel (or of all of them) that is 0 in the end,
            at least 0 and below 1. By default 0.5, or what the pattern has.
        schedule: None prunes now and keeps what is pruned. `ConstantSparsity` and `PolynomialDecay`
            prune inside of the training steps, counted from the first one.
        per: `"layer"`: each layer gets the same sparsity. `"model"`: one ranking of all numbers,
            each relative to the root mean square of its layer, decides how sparse each layer
            becomes, so that layers that need their weights keep more. The ranking is made once, of
            the weights as they come in.
        pattern: None prunes single numbers; `(1, 4)`, say, whole blocks of that many input and
            output channels; `"2:4"` keeps the two largest of each four input channels.
        skip: Names of layers to leave dense, also with `*`; of a composite layer or nested model
            all that is inside.
        depthwise: Whether to prune depthwise convolutions too.

    Returns:
        A functional model with the same inputs, outputs and weights.

    Raises:
        TypeError: If it is no Keras model.
        ValueError: If an argument is out of its range, the model is unbuilt, subclassed, or pruned
            or clustered already, or `skip` matches nothing.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="scores")])
        >>> print(sparsity(prune(model, 0.75)))
         layer    numbers   zeros   share
        ──────────────────────────────────
         scores        12       9    0.75
         all           12       9    0.75

    Reference:
        Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model
        compression", 2017, https://arxiv.org/abs/1710.01878
    """
    if sparsity is None:
        kept, group = n_of_m(pattern) if isinstance(pattern, str) else (1, 2)
        sparsity = 1 - kept / group
    fraction("sparsity", sparsity)
    pattern = checked_pattern(pattern, sparsity, schedule)
    if per not in PER:
        raise ValueError(f"per must be {' or '.join(map(repr, PER))}. Received: {per!r}")
    if per == "model" and isinstance(pattern, str):
        raise ValueError(
            f'pattern "{pattern}" has the same sparsity in every layer: use per="layer"'
        )
    graph, left_out = opened_except(model, skip)
    chosen = [kernel for kernel in kernels(graph) if _is_chosen(kernel, left_out, depthwise)]
    if not chosen:
        raise ValueError(f"model {model.name!r} has no layer to prune")
    shares = {id(kernel.layer): sparsity for kernel in chosen}
    if per == "model":
        shares = _ranked(chosen, sparsity, pattern)

    def transform(kernel: Kernel) -> PruneWeight | None:
        share = shares.get(id(kernel.layer))
        if share is None:
            return None
        scaled = schedule.scaled(share / sparsity) if schedule and sparsity else schedule
        made = PruneWeight(share, scaled, pattern, axis=kernel.inputs, uses=kernel.uses)
        made.build(tuple(kernel.layer.kernel.shape))
        if schedule is None:
            made.choose_mask(kernel.values)
        return made

    return with_transforms(graph, transform)


def _is_chosen(kernel: Kernel, left_out: set[str], depthwise: bool) -> bool:
    for transform in kernel.transforms:
        if isinstance(transform, PruneWeight):
            raise ValueError(f"layer {kernel.layer.name!r} is pruned already: strip(model) first")
        if isinstance(transform, ClusterWeight):
            raise ValueError(
                f"layer {kernel.layer.name!r} is clustered already: prune first, then cluster"
            )
    return kernel.layer.name not in left_out and (depthwise or not kernel.is_depthwise)


def _ranked(chosen: list[Kernel], sparsity: float, pattern: Pattern) -> dict[int, float]:
    """Return the sparsity of each layer that one ranking of all scores gives."""
    scores = []
    for kernel in chosen:
        values = kernel.values
        if isinstance(pattern, tuple):
            values = block_means(values, pattern)
        flat = np.abs(keras.ops.convert_to_numpy(values)).ravel()
        # Batch normalization makes the size of a kernel as a whole meaningless.
        scores.append(flat / max(float(np.sqrt(np.mean(flat**2))), 1e-12))
    everything = np.concatenate(scores)
    pruned = np.zeros(len(everything), bool)
    pruned[np.argsort(everything, kind="stable")[: round(sparsity * len(everything))]] = True
    # One block or number is left in each layer: without any, nothing gets through.
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
        numbers: How many numbers its kernel holds.
        zeros: How many of them are exactly 0.
    """

    layer: str
    numbers: int
    zeros: int

    @property
    def share(self) -> float:
        """Zeros among the numbers, from 0 to 1."""
        return self.zeros / self.numbers if self.numbers else 0.0


@dataclass(frozen=True)
class Sparsity:
    """The zeros of a model's kernels; `print` it for a table.

    Attributes:
        layers: One row for each kernel.
        notes: Which pruning schedules have not reached their end.
    """

    layers: tuple[LayerSparsity, ...]
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> LayerSparsity:
        """All kernels together."""
        return LayerSparsity(
            "all", sum(row.numbers for row in self.layers), sum(row.zeros for row in self.layers)
        )

    def __str__(self) -> str:
        rows = [
            [row.layer, row.numbers, row.zeros, row.share] for row in (*self.layers, self.total)
        ]
        table = text_table(["layer", "numbers", "zeros", "share"], rows)
        if not self.notes:
            return table
        return "\n".join([table, f"not finished: {'; '.join(self.notes)}"])


def sparsity(model: keras.Model) -> Sparsity:
    """Count the zeros of each kernel, as the model computes with it.

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
    functional(model)
    graph = open_layers(model)
    rows = [LayerSparsity(kernel.layer.name, *_counts(kernel.values)) for kernel in kernels(graph)]
    return Sparsity(tuple(rows), tuple(unfinished_schedules(graph)))


def _counts(values: Any) -> tuple[int, int]:
    array = keras.ops.convert_to_numpy(values)
    return int(array.size), int((array == 0).sum())
