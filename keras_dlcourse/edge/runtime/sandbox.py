"""Run untrusted models in a separate process, so that a crash does not end the user's process.

The process is started from scratch, never forked from the user's. A process that has finished is
kept in reserve for the next model, so only the first model waits for it to start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_dlcourse._checks import check_integer, check_number
from keras_dlcourse.edge.runtime import wire
from keras_dlcourse.edge.runtime.interpreter import ModelStopped
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel

if TYPE_CHECKING:
    from keras_dlcourse.edge.runtime.worker_process import WorkerProcess

_LONGEST_ERROR = 500


@dataclass(frozen=True)
class Limits:
    """Resource limits for an untrusted model.

    Attributes:
        seconds: Time limit for opening the file, and for each run of the model.
        memory: Memory limit in bytes, not counting the interpreter's library and the file.
            Enforced on Linux; the inputs and outputs of a run are limited on every system.

    Raises:
        ValueError: If a limit is out of range.

    Example:
        >>> Limits(seconds=5).memory == 1 << 30
        True
    """

    seconds: float = 30.0
    memory: int = 1 << 30

    def __post_init__(self) -> None:
        # As Python's own types, which can be sent to the other process.
        seconds = check_number("seconds", self.seconds, above=0, most=1e6)
        memory = check_integer("memory", self.memory, most=1 << 50)
        object.__setattr__(self, "seconds", seconds)
        object.__setattr__(self, "memory", memory)


class Sandbox:
    """A `runtime.Session` in another process, under limits.

    Args:
        content: Content that `ModelFile.read` has checked.
        what: Name of the file, used in error messages.
        threads: Number of threads; None leaves it to the runtime.
        limits: Resource limits.

    Raises:
        InvalidModel: If the runtime rejects the model.
        ModelStopped: If it crashed or was stopped.
        ImportError: If no runtime is installed.
    """

    def __init__(self, content: bytes, what: str, threads: int | None, limits: Limits) -> None:
        self._content, self._what, self._limits = content, what, limits
        self._order = {
            "what": what,
            "threads": threads,
            "seconds": limits.seconds,
            "memory": limits.memory,
        }
        self._worker: WorkerProcess | None = None
        self.runtime = self._open_worker().runtime

    def run(self, *values: np.ndarray) -> list[np.ndarray]:
        """Return all outputs of the model.

        Args:
            *values: One array per input, in the order of the file, with any sizes that the model
                allows.

        Raises:
            InvalidModel: If the runtime cannot run the model on these values.
            ModelStopped: If it crashed or was stopped.
        """
        given = sum(array.nbytes for array in values)
        if given > self._limits.memory:
            raise self._stop_error(f"was given {given} bytes of input, more than its limit")
        return self._ask(self._open_worker(), {"arrays": wire.describe_arrays(values)}, values)

    def close(self) -> None:
        """End the model's process."""
        worker, self._worker = self._worker, None
        if worker is not None and worker.is_alive:
            worker.ask({}, [], self._limits.seconds, 0)
            worker.give_back()

    def _open_worker(self) -> WorkerProcess:
        """Return the worker with the model open."""
        from keras_dlcourse.edge.runtime.worker_process import (
            WorkerProcess,  # imported here because the import is slow
        )

        if self._worker is None or not self._worker.is_alive:
            self._worker = WorkerProcess.take()
            self._worker.tell(self._order)
            try:
                self._ask(self._worker, {}, [self._content])
            except InvalidModel:
                self.close()
                raise
        return self._worker

    def _ask(
        self, worker: WorkerProcess, head: dict[str, Any], body: Sequence[Any]
    ) -> list[np.ndarray]:
        """Return the arrays in the worker's answer."""
        answer, values = worker.ask(head, body, self._limits.seconds, self._limits.memory)
        if "stopped" in answer:
            self._worker = None
            worker.give_back()
            raise self._stop_error(answer["stopped"])
        if "memory" in answer:
            raise self._stop_error(f"took more than {self._limits.memory >> 20} MiB of memory")
        if "error" in answer:
            text = str(answer["error"])
            raise InvalidModel("".join(filter(str.isprintable, text))[:_LONGEST_ERROR])
        try:
            return wire.parse_arrays(answer["arrays"], values)
        except (KeyError, wire.BadMessage) as error:
            raise self._stop_error(f"sent an unreadable answer: {error}") from error

    def _stop_error(self, reason: str) -> ModelStopped:
        return ModelStopped(
            f"{self._what} {reason}; it was run in a separate process because it is untrusted"
        )
