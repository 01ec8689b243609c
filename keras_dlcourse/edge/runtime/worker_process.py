"""The parent's handle on a `runtime.worker` process; one process is kept in reserve."""

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
    "SIGABRT": "crashed (SIGABRT), possibly out of memory",
    "SIGKILL": "was killed (SIGKILL), possibly out of memory",
    "SIGXCPU": "used too much CPU time",
}
Answer = tuple[dict[str, Any], bytearray]


class WorkerProcess:
    """A running worker. Only one thread at a time may use it.

    Attributes:
        runtime: Name and version of the interpreter that it has loaded.

    Raises:
        ImportError: If no interpreter is installed.
        RuntimeError: If the process cannot be started.
    """

    _spare: ClassVar[WorkerProcess | None] = None
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        if not sys.executable or getattr(sys, "frozen", False):
            raise RuntimeError(
                "untrusted models run in a new Python process, but sys.executable is not Python"
            )
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "keras_dlcourse.edge.runtime.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=_environment(),
            start_new_session=True,  # Ctrl-C must reach only the user's process
        )
        self._owner = os.getpid()
        self._expired = False
        self.stop = weakref.finalize(self, _stop, self._process, self._owner)
        hello, _ = self.ask(None, [], _START_SECONDS, 0)
        if "error" in hello:
            raise ImportError(hello["error"])
        if "runtime" not in hello:
            raise RuntimeError(f"the worker process for untrusted models {hello['stopped']}")
        self.runtime: str = hello["runtime"]

    @classmethod
    def take(cls) -> WorkerProcess:
        """Return the worker in reserve, or start one."""
        with cls._lock:
            worker, cls._spare = cls._spare, None
        return worker if worker is not None and worker.is_alive else cls()

    def give_back(self) -> None:
        """Keep this worker in reserve, or stop it if there already is one in reserve."""
        if self.is_alive:
            with self._lock:
                if WorkerProcess._spare is None or not WorkerProcess._spare.is_alive:
                    WorkerProcess._spare = self
                    return
        self.stop()

    @property
    def is_alive(self) -> bool:
        """Whether it can be used: it is running, and was not inherited through a fork."""
        return self._owner == os.getpid() and self.stop.alive and self._process.poll() is None

    def tell(self, head: dict[str, Any], body: Sequence[Any] = ()) -> None:
        """Send a message; if the worker exits before reading it all, the answer reports that."""
        with suppress(BrokenPipeError):
            wire.send(self._process.stdin, head, body)  # type: ignore[arg-type]

    def ask(
        self, head: dict[str, Any] | None, body: Sequence[Any], seconds: float, most: int
    ) -> Answer:
        """Send a message, if any, and return the answer.

        Args:
            head: Head of the message; None only waits for an answer.
            body: Body of the message.
            seconds: Time limit, after which the process is terminated.
            most: Maximum size of the answer's body in bytes.

        Returns:
            Head and body of the answer; the head is `{"stopped": reason}` if there is no answer.
        """
        watchdog = threading.Timer(seconds, self._expire)
        watchdog.daemon = True
        watchdog.start()
        try:
            return self._exchange(head, body, most)
        except (EOFError, OSError, wire.BadMessage) as error:
            reason = f"sent an unreadable answer: {error}"
            if not isinstance(error, wire.BadMessage):
                reason = _reason(self._wait_for_end())
            self.stop()
            if self._expired:
                reason = f"took longer than {seconds:g} s"
            return {"stopped": reason}, bytearray()
        except BaseException:  # Ctrl-C: the late answer must not reach the next request
            self.stop()
            raise
        finally:
            watchdog.cancel()
            if self._expired:  # possibly just as the answer arrived
                self.stop()

    def _exchange(self, head: dict[str, Any] | None, body: Sequence[Any], most: int) -> Answer:
        if head is not None:
            self.tell(head, body)
        answer, values = wire.receive(self._process.stdout, most)  # type: ignore[arg-type]
        if "ended" in answer:
            code = answer["ended"]
            if code != 0:  # the worker exits, too
                self.stop()
            return {"stopped": _reason(code)}, values
        return answer, values

    def _wait_for_end(self) -> int | None:
        """Return the exit code; None if it has closed its pipes but not exited."""
        try:
            return self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return None

    def _expire(self) -> None:
        self._expired = True
        self._process.terminate()


def _stop(process: subprocess.Popen[bytes], owner: int) -> None:
    """Terminate a worker and the model in it, and reap the process."""
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
    """Return the environment: the module search path, and no threads that a fork would lose."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _reason(code: Any) -> str:
    """Describe how a process ended, from its exit code."""
    try:
        name = signal.Signals(-code).name
    except (TypeError, ValueError):
        return f"exited with code {code}"
    return _SIGNALS.get(name, f"crashed ({name})")
