"""The process of `runtime.worker` as its parent sees it; one is kept in reserve."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

from keras_dlcourse.edge.runtime import wire

_START_SECONDS = 120.0  # importing TensorFlow on a slow board
_END_SECONDS = 5.0
_SIGNALS = {
    "SIGABRT": "crashed (SIGABRT), as for want of memory",
    "SIGKILL": "was killed (SIGKILL), as for want of memory",
    "SIGXCPU": "took too much time of the processor",
}
Answer = tuple[dict[str, Any], bytearray]


class WorkerProcess:
    """A started worker. One thread at a time may talk to it.

    Attributes:
        runtime: The interpreter that it has loaded, with its version.

    Raises:
        ImportError: If no interpreter is installed.
        RuntimeError: If the process cannot be started.
    """

    _spare: ClassVar[WorkerProcess | None] = None
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        if not sys.executable or getattr(sys, "frozen", False):
            raise RuntimeError("untrusted models need sys.executable to be Python, to start it")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "keras_dlcourse.edge.runtime.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the user's process
        )
        self._owner = os.getpid()
        self._expired = False
        self.stop = weakref.finalize(self, _stop, self._process, self._owner)
        hello, _ = self.ask(None, [], _START_SECONDS, 0)
        if "error" in hello:
            raise ImportError(hello["error"])
        if "runtime" not in hello:
            raise RuntimeError(f"the process for untrusted models {hello['stopped']}")
        self.runtime: str = hello["runtime"]

    @classmethod
    def take(cls) -> WorkerProcess:
        """Return the one in reserve, or else start one."""
        with cls._lock:
            worker, cls._spare = cls._spare, None
        return worker if worker is not None and worker.is_alive else cls()

    def give_back(self) -> None:
        """Keep it in reserve for the next model, or stop it if there is one."""
        if self.is_alive:
            with self._lock:
                if WorkerProcess._spare is None or not WorkerProcess._spare.is_alive:
                    WorkerProcess._spare = self
                    return
        self.stop()

    @property
    def is_alive(self) -> bool:
        """Whether it can be talked to: it runs, and a fork of this process did not inherit it."""
        return self._owner == os.getpid() and self.stop.alive and self._process.poll() is None

    def tell(self, head: dict[str, Any], body: Sequence[Any] = ()) -> None:
        """Send a message; if the worker ends before it has read all, the answer will tell."""
        with suppress(BrokenPipeError):
            wire.send(self._process.stdin, head, body)  # type: ignore[arg-type]

    def ask(
        self, head: dict[str, Any] | None, body: Sequence[Any], seconds: float, most: int
    ) -> Answer:
        """Send a message, if any, and return the answer.

        Args:
            head: Head of the message; None to wait for an answer only.
            body: Its body.
            seconds: How long it may take; then the process is ended.
            most: Bytes that the body of the answer may have.

        Returns:
            Head and body of the answer; the head `{"stopped": what happened}` if there is none.
        """
        watchdog = threading.Timer(seconds, self._expire)
        watchdog.daemon = True
        watchdog.start()
        try:
            return self._exchange(head, body, most)
        except (EOFError, OSError, wire.BadMessage) as error:
            reason = f"gave what cannot be read: {error}"
            if not isinstance(error, wire.BadMessage):
                reason = _reason(self._ended())
            self.stop()
            if self._expired:
                reason = f"took longer than {seconds:g} s"
            return {"stopped": reason}, bytearray()
        except BaseException:  # Ctrl-C: the answer would come to the next question
            self.stop()
            raise
        finally:
            watchdog.cancel()
            if self._expired:  # maybe just as the answer came
                self.stop()

    def _exchange(self, head: dict[str, Any] | None, body: Sequence[Any], most: int) -> Answer:
        if head is not None:
            self.tell(head, body)
        answer, values = wire.receive(self._process.stdout, most)  # type: ignore[arg-type]
        if "ended" in answer:
            code = answer["ended"]
            if code != 0:  # then the worker ends, too
                self.stop()
            return {"stopped": _reason(code)}, values
        return answer, values

    def _ended(self) -> int | None:
        """Return the exit code; None if it has closed its pipes, but not ended."""
        try:
            return self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return None

    def _expire(self) -> None:
        self._expired = True
        self._process.terminate()


def _stop(process: subprocess.Popen[bytes], owner: int) -> None:
    """End a worker with the model in it; nothing of it is left."""
    if os.getpid() != owner:
        return
    process.terminate()
    process.stdin.close()  # type: ignore[union-attr]
    process.stdout.close()  # type: ignore[union-attr]
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    """Return what the worker finds its modules by, and no threads that a fork would lose."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _reason(code: Any) -> str:
    """Say how a process ended, from its exit code."""
    try:
        name = signal.Signals(-code).name
    except (TypeError, ValueError):
        return f"ended with the exit code {code}"
    return _SIGNALS.get(name, f"crashed ({name})")
