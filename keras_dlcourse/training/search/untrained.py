"""That no fit of a search goes on from what another one has trained."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np


class TrainedVariables:
    """Variables that fits have trained, and what they were left with; keeps none of them alive."""

    def __init__(self) -> None:
        self._left: dict[int, tuple[Any, bytes]] = {}

    def note(self, variable: Any, digest: bytes) -> None:
        """Remember that a fit left a variable with these numbers."""
        self._left = {key: found for key, found in self._left.items() if found[0]() is not None}
        self._left[id(variable)] = (weakref.ref(variable), digest)

    def left(self, variable: Any) -> bytes | None:
        """Return what a fit left this very variable with; None if none has trained it."""
        reference, digest = self._left.get(id(variable), (lambda: None, b""))
        return digest if reference() is variable else None


# In whatever process or thread fits run: those of one search share an entry.
_TRAINED: dict[str, TrainedVariables] = {}


def check_untrained(search: str, model: keras.Model) -> None:
    """Raise ValueError if a model begins with what an earlier fit of the search has trained.

    The same variable is fine where it is frozen, or where `build` has put other numbers into it.
    """
    trained = _TRAINED.get(search, TrainedVariables())
    for variable in variables_of(model):
        left = trained.left(variable)
        if left is not None and left == digest(variable):
            raise ValueError(
                "build must return a model that no earlier fit has trained, or folds would have "
                f"seen what they are measured on. Received one with {variable.path!r} as an "
                "earlier fit of this search left it. Make the layers and the optimizer inside "
                "build; a base that is shared has to be frozen: base.trainable = False."
            )


@contextmanager
def noting_what_is_trained(search: str, model: keras.Model) -> Iterator[None]:
    """Remember which variables of a model the fit inside of this changes."""
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
    """Return the weights of a model and the variables of its optimizer; no seeds, no metrics."""
    return [*model.weights, *getattr(model.optimizer, "variables", ())]


def digest(variable: Any) -> bytes:
    """Return a digest of a variable's numbers."""
    array = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
    return hashlib.blake2b(array.tobytes(), digest_size=16).digest()
