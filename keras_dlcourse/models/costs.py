"""Cost of each network at its own image size, read from a CSV file that the tests keep in sync."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import keras

from keras_dlcourse._tables import text_table
from keras_dlcourse.graph.profile import profile
from keras_dlcourse.graph.weightless import weightless
from keras_dlcourse.models.registry import build, names

FILE = Path(__file__).with_name("costs.csv")


@dataclass(frozen=True)
class Cost:
    """Cost of running a network on one image.

    Attributes:
        name: Name of the network in `names()`.
        image: Height, width and channels of the images used in its paper, e.g. `"224x224x3"`.
        weights: Number of weights stored in a file, including batch normalization statistics.
        trained: Number of trainable weights.
        multiply_adds: Multiply-adds for one image.
        peak: Largest number of activation values held in memory at one time. This equals bytes in
            int8, and a quarter of the bytes in float32.
    """

    name: str
    image: str
    weights: int
    trained: int
    multiply_adds: int
    peak: int


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
        return build(name, **options)


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
    with FILE.open(encoding="utf-8", newline="") as lines:
        rows = {row["name"]: row for row in csv.DictReader(lines)}
    kept = {
        name: Cost(
            name,
            row["image"],
            *(int(row[field]) for field in ("weights", "trained", "multiply_adds", "peak")),
        )
        for name, row in rows.items()
    }
    found = (kept.get(name) or _measure_or_none(name) for name in names())
    return tuple(cost for cost in found if cost is not None)


def _measure_or_none(name: str) -> Cost | None:
    try:
        return replace(measure_network(name), name=name)
    except TypeError:
        return None


def write(rows: Iterable[Cost]) -> None:
    """Write costs to the CSV file."""
    with FILE.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, [field.name for field in fields(Cost)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, rows))


def cost_table(rows: Iterable[Cost]) -> str:
    """Return costs as a text table."""
    return text_table(
        ["network", "image", "weights", "multiply-adds", "MB float32", "MB int8", "peak kB int8"],
        [
            [
                row.name,
                row.image,
                row.weights,
                row.multiply_adds,
                round(4 * row.weights / 1e6, 2),
                round(row.weights / 1e6, 2),
                round(row.peak / 1e3),
            ]
            for row in rows
        ],
        width=120,
    )
