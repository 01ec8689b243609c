"""Ensure that no fit of a search starts from variables that another fit has trained."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np


class TrainedVariables:
    """Variables trained by fits, with digests of their final values; holds only weak references."""

    def __init__(self) -> None:
        self._left: dict[int, tuple[Any, bytes]] = {}

    def note(self, variable: Any, digest: bytes) -> None:
        """Record the digest of a variable's values after a fit."""
        self._left = {key: found for key, found in self._left.items() if found[0]() is not None}
        self._left[id(variable)] = (weakref.ref(variable), digest)

    def find_digest(self, variable: Any) -> bytes | None:
        """Return the digest that a fit left for this variable; None if no fit has trained it."""
        reference, digest = self._left.get(id(variable), (lambda: None, b""))
        return digest if reference() is variable else None


# One entry per search in each process, whichever threads run its fits.
_TRAINED: dict[str, TrainedVariables] = {}


def check_untrained(search: str, model: keras.Model) -> None:
    """Raise ValueError if a model starts from variables that an earlier fit has trained.

    The same variable is fine if it is frozen, or if `build` has assigned new values to it.
    """
    trained = _TRAINED.get(search, TrainedVariables())
    for variable in variables_of(model):
        left = trained.find_digest(variable)
        if left is not None and left == digest(variable):
            raise ValueError(
                "build must return a model that no earlier fit has trained, because it may have "
                "been trained on the examples it is evaluated on. Received: one with "
                f"{variable.path!r} as left by an earlier fit of this search. Create the layers "
                "and the optimizer inside build. A shared base must be frozen: "
                "base.trainable = False."
            )


@contextmanager
def record_trained(search: str, model: keras.Model) -> Iterator[None]:
    """Record which variables of a model change within this context."""
    before = {id(variable): digest(variable) for variable in variables_of(model)}
    try:
        yield
    finally:
        trained = _TRAINED.setdefault(search, TrainedVariables())
        for variable in variables_of(model):
            after = digest(variable)
            if before.get(id(variable)) != after:
                trained.note(variable, after)


def variables_of(model: keras.Model) -> list[Any]:
    """Return the weights of a model and its optimizer's variables, without seeds and metrics."""
    return [*model.weights, *getattr(model.optimizer, "variables", ())]


def digest(variable: Any) -> bytes:
    """Return a digest of a variable's values."""
    array = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
    return hashlib.blake2b(array.tobytes(), digest_size=16).digest()
