"""Signal handling that waits for a safe point, so that cleanup can run first."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], object]


class DeferredInterrupt:
    """Defer the exception that a signal raises (KeyboardInterrupt for Ctrl-C) until `check()`.

    The previous handler is called first, and only an exception that it raises is deferred: a
    custom handler that does something else keeps working unchanged. A second signal is not
    deferred. SIGTERM, if nothing handles it, becomes SystemExit, so that the process runs its
    `finally` blocks and ends with the usual status, 128 + 15.

    Args:
        wanted: A function of the interrupted frame that returns whether to defer. Keras does not
            notify a callback when `fit` fails with another error, so this is checked at each
            signal, and a leftover handler does no harm.
        notice: Message printed to stderr when a signal is deferred.
        signals: The signals.

    Attributes:
        received: Whether a signal has been received, whichever handler defers it.
    """

    def __init__(
        self,
        wanted: Callable[[FrameType | None], bool],
        notice: str,
        signals: Sequence[int] = (signal.SIGINT,),
    ) -> None:
        self._wanted = wanted
        self._notice = notice
        self._signals = tuple(signals)
        self._previous: dict[int, Handler] = {}
        self._pending: BaseException | None = None
        self._active = False
        self.received = False

    def install(self) -> None:
        """Install the handlers, once, if in the main thread and if Python handles the signals."""
        if self._active or threading.current_thread() is not threading.main_thread():
            return
        self._previous = {}
        for number in self._signals:
            previous = signal.getsignal(number)
            if number == signal.SIGTERM and previous == signal.SIG_DFL:
                previous = _exit
            if callable(previous):
                self._previous[number] = previous
                signal.signal(number, self._handle)
        self._active = bool(self._previous)

    def uninstall(self) -> None:
        """Restore the previous handlers; if a newer handler is installed, only deactivate."""
        self._active = False
        if threading.current_thread() is not threading.main_thread():
            return
        for number in self._previous:
            if signal.getsignal(number) == self._handle:
                handler = self._find_active(number)
                signal.signal(number, signal.SIG_DFL if handler is _exit else handler)

    def check(self) -> None:
        """Raise the deferred exception, if there is one."""
        pending, self._pending = self._pending, None
        if pending is not None:
            raise pending

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        previous = self._previous[signum]
        if not self._active or self.received or not self._wanted(frame):
            previous(signum, frame)
            return
        self.received = True
        try:
            previous(signum, frame)
        except (KeyboardInterrupt, SystemExit) as error:
            self._pending = error.with_traceback(None)
            with suppress(RuntimeError, OSError, ValueError):  # stderr may be busy or closed
                print(self._notice, file=sys.stderr, flush=True)

    def _find_active(self, number: int) -> Handler:
        """Return the handler to restore, skipping those that have been deactivated meanwhile."""
        handler = self._previous[number]
        while (
            isinstance(owner := getattr(handler, "__self__", None), DeferredInterrupt)
            and not owner._active
        ):
            handler = owner._previous[number]
        return handler


def _exit(signum: int, frame: FrameType | None) -> Any:
    raise SystemExit(128 + signum)
