"""Names of layers that are left alone: layers, composite layers and nested models."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase


class Skip:
    """The names that `skip=` gives, and all that they were compared with.

    Args:
        patterns: Names, with `*` and `?` as in file names. One text is one name.

    Call arguments:
        name: That of a layer, a composite layer or a nested model.

    Returns:
        Whether it is left alone.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self.patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        self.names: dict[str, None] = {}

    def __call__(self, name: str) -> bool:
        """Return whether a name is one of those."""
        self.names[name] = None
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)

    def check(self, model_name: str) -> None:
        """Refuse what matches nothing; to be called when all names were looked at.

        Raises:
            ValueError: If a pattern matches no name; the message has those that are close to it.
        """
        for pattern in self.patterns:
            if not any(fnmatchcase(name, pattern) for name in self.names):
                close = difflib.get_close_matches(pattern, self.names, 3)
                advice = (
                    f"Did you mean {' or '.join(map(repr, close))}?"
                    if close
                    else f"It has: {', '.join(list(self.names)[:8])}, ..."
                )
                raise ValueError(
                    f"skip={pattern!r} matches no layer, composite layer or nested model of "
                    f"{model_name!r}. {advice} print(kd.quantize.plan(model)) lists the layers"
                )
