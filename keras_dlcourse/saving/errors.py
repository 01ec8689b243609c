"""What is wrong with a model file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

_SHOWN = 50  # objects in a message; `refused` holds all
_PLACES = 3  # places of each


class InvalidModelFile(ValueError):
    """A file that is no whole `.keras` file, or asks for more than it may, with the reason."""


@dataclass(frozen=True)
class Refused:
    """Something in a config that is not opened from a file.

    Attributes:
        name: What the config calls it.
        where: Its place, e.g. `"config.json: config.layers[2].config.activation"`.
        reason: Why it is refused.
        can_be_trusted: Whether `trust=` can open it.
    """

    name: str
    where: str
    reason: str
    can_be_trusted: bool = True


class UntrustedModelError(InvalidModelFile):
    """A file that names objects which are not opened from files, all of which it lists.

    Attributes:
        refused: Everything that was refused, in the order of the file.
    """

    def __init__(self, path: str | os.PathLike[str], refused: Sequence[Refused]) -> None:
        self.refused = tuple(refused)
        super().__init__(_message(path, self.refused))


def printable(text: object, length: int = 120) -> str:
    """Return what a file says so that a terminal shows it and does not obey it."""
    shown = str(text).encode("unicode_escape").decode()
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def _message(path: str | os.PathLike[str], refused: Sequence[Refused]) -> str:
    """Return the objects, each once with its places, and what the reader can do."""
    places: dict[tuple[str, str], list[str]] = {}
    for one in refused:
        places.setdefault((one.name, one.reason), []).append(one.where)
    lines = [f"{path} holds what is not opened from a file:"]
    for (name, reason), where in list(places.items())[:_SHOWN]:
        more = f" and {len(where) - _PLACES} more" if len(where) > _PLACES else ""
        lines.append(f"  {name} ({reason}) at {', '.join(where[:_PLACES])}{more}")
    if len(places) > _SHOWN:
        lines.append(f"  and {len(places) - _SHOWN} more objects, all in the error's `refused`")
    return "\n".join((*lines, *_ways_out(refused)))


def _ways_out(refused: Sequence[Refused]) -> list[str]:
    """Return what the reader can do about it."""
    lines = []
    if any(one.can_be_trusted for one in refused):
        lines.append(
            "If you have their code and rely on it, load with trust=[...], a list of the classes "
            "and functions themselves, such as kd.load(path, trust=[MyLayer])."
        )
    if all(one.where.startswith("config.json: compile_config") for one in refused):
        lines.append("The network itself is fine: compile=False loads it without its training.")
    return lines
