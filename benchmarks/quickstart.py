"""The quickstart as a newcomer runs it, in a process of its own: time, accuracy, and the files."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _figures import Figure


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "quickstart"
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "keras_dlcourse.cli", "quickstart", "--output", str(run)],
            check=True,
        )
        seconds = time.perf_counter() - started
        results = json.loads((run / "results.json").read_text())
    files = {row["quantization"]: row for row in results["files"]}
    float32, int8 = files["float32"], files["int8"]
    images = f"{float32['examples']:,} test images"
    return [
        Figure("quickstart, from the command to the report", seconds, "s", 300),
        Figure("accuracy of the Keras model", results["test"]["accuracy"], "", 0.83, False, images),
        Figure("float32 file, largest difference from Keras", float32["max_error"], "", 1e-5),
        Figure(
            "int8 file, accuracy lost",
            float32["accuracy"] - int8["accuracy"],
            "",
            0.01,
            detail=f"{int8['accuracy']:.4f} after {float32['accuracy']:.4f}",
        ),
        Figure("int8 file, same top class as Keras", int8["agreement"], "", 0.97, False, images),
    ]
