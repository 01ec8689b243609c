"""What an import costs: `keras_dlcourse`, and its device part beside the bare interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys

from _figures import Figure, ratio

ROUNDS = 15
STATEMENT = (
    "import time; started = time.perf_counter(); import {module}; "
    "print(time.perf_counter() - started)"
)


def measure() -> list[Figure]:
    modules = ("keras_dlcourse.edge", "ai_edge_litert.interpreter", "keras_dlcourse")
    times: dict[str, list[float]] = {module: [] for module in modules}
    for _ in range(ROUNDS):
        for module in modules:
            times[module].append(_import_seconds(module))
    edge, interpreter, whole = (statistics.median(times[module]) for module in modules)
    return [
        ratio(
            "import keras_dlcourse.edge / import ai_edge_litert.interpreter", edge, interpreter, 1.3
        ),
        Figure("import keras_dlcourse", whole * 1000, "ms", 50),
    ]


def _import_seconds(module: str) -> float:
    """Import in a fresh process."""
    command = [sys.executable, "-c", STATEMENT.format(module=module)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
