"""Models that are not trusted, run in a process of their own: what ends it does not end the user's.

That process is started afresh, never forked from the user's. One that has done its work is kept in
reserve for the next model, so that only the first waits for its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_dlcourse.edge.runtime import wire
from keras_dlcourse.edge.runtime.interpreter import ModelStopped
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel

if TYPE_CHECKING:
    from keras_dlcourse.edge.runtime.worker_process import WorkerProcess

_LONGEST_ERROR = 500


@dataclass(frozen=True)
class Limits:
    """What an untrusted model may take.

    Attributes:
        seconds: Time for opening the file, and for each run of the model.
        memory: Bytes besides the interpreter's library and the file. Held where Linux counts
            them; the inputs and the answer of a run are held to it everywhere.

    Raises:
        ValueError: If one is out of its range.

    Example:
        >>> Limits(seconds=5).memory == 1 << 30
        True
    """

    seconds: float = 30.0
    memory: int = 1 << 30

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 1e6:
            raise ValueError(f"seconds must be above 0 and at most 1e6, got {self.seconds!r}")
        if not isinstance(self.memory, int) or not 0 < self.memory <= 1 << 50:
            raise ValueError(f"memory must be from 1 to 2**50 bytes, got {self.memory!r}")


class Sandbox:
    """What `runtime.Session` is, in another process and under limits.

    Args:
        content: What `ModelFile.read` has checked.
        what: What errors call it.
        threads: Threads to compute on; None leaves it to the runtime.
        limits: What it may take.

    Raises:
        InvalidModel: If the runtime refuses the model.
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
        self.runtime = self._opened().runtime

    def run(self, values: np.ndarray) -> list[np.ndarray]:
        """Return what the model gives.

        Args:
            values: What the first input takes, of any batch size that the model allows.

        Raises:
            InvalidModel: If the runtime cannot run the model on that.
            ModelStopped: If it crashed or was stopped.
        """
        if values.nbytes > self._limits.memory:
            raise self._stopped(f"takes {values.nbytes} bytes at once")
        return self._asked(self._opened(), {"arrays": wire.described([values])}, [values])

    def close(self) -> None:
        """End the model's process."""
        worker, self._worker = self._worker, None
        if worker is not None and worker.is_alive:
            worker.ask({}, [], self._limits.seconds, 0)
            worker.give_back()

    def _opened(self) -> WorkerProcess:
        """Return the worker, which has the model open."""
        from keras_dlcourse.edge.runtime.worker_process import (
            WorkerProcess,  # here, because it takes time
        )

        if self._worker is None or not self._worker.is_alive:
            self._worker = WorkerProcess.take()
            self._worker.tell(self._order)
            try:
                self._asked(self._worker, {}, [self._content])
            except InvalidModel:
                self.close()
                raise
        return self._worker

    def _asked(
        self, worker: WorkerProcess, head: dict[str, Any], body: Sequence[Any]
    ) -> list[np.ndarray]:
        """Return the arrays that the worker answers."""
        answer, values = worker.ask(head, body, self._limits.seconds, self._limits.memory)
        if "stopped" in answer:
            self._worker = None
            worker.give_back()
            raise self._stopped(answer["stopped"])
        if "memory" in answer:
            raise self._stopped(f"took more than {self._limits.memory >> 20} MiB of memory")
        if "error" in answer:
            text = str(answer["error"])
            raise InvalidModel("".join(filter(str.isprintable, text))[:_LONGEST_ERROR])
        try:
            return wire.arrays(answer["arrays"], values)
        except (KeyError, wire.BadMessage) as error:
            raise self._stopped(f"gave what cannot be read: {error}") from error

    def _stopped(self, reason: str) -> ModelStopped:
        return ModelStopped(f"{self._what} {reason}; it was run apart, as it is untrusted")
