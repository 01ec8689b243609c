"""Run a few lines of Python in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys


def run_in_fresh_process(lines: str, *arguments: object, **environment: str) -> str:
    """Return what a script writes; it fails where the script fails."""
    done = subprocess.run(
        [sys.executable, "-c", lines, *map(str, arguments)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
