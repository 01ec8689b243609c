"""Measure the cost of networks, by building them without allocating their weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import keras

from keras_dlcourse import models
from keras_dlcourse.graph.profile import profile
from keras_dlcourse.graph.weightless import weightless
from keras_dlcourse.models.costs import Cost, read_costs


def measure_network(name: str) -> Cost:
    """Build a network and measure its cost.

    Args:
        name: One of `names()`.
    """
    return cost_of(outline(name))


def outline(name: str, **options: Any) -> keras.Model:
    """Build a network without allocating its weights. It can be inspected but not run.

    Args:
        name: One of `names()`.
        **options: Arguments of the builder.
    """
    with weightless():
        return models.build(name, **options)


def cost_of(model: keras.Model) -> Cost:
    """Return the cost of a model, under the model's name."""
    found = profile(model)
    return Cost(
        model.name,
        "x".join(map(str, model.input_shape[1:])),
        found.parameters,
        sum(math.prod(weight.shape) for weight in model.trainable_weights),
        found.multiply_adds,
        found.peak_bytes // 4,
    )


def costs() -> tuple[Cost, ...]:
    """Return the costs of all registered networks.

    Networks that are not in the file are measured, or omitted if they cannot be built without
    arguments.
    """
    kept = {cost.name: cost for cost in read_costs()}
    found = (kept.get(name) or _measure_or_none(name) for name in models.names())
    return tuple(cost for cost in found if cost is not None)


def _measure_or_none(name: str) -> Cost | None:
    try:
        return replace(measure_network(name), name=name)
    except TypeError:
        return None
