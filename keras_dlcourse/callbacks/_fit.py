"""What Keras does not tell a callback: which `fit` it runs in, and when an exception leaves it.

`fit` keeps its `keras.callbacks.CallbackList` in a local variable and has no hook for exceptions,
so the call stack is the only place to look. If nothing is found there (a custom training loop),
the lookups return None or an empty result, and callers do without.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import keras


def callback_list_of(callback: keras.callbacks.Callback, frame: FrameType | None) -> Any | None:
    """Find the callback list of a `fit` on this stack that contains `callback`.

    Args:
        callback: The callback to look for.
        frame: The frame to start from; its callers are searched as well.

    Returns:
        The `keras.callbacks.CallbackList`, or None if no such `fit` is running.
    """
    for local_values in _locals(frame):
        for value in list(local_values.values()):
            if isinstance(value, keras.callbacks.CallbackList) and callback in value.callbacks:
                return value
    return None


def arguments_of(callback: keras.callbacks.Callback, frame: FrameType | None) -> dict[str, Any]:
    """Return the local variables, including the arguments, of the `fit` that runs `callback`.

    Args:
        callback: The callback to look for.
        frame: The frame to start from; its callers are searched as well.

    Returns:
        The variables, or an empty dictionary if that `fit` is not on the stack.
    """
    callback_list = callback_list_of(callback, frame)
    for local_values in _locals(frame) if callback_list is not None else ():
        if local_values.get("callbacks") is callback_list and "validation_data" in local_values:
            return local_values
    return {}


def check_averages(callback: keras.callbacks.Callback, monitor: str, frame: FrameType) -> None:
    """Raise ValueError if `callback` would keep weights other than those `monitor` measures.

    `SwapEMAWeights` puts the averages into the model for validation. They stay there until the end
    of the epoch only with `swap_on_epoch=True`, and only for callbacks later in the list.
    """
    callback_list = callback_list_of(callback, frame)
    if callback_list is None or not monitor.startswith("val_"):
        return
    before = True
    for other in callback_list.callbacks:
        before = before and other is not callback
        if isinstance(other, keras.callbacks.SwapEMAWeights) and not (
            before and other.swap_on_epoch
        ):
            name = type(callback).__name__
            raise ValueError(
                f"{name} must keep the weights that {monitor!r} is measured with, which are the "
                "averages of SwapEMAWeights. With the callbacks received it would keep other "
                f"weights. Pass callbacks=[SwapEMAWeights(swap_on_epoch=True), {name}(...)], in "
                "this order."
            )


def is_validating(callback: keras.callbacks.Callback) -> bool:
    """Return whether the `fit` that runs `callback` has validation data."""
    return arguments_of(callback, sys._getframe()).get("validation_data") is not None


def call_before(callback_list: Any, hook: str, act: Callable[..., None]) -> None:
    """Call `act` before any callback's `hook`, with the same arguments.

    Args:
        callback_list: The result of `callback_list_of`. Only this object is changed.
        hook: Name of the method, such as `"on_epoch_begin"`.
        act: The function to call.
    """
    method = getattr(callback_list, hook)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> None:
        act(*args, **kwargs)
        method(*args, **kwargs)

    setattr(callback_list, hook, call)


def call_on_exception(callback_list: Any, act: Callable[[BaseException], None]) -> None:
    """Call `act` when a callback of this `fit` raises an exception, including KeyboardInterrupt.

    Args:
        callback_list: The result of `callback_list_of`. Only this object is changed, and it lives
            as long as its `fit`.
        act: Called with the exception before it propagates.
    """

    def guarded(method: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> None:
            try:
                method(*args, **kwargs)
            except BaseException as error:
                act(error)
                raise

        return call

    for name in dir(type(callback_list)):
        if name.startswith("on_"):
            setattr(callback_list, name, guarded(getattr(callback_list, name)))


def _locals(frame: FrameType | None) -> Iterator[dict[str, Any]]:
    """Yield the local variables of a frame, then those of its callers."""
    while frame is not None:
        yield frame.f_locals
        frame = frame.f_back
