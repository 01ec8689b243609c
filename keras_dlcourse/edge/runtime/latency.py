"""Measure the latency of a call on this device."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_dlcourse._checks import check_integer


@dataclass(frozen=True)
class Latency:
    """The time of one call, in milliseconds.

    Attributes:
        median_ms: Median.
        p90_ms: 90th percentile.
        mean_ms: Mean.
        min_ms: Minimum.
        runs: Number of calls measured.
        runtime: Name and version of the interpreter.
        threads: Number of threads.
    """

    median_ms: float
    p90_ms: float
    mean_ms: float
    min_ms: float
    runs: int
    runtime: str
    threads: int

    def __str__(self) -> str:
        return (
            f"{self.median_ms:.3f} ms median, {self.p90_ms:.3f} ms 90th percentile of {self.runs} "
            f"calls ({self.runtime}, {self.threads} thread{'s' if self.threads > 1 else ''})"
        )


def measure(
    call: Callable[[], object], runs: int, runtime: str, threads: int | None = None
) -> Latency:
    """Return the latency of `call`, measured after a tenth as many warm-up calls.

    Args:
        call: Function to time.
        runs: Number of calls to measure, at least 1.
        runtime: Value of `Latency.runtime`.
        threads: Value of `Latency.threads`; None means 1.

    Raises:
        TypeError: If `runs` is not an integer.
        ValueError: If `runs` is below 1.

    Example:
        >>> measure(lambda: sum(range(100)), runs=10, runtime="Python").runs
        10
    """
    runs = check_integer("runs", runs)
    for _ in range(1 + runs // 10):
        call()
    times = np.array([_seconds(call) for _ in range(runs)]) * 1000
    return Latency(
        median_ms=float(np.median(times)),
        p90_ms=float(np.percentile(times, 90)),
        mean_ms=float(times.mean()),
        min_ms=float(times.min()),
        runs=runs,
        runtime=runtime,
        threads=threads or 1,
    )


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
