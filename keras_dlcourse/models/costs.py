"""What each network costs at its own size: a file beside this one, kept true by the tests."""

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
    """What one image costs a network.

    Attributes:
        name: Its name in `names()`.
        image: Height, width and channels of the images of its paper, as in `"224x224x3"`.
        weights: All weights that a file holds, statistics of batch normalization among them.
        trained: Those that are trained.
        multiply_adds: Multiply-adds for one image.
        peak: The most numbers that are alive at a time: bytes in int8, a fourth of those in
            float32.
    """

    name: str
    image: str
    weights: int
    trained: int
    multiply_adds: int
    peak: int


def measured(name: str) -> Cost:
    """Build a network and count.

    Args:
        name: One of `names()`.
    """
    return cost_of(outline(name))


def outline(name: str, **options: Any) -> keras.Model:
    """Build a network without the memory for its weights, to be read and not to be run.

    Args:
        name: One of `names()`.
        **options: Arguments of the builder.
    """
    with weightless():
        return build(name, **options)


def cost_of(model: keras.Model) -> Cost:
    """Return what a network costs, under the model's name."""
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
    """Return what all registered networks cost.

    Those that are not in the file are measured, and left out if they cannot be built without
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
    found = (kept.get(name) or _measured_or_none(name) for name in names())
    return tuple(cost for cost in found if cost is not None)


def _measured_or_none(name: str) -> Cost | None:
    try:
        return replace(measured(name), name=name)
    except TypeError:
        return None


def write(rows: Iterable[Cost]) -> None:
    """Write the file."""
    with FILE.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, [field.name for field in fields(Cost)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, rows))


def cost_table(rows: Iterable[Cost]) -> str:
    """Return costs as text."""
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
