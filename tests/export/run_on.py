"""Really run files on a runtime, each in a child: `python run_on.py RUNTIME FILE...`, JSON out.

Any interpreter that has the runtime can run this; nothing of the package is imported by name.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

TRIAL = Path(__file__).parents[2] / "keras_dlcourse" / "export" / "checking" / "trial.py"
SAY = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime":
       "tflite_runtime.interpreter", "tflite-micro": "tflite_micro.python.tflite_micro.runtime",
       "mediapipe": "mediapipe.tasks.python.vision"}  # fmt: skip


def load(path: Path):
    spec = importlib.util.spec_from_file_location("trial", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(trial, runtime: str, path: str) -> tuple[int, str]:
    """Return exit code (negative for a signal) and what was said."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os._exit(trial.main(runtime, path))
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        said = stream.read().decode(errors="replace")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said[-400:]


if __name__ == "__main__":
    runtime, *paths = sys.argv[1:]
    trial = load(TRIAL)
    try:
        importlib.import_module(SAY[runtime])  # once, before forking
    except (ImportError, OSError) as error:
        print(json.dumps({"absent": str(error)}))
    else:
        print(json.dumps({path: run(trial, runtime, path) for path in paths}))
