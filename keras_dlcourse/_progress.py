"""A progress bar for tasks that take more than two seconds, shown only in a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")
_PATIENCE = 2.0  # seconds before the bar appears


def track(items: Iterable[_Item], total: int | None, description: str) -> Iterator[_Item]:
    """Yield the items, with a progress bar on standard error after the first two seconds.

    Args:
        items: The items to iterate over.
        total: Number of items, or None if unknown.
        description: Label shown beside the bar.

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
