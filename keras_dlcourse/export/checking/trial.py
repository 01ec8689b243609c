"""Run a `.tflite` file once on one runtime, in a separate process: `trial.py RUNTIME FILE`.

A runtime can crash on a model that it cannot run, so this is a script that imports nothing from the
package: any Python interpreter with the runtime can run it. Exit code 0 means that the file ran on
zeros; 1 that the runtime rejected it, with the reason on standard error; 3 that the runtime is not
installed; anything else that it crashed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

REFUSED, ABSENT = 1, 3
# Enough for networks of a few hundred layers; the unused part only takes address space.
ARENA = 64 << 20
# Sizes to try in turn for a dynamic size: the placeholder that converters write, then side lengths
# of images, then one second of audio; none that yields more than LARGEST values.
OPEN_SIZES, LARGEST = (1, 64, 224, 16_000), 1 << 20


def tflite(module: str) -> Callable[[str], None]:
    """Return a function that runs a file on an interpreter with the TensorFlow Lite interface."""

    def run(path: str) -> None:
        import importlib
        from pathlib import Path

        interpreter = importlib.import_module(module).Interpreter
        content = Path(path).read_bytes()
        open_axes = max(map(_open_axes, interpreter(model_content=content).get_input_details()))
        sizes = [size for size in OPEN_SIZES if size**open_axes <= LARGEST]
        for size in sizes if open_axes else OPEN_SIZES[:1]:
            try:
                _run_once(interpreter(model_content=content), size)
            except (ValueError, RuntimeError) as error:
                refused = error
            else:
                return
        raise refused

    return run


def _open_axes(given: Any) -> int:
    """Return the number of dynamic sizes of an input, not counting the batch."""
    return list(given["shape_signature"][1:]).count(-1)


def _run_once(made: Any, size: int) -> None:
    """Run an interpreter on one example of zeros, with `size` for each dynamic size."""
    for given in made.get_input_details():
        if _open_axes(given):
            batch, *sizes = given["shape_signature"]
            shape = [abs(batch), *(size if axis == -1 else axis for axis in sizes)]
            made.resize_tensor_input(given["index"], shape)
    made.allocate_tensors()
    for given in made.get_input_details():
        # Recurrent graphs in particular fail here, not when tensors are allocated.
        made.set_tensor(given["index"], _zeros(given["shape"], given["dtype"]))
    made.invoke()


def micro(path: str) -> None:
    """Run a file on TensorFlow Lite Micro."""
    from pathlib import Path

    from tflite_micro.python.tflite_micro import runtime

    made = runtime.Interpreter.from_bytes(Path(path).read_bytes(), arena_size=ARENA)
    given = made.get_input_details(0)
    made.set_input(_zeros(given["shape"], given["dtype"]), 0)
    made.invoke()


def mediapipe(path: str) -> None:
    """Classify a gray image with MediaPipe Tasks."""
    from pathlib import Path

    import numpy as np
    from mediapipe import Image, ImageFormat
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageClassifierOptions(BaseOptions(model_asset_buffer=Path(path).read_bytes()))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        classifier.classify(
            Image(image_format=ImageFormat.SRGB, data=np.full((32, 32, 3), 128, "uint8"))
        )


def _zeros(shape: Any, dtype: Any) -> Any:
    import numpy as np

    return np.zeros([max(1, int(size)) for size in shape], dtype)


RUNTIMES: dict[str, Callable[[str], None]] = {
    "ai-edge-litert": tflite("ai_edge_litert.interpreter"),
    "tflite-runtime": tflite("tflite_runtime.interpreter"),
    "tflite-micro": micro,
    "mediapipe": mediapipe,
}


def main(runtime: str, path: str) -> int:
    """Run the file and return the exit code."""
    try:
        RUNTIMES[runtime](path)
    except ImportError as error:
        print(error, file=sys.stderr)
        return ABSENT
    except Exception as error:  # each runtime raises its own exceptions
        print(" ".join(str(error).split()), file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
