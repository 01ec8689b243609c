"""Errors for invalid and untrusted model files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

_SHOWN = 50  # objects in a message; `refused` contains all
_PLACES = 3  # locations listed per object


class InvalidModelFile(ValueError):
    """Raised for files that are damaged, are not `.keras` files, or exceed the limits."""


@dataclass(frozen=True)
class Refused:
    """An object in a config that is not allowed to be loaded.

    Attributes:
        name: Its name in the config.
        where: Its location, e.g. `"config.json: config.layers[2].config.activation"`.
        reason: Why it is refused.
        can_be_trusted: Whether `trust=` can allow it.
    """

    name: str
    where: str
    reason: str
    can_be_trusted: bool = True


class UntrustedModelError(InvalidModelFile):
    """Raised for files that contain objects that are not allowed; the message lists all of them.

    Attributes:
        refused: All refused objects, in the order of the file.
    """

    def __init__(self, path: str | os.PathLike[str], refused: Sequence[Refused]) -> None:
        self.refused = tuple(refused)
        super().__init__(_message(path, self.refused))


def escape_text(text: object, length: int = 120) -> str:
    """Return text from a file with control characters escaped, to be safe in a terminal."""
    shown = str(text).encode("unicode_escape").decode()
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def _message(path: str | os.PathLike[str], refused: Sequence[Refused]) -> str:
    """Return a message that lists each object once with its locations, and what to do."""
    places: dict[tuple[str, str], list[str]] = {}
    for one in refused:
        places.setdefault((one.name, one.reason), []).append(one.where)
    lines = [f"{path} contains objects that are not allowed:"]
    for (name, reason), where in list(places.items())[:_SHOWN]:
        more = f" and {len(where) - _PLACES} more" if len(where) > _PLACES else ""
        lines.append(f"  {name} ({reason}) at {', '.join(where[:_PLACES])}{more}")
    if len(places) > _SHOWN:
        lines.append(f"  and {len(places) - _SHOWN} more objects, all in the error's `refused`")
    return "\n".join((*lines, *_ways_out(refused)))


def _ways_out(refused: Sequence[Refused]) -> list[str]:
    """Return lines that explain what the caller can do."""
    lines = []
    if any(one.can_be_trusted for one in refused):
        lines.append(
            "If you have their code and trust it, pass the classes and functions themselves in "
            "trust=[...], such as kd.load(path, trust=[MyLayer])."
        )
    if all(one.where.startswith("config.json: compile_config") for one in refused):
        lines.append(
            "The network itself is allowed: compile=False loads it without its training "
            "configuration."
        )
    return lines
