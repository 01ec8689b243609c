"""Structured pruning: remove whole filters to make the network narrower and faster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_fraction, check_one_of
from keras_dlcourse._tables import text_table
from keras_dlcourse.compress.narrowing import narrow
from keras_dlcourse.graph.channels import Channels
from keras_dlcourse.graph.flat import Graph, Node
from keras_dlcourse.graph.kernel_layers import open_layers

BY = ("l1", "l2", "bn_gamma")


@dataclass(frozen=True)
class FilterGroup:
    """Layers whose filters can only be removed together.

    Attributes:
        layers: Layer names: one layer, or several whose outputs are added.
        filters: Number of filters that can be removed.
        fixed: Number of filters that must stay.
        reason: Why some filters must stay; empty if all can be removed.
    """

    layers: tuple[str, ...]
    filters: int
    fixed: int
    reason: str


@dataclass(frozen=True)
class FilterGroups:
    """All layers of a model that have filters. Prints as a table.

    Attributes:
        groups: The groups, in network order.
    """

    groups: tuple[FilterGroup, ...]

    def __str__(self) -> str:
        rows = [
            [", ".join(group.layers), group.filters, group.fixed, group.reason]
            for group in self.groups
        ]
        return text_table(["layers", "removable filters", "fixed", "because"], rows, width=120)


def prune_filters(
    model: keras.Model,
    fraction: float = 0.5,
    layers: Sequence[str] | None = None,
    by: str = "l1",
) -> keras.Model:
    """Return a narrower copy of a model, without its least important filters.

    The copy has fewer filters, and all weights that read their outputs are removed as well: it is
    smaller and faster on any device, but needs further training to recover its accuracy. Filters
    whose outputs are added together (residual connections) are chosen and removed together.
    Layers that cannot be narrowed stay unchanged; see `filter_groups`.

    Args:
        model: A built functional or Sequential model. It is not modified. Nested models and blocks
            are expanded into their layers.
        fraction: Fraction of the filters to remove from each group of layers, at least 0 and below
            1. Every layer keeps at least one.
        layers: Names of layers to remove filters from; `*` is a wildcard: `["*_expand"]` for the
            expansion layers of MobileNetV2. None means all.
        by: How importance is measured: the sum of a filter's absolute weights (`"l1"`), the root
            of the sum of their squares (`"l2"`), each relative to the layer's mean, or the absolute
            gamma of the batch normalization that follows (`"bn_gamma"`).

    Returns:
        A functional model with the same inputs and outputs, not compiled.

    Raises:
        TypeError: If `model` is not a Keras model, or `layers` is a string.
        ValueError: If an argument is out of range, the model is unbuilt, subclassed, pruned,
            clustered or quantized, or a name in `layers` matches nothing that can be narrowed.

    Example:
        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.Conv2D(16, 3, activation="relu")(inputs)
        >>> x = keras.layers.GlobalAveragePooling2D()(x)
        >>> model = keras.Model(inputs, keras.layers.Dense(2)(x))
        >>> narrow = prune_filters(model, 0.75)
        >>> [tuple(weight.shape) for weight in narrow.weights]
        [(3, 3, 3, 4), (4,), (4, 2), (2,)]

    Reference:
        Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017,
        https://arxiv.org/abs/1608.08710; by batch normalization: Liu et al., "Learning Efficient
        Convolutional Networks through Network Slimming", ICCV 2017,
        https://arxiv.org/abs/1708.06519
    """
    check_fraction("fraction", fraction)
    check_one_of("by", by, BY)
    graph = open_layers(model)
    channels = Channels(graph)
    groups = list(_groups(channels))
    chosen = _choose_groups(groups, layers)
    scores = _gammas(graph, channels) if by == "bn_gamma" else _norms(channels, by)
    removed = np.zeros(len(channels.roots), bool)  # by root
    for group in chosen:
        removed[_find_least_important(group, channels, scores, fraction, by)] = True
    kept = ~removed[channels.roots]
    made: dict[int, Any] = {}

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        operation = node.operation
        if id(operation) not in made:
            made[id(operation)] = operation
            if id(operation) in channels.inputs:
                made[id(operation)] = narrow(
                    operation,
                    kept[channels.inputs[id(operation)]],
                    kept[channels.outputs[id(operation)]],
                )
        return made[id(operation)](*args, **kwargs)

    return graph.rebuild(call)


def filter_groups(model: keras.Model) -> FilterGroups:
    """Return the layers that `prune_filters` can narrow, and why it cannot narrow the others.

    Args:
        model: A built functional or Sequential model.

    Returns:
        A `FilterGroups`; print it for a table.

    Raises:
        ValueError: As in `prune_filters`.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, name="hidden"),
        ...                           keras.layers.Dense(2, name="scores")])
        >>> print(filter_groups(model))
         layers   removable filters   fixed   because
        ───────────────────────────────────────────────────────────────────
         hidden                   8       0
         scores                   0       2   it is an output of the model
    """
    return FilterGroups(tuple(group.summary for group in _groups(Channels(open_layers(model)))))


@dataclass(frozen=True, eq=False)
class _Group:
    """Layers that share channels, and the roots of these channels."""

    members: list[tuple[Any, np.ndarray]]  # layer, root of each of its filters
    free: np.ndarray
    reasons: tuple[str, ...]
    fixed: int

    @property
    def summary(self) -> FilterGroup:
        names = tuple(layer.name for layer, _ in self.members)
        return FilterGroup(names, len(self.free), self.fixed, "; ".join(self.reasons))


def _groups(channels: Channels) -> Iterator[_Group]:
    """Yield sets of layers that share no channels with any other set."""
    sets: list[tuple[list[tuple[Any, np.ndarray]], set[int]]] = []
    for layer, numbers in channels.producers.values():
        roots = channels.roots[numbers]
        members, union = [(layer, roots)], set(roots.tolist())
        apart = []
        for other in sets:
            if other[1] & union:
                members, union = other[0] + members, other[1] | union
            else:
                apart.append(other)
        sets = [*apart, (members, union)]
    order = {key: number for number, key in enumerate(channels.producers)}
    for members, union in sorted(sets, key=lambda s: min(order[id(layer)] for layer, _ in s[0])):
        free = np.array(sorted(union - channels.reasons.keys()), int)
        reasons = dict.fromkeys(
            channels.reasons[r] for r in sorted(union & channels.reasons.keys())
        )
        yield _Group(members, free, tuple(reasons), len(union) - len(free))


def _choose_groups(groups: list[_Group], patterns: Sequence[str] | None) -> list[_Group]:
    """Return the groups to remove filters from."""
    if patterns is None:
        return groups
    if isinstance(patterns, str):
        raise TypeError(f"layers must be a list of names. Received: the string {patterns!r}")
    found: dict[int, _Group] = {}
    for pattern in patterns:
        matches = [
            group
            for group in groups
            if any(fnmatchcase(layer.name, pattern) for layer, _ in group.members)
        ]
        if not matches:
            names = ", ".join(layer.name for group in groups for layer, _ in group.members)
            raise ValueError(
                f"layers must name convolution or dense layers. Received: {pattern!r}, which "
                f"matches none. Available (blocks and nested models expanded): {names}"
            )
        if not any(len(group.free) for group in matches):
            raise ValueError(
                f"layers must match something that can be narrowed. Received: {pattern!r}. Its "
                "filters must stay: "
                f"{'; '.join(dict.fromkeys(r for group in matches for r in group.reasons))}"
            )
        found |= {id(group): group for group in matches}
    return list(found.values())


Scores = dict[int, list[float]]
"""Maps the root of each channel to the importance of its filters."""


def _norms(channels: Channels, by: str) -> Scores:
    power = 1 if by == "l1" else 2
    found: Scores = {}
    for layer, numbers in channels.producers.values():
        kernel = np.abs(keras.ops.convert_to_numpy(layer.kernel).astype("float64"))
        axis = -2 if "Transpose" in type(layer).__name__ else -1
        others = tuple(n for n in range(kernel.ndim) if n != axis % kernel.ndim)
        norms = (kernel**power).sum(axis=others) ** (1 / power)
        # Layers whose outputs are added may have kernels of different sizes.
        _collect(found, channels.roots[numbers], norms / max(norms.mean(), 1e-30))
    return found


def _gammas(graph: Graph, channels: Channels) -> Scores:
    found: Scores = {}
    for node in graph.nodes:
        layer = node.operation
        if type(layer) is not keras.layers.BatchNormalization or not layer.scale:
            continue
        before = graph.maker(node.inputs[0])
        if before is not None and id(before.operation) in channels.producers:
            gamma = np.abs(keras.ops.convert_to_numpy(layer.gamma))
            _collect(found, channels.roots[channels.of(node.inputs[0])], gamma)
    return found


def _collect(found: Scores, roots: np.ndarray, values: np.ndarray) -> None:
    for root, value in zip(roots.tolist(), values.tolist(), strict=True):
        found.setdefault(root, []).append(value)


def _find_least_important(
    group: _Group, channels: Channels, scores: Scores, fraction: float, by: str
) -> list[int]:
    """Return the roots of the least important channels of a group."""
    if not all(root in scores for root in group.free.tolist()):
        names = ", ".join(layer.name for layer, _ in group.members)
        raise ValueError(
            f'by="{by}" requires batch normalization directly after {names}. Use by="l1", or '
            "choose other layers with layers=[...]."
        )
    wanted = round(fraction * len(group.free))
    order = sorted(group.free.tolist(), key=lambda root: float(np.mean(scores[root])))
    left = [set(roots.tolist()) for _, roots in group.members]
    removed: list[int] = []
    for root in order:
        if len(removed) == wanted:
            break
        if all(roots != {root} for roots in left):  # every layer keeps at least one filter
            removed.append(root)
            left = [roots - {root} for roots in left]
    return removed
