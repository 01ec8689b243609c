"""State that callbacks and data keep from batch to batch, to be saved with the weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from keras_dlcourse.data.trainer import TrainerData

# Keras's own callbacks have no `state_dict`; these attributes are their state.
_OF_KERAS: dict[type, tuple[str, ...]] = {
    keras.callbacks.History: ("epoch", "history"),
    keras.callbacks.EarlyStopping: ("best", "best_epoch", "best_weights", "wait"),
    keras.callbacks.ModelCheckpoint: ("best",),
    keras.callbacks.ReduceLROnPlateau: ("best", "wait", "cooldown_counter"),
}


class Remembers:
    """Add `state_dict` and `load_state_dict` to a callback, for the attributes it lists."""

    _remembered: tuple[str, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a later process needs to continue where this one stopped."""
        return {name: copy.copy(getattr(self, name)) for name in self._remembered}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state returned by `state_dict()`.

        Raises:
            ValueError: If `state` does not have the expected keys.
        """
        if set(state) != set(self._remembered):
            raise ValueError(
                f"state must be the result of {type(self).__name__}.state_dict(). Received keys: "
                f"{', '.join(map(str, state)) or 'none'}"
            )
        for name in self._remembered:
            setattr(self, name, copy.copy(state[name]))


def has_state(part: Any) -> bool:
    """Return whether `state_of` can read the state of `part`."""
    return _has_methods(part) or isinstance(part, tuple(_OF_KERAS))


def state_of(part: Any, batch: int | None) -> dict[str, Any]:
    """Return the state of a callback or of data.

    Args:
        part: An object with `state_dict()`, or one of the Keras callbacks listed above.
        batch: Within an epoch, the number of batches already done; None between epochs.
    """
    if isinstance(part, TrainerData):
        return part.state_dict(batch)
    if _has_methods(part):
        return dict(part.state_dict())
    return {name: getattr(part, name) for name in _attributes(part) if hasattr(part, name)}


def load_state(part: Any, state: Mapping[str, Any]) -> None:
    """Restore the state of a callback or of data from the result of `state_of`."""
    if _has_methods(part):
        part.load_state_dict(state)
        return
    for name, value in state.items():
        setattr(part, name, value)


def name_parts(parts: Iterable[Any]) -> dict[str, Any]:
    """Give each part a name that stays the same across processes: its class and a counter.

    Example:
        >>> list(name_parts([[], {}, []]))
        ['list 1', 'dict 1', 'list 2']
    """
    names: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for part in parts:
        kind = type(part).__name__
        counts[kind] = counts.get(kind, 0) + 1
        names[f"{kind} {counts[kind]}"] = part
    return names


def _has_methods(part: Any) -> bool:
    return all(callable(getattr(part, name, None)) for name in ("state_dict", "load_state_dict"))


def _attributes(part: Any) -> tuple[str, ...]:
    return next(names for kind, names in _OF_KERAS.items() if isinstance(part, kind))
