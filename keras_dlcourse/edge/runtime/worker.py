"""The process in which untrusted models run: `python -m keras_dlcourse.edge.runtime.worker`.

It loads the interpreter's library once. Where forking is safe, it forks for each model and waits,
so that nothing a model does to memory outlives it; elsewhere it serves one model and exits.
`keras_dlcourse.edge.runtime.sandbox` starts it and exchanges messages of `wire` with it.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, NoReturn

from keras_dlcourse.edge.runtime import wire
from keras_dlcourse.edge.runtime.interpreter import (
    ModelStopped,
    Session,
    load_runtime,
    runtime_name,
)
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel

try:
    import resource
except ImportError:  # not available on Windows
    resource = None  # type: ignore[assignment]

# Apple's libraries may fail in a forked process.
FORKS = hasattr(os, "fork") and sys.platform != "darwin"
_ANY = 1 << 62  # no limit on what the parent sends
_model_process = 0


def main() -> None:
    """Serve models until the parent closes the pipe."""
    requests: Any = sys.stdin.buffer.raw  # type: ignore[union-attr]
    with os.fdopen(os.dup(1), "wb", 0) as replies:
        os.dup2(2, 1)  # keep prints of libraries out of the message stream
        try:
            load_runtime()
        except ImportError as error:
            wire.send(replies, {"error": str(error)})
            return
        wire.send(replies, {"runtime": runtime_name()})
        if FORKS:
            signal.signal(signal.SIGTERM, _end)
        try:
            while True:
                order, _ = wire.receive(requests, _ANY)
                if not FORKS:
                    _serve(requests, replies, order)
                    return
                code = _serve_in_fork(requests, replies, order)
                wire.send(replies, {"ended": code})
                if code:  # it may have died in the middle of a message
                    return
        except (EOFError, BrokenPipeError):
            return


def _serve_in_fork(requests: BinaryIO, replies: BinaryIO, order: dict[str, Any]) -> int:
    """Serve a model in a forked process and return its exit code, negative for signals."""
    global _model_process
    _model_process = os.fork()
    if _model_process == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        code = 1
        try:
            _serve(requests, replies, order)
            code = 0
        except (EOFError, BrokenPipeError):
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(_model_process, 0)
    _model_process = 0
    return os.waitstatus_to_exitcode(status)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Kill the model's process, which may hang, and exit."""
    if _model_process:
        os.kill(_model_process, signal.SIGKILL)
        os.waitpid(_model_process, 0)
    os._exit(0)


def _serve(requests: BinaryIO, replies: BinaryIO, order: dict[str, Any]) -> None:
    """Open a model and run it until the parent closes it."""
    content = bytes(wire.receive(requests, _ANY)[1])
    _limit(order["memory"])
    what, threads = order["what"], order["threads"]
    seconds = order["seconds"] * (threads or 1)
    session = _answer(replies, seconds, partial(Session, content, what, threads))
    while True:
        head, body = wire.receive(requests, _ANY)
        if "arrays" not in head:
            return
        values = wire.parse_arrays(head["arrays"], body)
        _answer(replies, seconds, partial(session.run, *values))


def _answer(replies: BinaryIO, seconds: float, work: Callable[[], Any]) -> Any:
    """Run `work`, send its arrays or its error to the parent, and return its result."""
    _limit_processor(seconds)
    done = None
    try:
        done = work()
        arrays = done if isinstance(done, list) else []
        answer: dict[str, Any] = {"arrays": wire.describe_arrays(arrays)}
    except (MemoryError, ModelStopped):
        answer, arrays = {"memory": "not enough"}, []
    except (InvalidModel, wire.BadMessage) as error:
        answer, arrays = {"error": str(error)}, []
    wire.send(replies, answer, arrays)
    return done


def _limit(memory: int) -> None:
    """Prevent this process from dumping core, writing files and exceeding the memory limit."""
    if resource is None:
        return
    _hold(resource.RLIMIT_CORE, 0)
    _hold(resource.RLIMIT_FSIZE, 0)
    statm = Path("/proc/self/statm")
    if statm.exists():  # Linux, where the limit includes memory that libraries already mapped
        mapped = int(statm.read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
        _hold(resource.RLIMIT_AS, mapped + memory)


def _limit_processor(seconds: float) -> None:
    """Limit further CPU time, which works even if the parent is gone."""
    if resource is not None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        _hold(resource.RLIMIT_CPU, math.ceil(usage.ru_utime + usage.ru_stime + seconds) + 1)


def _hold(kind: int, most: int) -> None:
    """Set a resource limit, within the existing hard limit."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    main()
