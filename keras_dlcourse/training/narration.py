"""Print the progress of a run: bold lines in a terminal, plain lines in a pipe or a log."""

from __future__ import annotations

import sys
import textwrap
import time

from rich.console import Console
from rich.text import Text


class Narrator:
    """Print one line per step, with the minutes and seconds since the start.

    Example:
        >>> Narrator()("Reading images")
        0:00  Reading images
    """

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        """Print a line."""
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        # A new console each time: standard output may have been redirected since the last line.
        console = make_console()
        if console.is_terminal:
            text = _fold(text, console.width)
        line = Text.assemble((f"{minutes}:{seconds:02}", "dim"), "  ", (text, "bold"))
        console.print(line, soft_wrap=True)
        sys.stdout.flush()


def _fold(text: str, width: int) -> str:
    """Fold the text of a line between words. A long path stays whole, to be copied."""
    indent = " " * len("0:00  ")
    return textwrap.fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ).lstrip()


def make_console() -> Console:
    """Return a console that writes text to standard output."""
    # In notebooks, too, in order with other printed text; kernels set FORCE_COLOR, which would put
    # control characters into a log.
    return Console(
        file=sys.stdout, highlight=False, force_jupyter=False, force_terminal=sys.stdout.isatty()
    )
