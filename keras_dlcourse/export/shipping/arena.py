"""Find how much memory a model needs: `arena.py FILE`, in a separate process.

Prints the smallest arena, in bytes, with which TensorFlow Lite Micro allocates the model's tensors
and runs the model once. An arena that is too small can crash the process, so each attempt runs in a
child process. Like `trial.py`, this script imports nothing from the package.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

STEP = 16  # alignment of allocations in TensorFlow Lite Micro
MOST = 1 << 28


def fits(content: bytes, arena: int) -> bool:
    """Whether the model runs with an arena of `arena` bytes."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    status = 1
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        _run(content, arena)
        status = 0
    finally:
        os._exit(status)


def _run(content: bytes, arena: int) -> None:
    import numpy as np
    from tflite_micro.python.tflite_micro import runtime

    made = runtime.Interpreter.from_bytes(content, arena_size=arena)
    given = made.get_input_details(0)
    made.set_input(np.zeros([int(size) for size in given["shape"]], given["dtype"]), 0)
    made.invoke()


def find_smallest_arena(content: bytes) -> int | None:
    """Return the smallest arena, to 16 bytes, or None if the model does not run in 256 MiB."""
    import numpy  # noqa: F401  (once, before the child processes start)
    import tflite_micro.python.tflite_micro.runtime  # noqa: F401

    high = 1 << 12
    while not fits(content, high):
        high *= 2
        if high > MOST:
            return None
    low = 0 if high == 1 << 12 else high // 2  # does not fit
    while high - low > STEP:
        middle = (low + high) // 2 // STEP * STEP
        low, high = (low, middle) if fits(content, middle) else (middle, high)
    return high


if __name__ == "__main__":
    found = find_smallest_arena(Path(sys.argv[1]).read_bytes())
    print(found)
    sys.exit(0 if found else 1)
