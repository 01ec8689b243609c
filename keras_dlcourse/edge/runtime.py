"""The interpreter that runs `.tflite` files: whichever of three is installed."""

from __future__ import annotations

import importlib
from typing import Any

from keras_dlcourse.edge.flatbuffer import InvalidModel

# Distribution and module of each, the first that imports is taken.
_RUNTIMES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow.lite.python.interpreter"),
)
_found: tuple[str, Any] | None = None


def runtime_name() -> str:
    """Return which interpreter runs models here, with its version.

    Raises:
        ImportError: If none is installed.

    Example:
        >>> runtime_name()  # doctest: +ELLIPSIS
        'ai-edge-litert ...'
    """
    import importlib.metadata

    name, _ = _runtime()
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:  # builds of other names, as tensorflow-cpu
        return name


def interpreter(content: bytes, threads: int | None = None) -> Any:
    """Return an interpreter for a checked file, its tensors allocated.

    It is made from bytes, never from a path: a file may change between the check and the run, and
    opening damaged ones by their path has been seen to end the process.

    Args:
        content: What `ModelFile.read` has checked.
        threads: Threads to compute on; None leaves it to the runtime, which takes one.

    Raises:
        InvalidModel: If the runtime refuses the model, as for an operator that it does not know.
        ImportError: If no runtime is installed.
        ValueError: If `threads` is not a whole number above 0.
    """
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ValueError(f"threads must be a whole number above 0, or None, got {threads!r}")
    name, module = _runtime()
    try:
        made = module.Interpreter(model_content=content, num_threads=threads)
        made.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InvalidModel(f"{name} refuses the model: {_one_line(error)}") from error
    return made


def _runtime() -> tuple[str, Any]:
    """Return name and module of the first runtime that imports."""
    global _found
    if _found is None:
        _found = _import_runtime()
    return _found


def _import_runtime() -> tuple[str, Any]:
    reasons = []
    for name, module in _RUNTIMES:
        try:
            return name, importlib.import_module(module)
        except ImportError as error:  # not installed, or built for another NumPy
            reasons.append(f"{name}: {_one_line(error)}")
    raise ImportError(
        "keras_dlcourse.edge needs a LiteRT interpreter, and none could be imported "
        f"({'; '.join(reasons)}): pip install 'keras-dlcourse[edge]'"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
