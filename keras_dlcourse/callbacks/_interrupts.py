"""Signals that wait for a safe point, so that things can be put in order first."""

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
    """Hold back what a signal raises (KeyboardInterrupt for a Ctrl-C) until `check()` is called.

    The handler that was there before is asked first, and only what it raises is held back: a
    handler of the user's own that does something else keeps doing just that. A second signal is
    not held back. SIGTERM, where nobody handles it, becomes SystemExit, so that the process ends
    with the status that it would have had, 128 + 15, after its `finally` blocks.

    Args:
        wanted: Given the interrupted frame, whether to hold back. Keras tells a callback nothing
            when `fit` dies of another error, so this is asked anew at each signal, and a handler
            left behind does no harm.
        notice: Printed to stderr when a signal is held back.
        signals: The signals.

    Attributes:
        received: Whether a signal has come since `install`, whoever holds it back.
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
        """Take the signals over, once, if this is the main thread and Python handles them."""
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
        """Give the signals back; where another handler stands before this one, only step aside."""
        self._active = False
        if threading.current_thread() is not threading.main_thread():
            return
        for number in self._previous:
            if signal.getsignal(number) == self._handle:
                handler = self._first_active(number)
                signal.signal(number, signal.SIG_DFL if handler is _exit else handler)

    def check(self) -> None:
        """Raise what was held back, if there is anything."""
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

    def _first_active(self, number: int) -> Handler:
        """Give the handler to go back to, past those that have stepped aside meanwhile."""
        handler = self._previous[number]
        while (
            isinstance(owner := getattr(handler, "__self__", None), DeferredInterrupt)
            and not owner._active
        ):
            handler = owner._previous[number]
        return handler


def _exit(signum: int, frame: FrameType | None) -> Any:
    raise SystemExit(128 + signum)
