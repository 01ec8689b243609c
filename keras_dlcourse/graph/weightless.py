"""Models without memory for their weights: to be read and not to be run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.backend.common import global_state

_WAITING = "uninitialized_variables"  # where Keras keeps variables that get their values later


@contextmanager
def weightless(variables: list[Any] | None = None) -> Iterator[None]:
    """Let variables be made without values, and let Keras forget them afterwards.

    Keras would give them their values, and so the memory, when the next such scope ends.

    Args:
        variables: A list to which Keras appends each variable as it is made.

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
