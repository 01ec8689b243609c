"""Models without memory for their weights, which can be inspected but not run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.backend.common import global_state

_WAITING = "uninitialized_variables"  # where Keras keeps variables to be initialized later


@contextmanager
def weightless(variables: list[Any] | None = None) -> Iterator[None]:
    """Create variables without values in this context, and make Keras forget them afterwards.

    Otherwise, Keras would initialize them, and allocate memory, when the next such scope ends.

    Args:
        variables: A list to which Keras appends each variable when it is created.

    Example:
        >>> with weightless():
        ...     huge = keras.Sequential([keras.Input((10**9,)), keras.layers.Dense(10**9)])
        >>> huge.count_params() > 10**18
        True
    """
    before = global_state.get_global_attribute(_WAITING)
    global_state.set_global_attribute(_WAITING, [] if variables is None else variables)
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute(_WAITING, before if before is not None else [])
