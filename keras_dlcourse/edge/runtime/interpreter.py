"""The interpreter that runs `.tflite` files: any of three, whichever is installed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel

# Distribution and module of each interpreter; the first that can be imported is used.
_RUNTIMES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow.lite.python.interpreter"),
)
_found: tuple[str, Any] | None = None


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
        ValueError: If `threads` is not a positive integer or None.
    """
    check_threads(threads)
    name, module = load_runtime()
    try:
        made = module.Interpreter(model_content=content, num_threads=threads)
        made.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InvalidModel(f"{name} rejected {what}: {_one_line(error)}") from error
    return made


def check_threads(threads: int | None) -> None:
    """Validate a number of threads.

    Raises:
        ValueError: If it is not a positive integer or None.
    """
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ValueError(f"threads must be a positive integer or None. Received: {threads!r}")


class Session:
    """A checked file in an interpreter of this process; takes one array, returns all outputs.

    Args:
        content: Content that `ModelFile.read` has checked.
        what: Name of the file, used in error messages.
        threads: See `interpreter`.

    Raises:
        InvalidModel: If the runtime rejects the model.
    """

    def __init__(self, content: bytes, what: str, threads: int | None = None) -> None:
        self._what = what
        with self._convert_errors(f"cannot open {what}"):
            self._interpreter = interpreter(content, threads, what)
            details = self._interpreter.get_input_details()[0]
            self._input, self._shape = details["index"], tuple(details["shape"])
            self._outputs = [output["index"] for output in self._interpreter.get_output_details()]

    @property
    def runtime(self) -> str:
        """Name and version of the interpreter."""
        return runtime_name()

    def run(self, values: np.ndarray) -> list[np.ndarray]:
        """Return all outputs of the model.

        Args:
            values: Array for the first input, with any batch size that the model allows.

        Raises:
            InvalidModel: If the runtime cannot run the model on these values.
        """
        if values.shape != self._shape:
            with self._convert_errors(f"cannot resize {self._what} to a batch of {len(values)}"):
                self._shape = ()  # neither the old nor the new shape if this fails
                self._interpreter.resize_tensor_input(self._input, list(values.shape))
                self._interpreter.allocate_tensors()
            self._shape = values.shape
        with self._convert_errors(f"cannot run {self._what}"):
            self._interpreter.set_tensor(self._input, values)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in self._outputs]

    def close(self) -> None:
        """Free the interpreter; the session cannot run afterwards."""
        self._interpreter = None

    @contextmanager
    def _convert_errors(self, failed: str) -> Iterator[None]:
        """Convert exceptions of interpreters to `InvalidModel`."""
        try:
            yield
        except MemoryError as error:
            raise ModelStopped(f"{self._what} needs more memory than is available") from error
        except InvalidModel:
            raise
        except Exception as error:  # the exception types differ between runtimes
            raise InvalidModel(f"{self.runtime} {failed}: {_one_line(error)}") from error


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
