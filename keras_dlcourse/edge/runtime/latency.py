"""How long a call takes on this device."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Latency:
    """The time that one call takes.

    Attributes:
        median_ms: Half of the calls took no longer, in milliseconds.
        p90_ms: Nine of ten calls took no longer.
        mean_ms: Average.
        min_ms: The shortest.
        runs: Calls measured.
        runtime: The interpreter and its version.
        threads: Threads it computed on.
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
    """Return the latency of `call`, after a tenth as many calls to warm up.

    Args:
        call: What to time.
        runs: How often, at least 1.
        runtime: What `Latency.runtime` says.
        threads: What `Latency.threads` says.

    Raises:
        ValueError: If `runs` is below 1.

    Example:
        >>> measure(lambda: sum(range(100)), runs=10, runtime="Python").runs
        10
    """
    if not isinstance(runs, int) or runs < 1:
        raise ValueError(f"runs must be a whole number above 0, got {runs!r}")
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
