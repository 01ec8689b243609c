"""Run the scripts of a bundle as a device does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

RUNTIMES = [
    sys.executable,
    pytest.param(
        os.environ.get("KD_RUNTIME_PYTHON"),
        marks=pytest.mark.skipif(
            "KD_RUNTIME_PYTHON" not in os.environ,
            reason="KD_RUNTIME_PYTHON names no interpreter with tflite-runtime",
        ),
    ),
]


def run(python, folder, script, *arguments):
    """Run a script of the bundle as a device does: nothing of this checkout on its path."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "KERAS"))}
    return subprocess.run(
        [python, script, *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
