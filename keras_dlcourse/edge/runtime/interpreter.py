"""The interpreter that runs `.tflite` files: whichever of three is installed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel

# Distribution and module of each, the first that imports is taken.
_RUNTIMES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow.lite.python.interpreter"),
)
_found: tuple[str, Any] | None = None


class ModelStopped(InvalidModel):
    """A model that took more memory than there is; if untrusted also one that crashed or hung.

    The next call runs it again, an untrusted one in a new process.
    """


def runtime_name() -> str:
    """Return which interpreter runs models here, with its version.

    Raises:
        ImportError: If none is installed.

    Example:
        >>> runtime_name()  # doctest: +ELLIPSIS
        'ai-edge-litert ...'
    """
    import importlib.metadata

    name, _ = load_runtime()
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:  # builds of other names, as tensorflow-cpu
        return name


def interpreter(content: bytes, threads: int | None = None, what: str = "the model") -> Any:
    """Return an interpreter for a checked file, its tensors allocated.

    It is made from bytes, never from a path: a file may change between the check and the run, and
    opening damaged ones by their path has been seen to end the process.

    Args:
        content: What `ModelFile.read` has checked.
        threads: Threads to compute on; None leaves it to the runtime, which takes one.
        what: What errors call the file.

    Raises:
        InvalidModel: If the runtime refuses the model, as for an operator that it does not know.
        ImportError: If no runtime is installed.
        ValueError: If `threads` is not a whole number above 0.
    """
    check_threads(threads)
    name, module = load_runtime()
    try:
        made = module.Interpreter(model_content=content, num_threads=threads)
        made.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InvalidModel(f"{name} refuses {what}: {_one_line(error)}") from error
    return made


def check_threads(threads: int | None) -> None:
    """Refuse what is no number of threads.

    Raises:
        ValueError: If it is neither a whole number above 0 nor None.
    """
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ValueError(f"threads must be a whole number above 0, or None, got {threads!r}")


class Session:
    """A checked file in an interpreter of this process: one array in, all outputs out.

    Args:
        content: What `ModelFile.read` has checked.
        what: What errors call it.
        threads: As for `interpreter`.

    Raises:
        InvalidModel: If the runtime refuses the model.
    """

    def __init__(self, content: bytes, what: str, threads: int | None = None) -> None:
        self._what = what
        with self._one_error(f"cannot open {what}"):
            self._interpreter = interpreter(content, threads, what)
            details = self._interpreter.get_input_details()[0]
            self._input, self._shape = details["index"], tuple(details["shape"])
            self._outputs = [output["index"] for output in self._interpreter.get_output_details()]

    @property
    def runtime(self) -> str:
        """The interpreter, with its version."""
        return runtime_name()

    def run(self, values: np.ndarray) -> list[np.ndarray]:
        """Return what the model gives.

        Args:
            values: What the first input takes, of any batch size that the model allows.

        Raises:
            InvalidModel: If the runtime cannot run the model on that.
        """
        if values.shape != self._shape:
            with self._one_error(f"cannot give {self._what} a batch of {len(values)}"):
                self._shape = ()  # neither the old nor the new one, if this fails
                self._interpreter.resize_tensor_input(self._input, list(values.shape))
                self._interpreter.allocate_tensors()
            self._shape = values.shape
        with self._one_error(f"cannot run {self._what}"):
            self._interpreter.set_tensor(self._input, values)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in self._outputs]

    def close(self) -> None:
        """Free the interpreter; the session cannot run any more."""
        self._interpreter = None

    @contextmanager
    def _one_error(self, failed: str) -> Iterator[None]:
        """Make an `InvalidModel` of what interpreters raise."""
        try:
            yield
        except MemoryError as error:
            raise ModelStopped(f"{self._what} takes more memory than there is") from error
        except InvalidModel:
            raise
        except Exception as error:  # which kinds there are differs from runtime to runtime
            raise InvalidModel(f"{self.runtime} {failed}: {_one_line(error)}") from error


def memory_size() -> int:
    """Return the bytes of memory of this machine; more than any has if that is not known."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return 1 << 62


def load_runtime() -> tuple[str, Any]:
    """Return name and module of the first runtime that imports, which takes time only once."""
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
