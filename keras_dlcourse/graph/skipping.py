"""Names of layers, composite layers and nested models to skip."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase


class Skip:
    """The patterns in `skip=`, and all names that they were compared with.

    Args:
        patterns: Names, with the wildcards `*` and `?`. A single string is one name.

    Call arguments:
        name: Name of a layer, a composite layer or a nested model.

    Returns:
        Whether to skip it.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self.patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        self.names: dict[str, None] = {}

    def __call__(self, name: str) -> bool:
        """Return whether a name matches a pattern."""
        self.names[name] = None
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)

    def check(self, model_name: str) -> None:
        """Check that each pattern matched a name. Call this after all names were compared.

        Raises:
            ValueError: If a pattern matches no name; the message suggests similar names.
        """
        for pattern in self.patterns:
            if not any(fnmatchcase(name, pattern) for name in self.names):
                close = difflib.get_close_matches(pattern, self.names, 3)
                advice = (
                    f"Did you mean {' or '.join(map(repr, close))}?"
                    if close
                    else f"Its names are: {', '.join(list(self.names)[:8])}, ..."
                )
                raise ValueError(
                    f"skip={pattern!r} matches no layer, composite layer or nested model of "
                    f"{model_name!r}. {advice} print(kd.quantize.plan(model)) lists the layers."
                )
