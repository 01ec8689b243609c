"""The interpreter that runs `.tflite` files: any of three, whichever is installed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel

# Distribution and module of each interpreter; the first that can be imported is used.
_RUNTIMES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow.lite.python.interpreter"),
)
_found: tuple[str, Any] | None = None
# Whether the runtime has written its note, "INFO: Created TensorFlow Lite XNNPACK delegate for
# CPU.", which it does once per process.
_has_noted = False


class ModelStopped(InvalidModel):
    """A model ran out of memory or, if untrusted, crashed or hung.

    The next call runs the model again, in a new process if it is untrusted.
    """


def runtime_name() -> str:
    """Return the name and version of the interpreter that runs models.

    Raises:
        ImportError: If no interpreter is installed.

    Example:
        >>> runtime_name()  # doctest: +ELLIPSIS
        'ai-edge-litert ...'
    """
    import importlib.metadata

    name, _ = load_runtime()
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:  # a build under another name: tensorflow-cpu
        return name


def interpreter(content: bytes, threads: int | None = None, what: str = "the model") -> Any:
    """Return an interpreter for a checked file, with its tensors allocated.

    It is created from bytes, never from a path: a file may change between the check and the run,
    and opening damaged files by path has been seen to crash the process.

    Args:
        content: Content that `ModelFile.read` has checked.
        threads: Number of threads; None leaves it to the runtime, which uses one.
        what: Name of the file, used in error messages.

    Raises:
        InvalidModel: If the runtime rejects the model, e.g. because of an unknown operator.
        ImportError: If no runtime is installed.
        TypeError: If `threads` is neither an integer nor None.
        ValueError: If `threads` is below 1.
    """
    global _has_noted
    threads = check_threads(threads)
    name, module = load_runtime()
    try:
        with nullcontext() if _has_noted else _discard_stderr():
            made = module.Interpreter(model_content=content, num_threads=threads)
            made.allocate_tensors()
        _has_noted = True
    except (ValueError, RuntimeError) as error:
        raise InvalidModel(f"{name} rejected {what}: {_one_line(error)}") from error
    return made


@contextmanager
def _discard_stderr() -> Iterator[None]:
    """Discard what C++ writes to standard error, where that is possible: a sandbox has limits."""
    try:
        saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:
        yield
        return
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def check_threads(threads: int | None) -> int | None:
    """Return a number of threads as an int, or None.

    Raises:
        TypeError: If it is neither an integer nor None.
        ValueError: If it is below 1.
    """
    return None if threads is None else check_integer("threads", threads)


class Session:
    """A checked file in an interpreter of this process; takes all inputs, returns all outputs.

    Args:
        content: Content that `ModelFile.read` has checked.
        what: Name of the file, used in error messages.
        threads: See `interpreter`.

    Raises:
        InvalidModel: If the runtime rejects the model.
    """

    def __init__(self, content: bytes, what: str, threads: int | None = None) -> None:
        self._what = what
        try:
            self._interpreter = interpreter(content, threads, what)
            details = self._interpreter.get_input_details()  # in the order of the file
            self._inputs = [one["index"] for one in details]
            self._shapes = [tuple(one["shape"]) for one in details]
            self._outputs = [output["index"] for output in self._interpreter.get_output_details()]
        except InvalidModel:
            raise
        except Exception as error:
            raise self._convert(error, f"cannot open {what}") from error

    @property
    def runtime(self) -> str:
        """Name and version of the interpreter."""
        return runtime_name()

    def run(self, *values: np.ndarray) -> list[np.ndarray]:
        """Return all outputs of the model.

        Args:
            *values: One array per input, in the order of the file, with any sizes that the model
                allows.

        Raises:
            InvalidModel: If the runtime cannot run the model on these values.
        """
        shapes = [array.shape for array in values]
        if shapes != self._shapes:
            self._resize(shapes)
        try:
            for index, array in zip(self._inputs, values, strict=True):
                self._interpreter.set_tensor(index, array)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in self._outputs]
        except Exception as error:
            raise self._convert(error, f"cannot run {self._what}") from error

    def _resize(self, shapes: list[tuple[int, ...]]) -> None:
        """Give the inputs other shapes."""
        self._shapes = []  # neither the old nor the new shapes if this fails
        try:
            for index, shape in zip(self._inputs, shapes, strict=True):
                self._interpreter.resize_tensor_input(index, list(shape))
            self._interpreter.allocate_tensors()
        except Exception as error:
            sizes = ", ".join(map(str, shapes))
            failed = f"cannot resize the inputs of {self._what} to {sizes}"
            raise self._convert(error, failed) from error
        self._shapes = shapes

    def close(self) -> None:
        """Free the interpreter; the session cannot run afterwards."""
        self._interpreter = None

    def _convert(self, error: Exception, failed: str) -> InvalidModel:
        """Return what to raise for an exception, whose types differ between runtimes."""
        if isinstance(error, MemoryError):
            return ModelStopped(f"{self._what} needs more memory than is available")
        return InvalidModel(f"{self.runtime} {failed}: {_one_line(error)}")


def memory_size() -> int:
    """Return the memory of this machine in bytes; an unreachable value if it is unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return 1 << 62


def load_runtime() -> tuple[str, Any]:
    """Return the name and module of the first runtime that can be imported; cached."""
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
        "keras_dlcourse.edge needs a LiteRT interpreter, but none could be imported "
        f"({'; '.join(reasons)}). Run: pip install 'keras-dlcourse[edge]'"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
