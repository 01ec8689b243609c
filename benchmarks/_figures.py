"""What a benchmark reports, and how two things are timed side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured figure beside the limit that it has to keep.

    Attributes:
        what: What is measured, and against what.
        value: The figure, in `unit`.
        unit: Its unit; "x" for a ratio.
        limit: The limit, in the same unit.
        at_most: Whether the figure has to stay below the limit, rather than above.
        detail: The absolute figures behind a ratio.
    """

    what: str
    value: float
    unit: str
    limit: float
    at_most: bool = True
    detail: str = ""

    @property
    def kept(self) -> bool:
        return self.value <= self.limit if self.at_most else self.value >= self.limit


def in_turn(
    ours: Callable[[], object], peer: Callable[[], object], *, rounds: int, calls: int = 1
) -> tuple[float, float]:
    """Time two functions in turn, so that whatever else the machine does falls on both.

    Returns:
        The median seconds of one call of each.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for function, seconds in zip((ours, peer), times, strict=True):
            started = time.perf_counter()
            for _ in range(calls):
                function()
            seconds.append((time.perf_counter() - started) / calls)
    return statistics.median(times[0]), statistics.median(times[1])


def ratio(what: str, ours: float, peer: float, limit: float) -> Figure:
    """Make a figure of two times, given in seconds."""
    return Figure(what, ours / peer, "x", limit, detail=f"{_time(ours)} against {_time(peer)}")


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
