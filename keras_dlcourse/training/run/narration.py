"""Say what a run is doing: bold lines in a terminal, plain ones in a pipe or a log."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.text import Text


class Narrator:
    """Print one line a step, with the minutes and seconds since the start.

    Example:
        >>> Narrator()("Reading images")
        0:00  Reading images
    """

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        """Print a line."""
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        # A console of its own each time: standard output may have been redirected since.
        # In a notebook too it is text on standard output, in order with all else that is printed;
        # a kernel sets FORCE_COLOR, which would put control characters into a log.
        console = Console(
            file=sys.stdout,
            highlight=False,
            force_jupyter=False,
            force_terminal=sys.stdout.isatty(),
        )
        line = Text.assemble((f"{minutes}:{seconds:02}", "dim"), "  ", (text, "bold"))
        console.print(line, soft_wrap=True)
        sys.stdout.flush()


def fit_verbosity() -> int:
    """Return what `fit` takes as `verbose`: a bar in a terminal, one line an epoch elsewhere."""
    return 1 if sys.stdout.isatty() else 2
