"""A progress bar for what takes over two seconds, in a terminal only."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")
_PATIENCE = 2.0  # seconds without a bar


def track(items: Iterable[_Item], total: int | None, description: str) -> Iterator[_Item]:
    """Yield the items, with a bar on standard error once it has taken two seconds.

    Args:
        items: What to go through.
        total: How many there are; None if that is not known.
        description: What is being done, shown beside the bar.

    Example:
        >>> sum(track(range(4), 4, "Adding"))
        6
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(description, total=total)
    begun = time.monotonic()
    started = False
    try:
        for item in items:
            yield item
            if not started and time.monotonic() - begun > _PATIENCE:
                bar.start()
                started = True
            bar.advance(task)
    finally:
        if started:
            bar.stop()
