"""Ctrl-C that waits for a safe point, so that weights can be put back in order first."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType


class DeferredInterrupt:
    """Hold back the KeyboardInterrupt of a Ctrl-C until `check()` is called.

    The handler that was there before is asked first, and only the KeyboardInterrupt that it raises
    is held back: a handler of the user's own that does something else keeps doing just that. A
    second Ctrl-C is not held back.

    Args:
        wanted: Given the interrupted frame, whether to hold back. Keras tells a callback nothing
            when `fit` dies of another error, so this is asked anew at each signal, and a handler
            left behind does no harm.
        notice: Printed to stderr when an interrupt is held back.
    """

    def __init__(self, wanted: Callable[[FrameType | None], bool], notice: str) -> None:
        self._wanted = wanted
        self._notice = notice
        self._active = False
        self._previous: Callable[[int, FrameType | None], object] = signal.default_int_handler
        self._pending: KeyboardInterrupt | None = None

    def install(self) -> None:
        """Take over SIGINT, once, if this is the main thread and Python handles the signal."""
        if self._active:
            return
        previous = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and callable(previous):
            self._active = True
            self._previous = previous
            signal.signal(signal.SIGINT, self._handle)

    def uninstall(self) -> None:
        """Give SIGINT back; where another handler stands before this one, only step aside."""
        self._active = False
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._first_active())

    def check(self) -> None:
        """Raise the KeyboardInterrupt that was held back, if there is one."""
        pending, self._pending = self._pending, None
        if pending is not None:
            raise pending

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self._active or self._pending is not None or not self._wanted(frame):
            self._previous(signum, frame)
            return
        try:
            self._previous(signum, frame)
        except KeyboardInterrupt as interrupt:
            self._pending = interrupt.with_traceback(None)
            with suppress(RuntimeError, OSError, ValueError):  # stderr may be busy or closed
                print(self._notice, file=sys.stderr, flush=True)

    def _first_active(self) -> Callable[[int, FrameType | None], object]:
        """Give the handler to go back to, past those that have stepped aside meanwhile."""
        handler = self._previous
        while (
            isinstance(owner := getattr(handler, "__self__", None), DeferredInterrupt)
            and not owner._active
        ):
            handler = owner._previous
        return handler
