"""Cost of each network at its own image size, from a CSV file that the tests keep in sync.

Nothing here needs Keras; `measuring` measures what is in the file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from keras_dlcourse._tables import text_table
from keras_dlcourse.models.registry import check_name, names

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


def read_costs() -> tuple[Cost, ...]:
    """Return the costs in the file, in alphabetical order.

    Example:
        >>> read_costs()[0].name
        'alexnet'
    """
    with FILE.open(encoding="utf-8", newline="") as lines:
        return tuple(
            Cost(
                row["name"],
                row["image"],
                *(int(row[field]) for field in ("weights", "trained", "multiply_adds", "peak")),
            )
            for row in csv.DictReader(lines)
        )


def check_network(name: str) -> None:
    """Raise ValueError if no network has that name, neither in the file nor in this process.

    Example:
        >>> check_network("mobilenet_v2")
    """
    check_name(name, sorted({*(cost.name for cost in read_costs()), *names()}))


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
