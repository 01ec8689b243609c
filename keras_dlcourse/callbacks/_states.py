"""What callbacks and data remember from batch to batch, to be saved beside the weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from keras_dlcourse.data.trainer import TrainerData

# Keras's own callbacks have no `state_dict`; these attributes are what they remember.
_OF_KERAS: dict[type, tuple[str, ...]] = {
    keras.callbacks.History: ("epoch", "history"),
    keras.callbacks.EarlyStopping: ("best", "best_epoch", "best_weights", "wait"),
    keras.callbacks.ModelCheckpoint: ("best",),
    keras.callbacks.ReduceLROnPlateau: ("best", "wait", "cooldown_counter"),
}


class Remembers:
    """Gives a callback `state_dict` and `load_state_dict` of the attributes that it names."""

    _remembered: tuple[str, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        """Return what a later process needs to go on where this one stopped."""
        return {name: copy.copy(getattr(self, name)) for name in self._remembered}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the training go on from a state of `state_dict()`.

        Raises:
            ValueError: If it is no such state.
        """
        if set(state) != set(self._remembered):
            raise ValueError(
                f"state must be what {type(self).__name__}.state_dict() returned. Received the "
                f"keys: {', '.join(map(str, state)) or 'none'}"
            )
        for name in self._remembered:
            setattr(self, name, copy.copy(state[name]))


def has_state(part: Any) -> bool:
    """Say whether `state_of` can tell what `part` remembers."""
    return _has_methods(part) or isinstance(part, tuple(_OF_KERAS))


def state_of(part: Any, batch: int | None) -> dict[str, Any]:
    """Return what a callback or data remembers.

    Args:
        part: Something with `state_dict()`, or a callback of Keras that is known here.
        batch: Within an epoch, number of its batches that are done; None between epochs.
    """
    if isinstance(part, TrainerData):
        return part.state_dict(batch)
    if _has_methods(part):
        return dict(part.state_dict())
    return {name: getattr(part, name) for name in _attributes(part) if hasattr(part, name)}


def load_state(part: Any, state: Mapping[str, Any]) -> None:
    """Let a callback or data remember what `state_of` returned."""
    if _has_methods(part):
        part.load_state_dict(state)
        return
    for name, value in state.items():
        setattr(part, name, value)


def named(parts: Iterable[Any]) -> dict[str, Any]:
    """Give each part a name that it has in the next process as well: its class and number.

    Example:
        >>> list(named([[], {}, []]))
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
