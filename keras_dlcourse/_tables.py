"""Text tables as strings, drawn by rich: the same in a notebook, a log and a terminal.

Only a terminal that is narrower than a table changes it.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def text_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str | None = None,
    width: int = 100,
) -> str:
    """Return a plain-text table. Columns that contain only numbers are right-aligned.

    Args:
        columns: Column headings.
        rows: Rows with one cell per heading. None becomes a dash.
        title: Line above the table.
        width: Maximum line width in characters, if the terminal is not narrower. Longer cells are
            folded.

    Returns:
        The table, without colors or trailing spaces.

    Example:
        >>> print(text_table(["file", "bytes"], [["a.tflite", 120]]))
         file       bytes
        ──────────────────
         a.tflite     120
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [list(row) for row in rows]
    table = Table(box=_box(), show_edge=False)
    for index, heading in enumerate(columns):
        right = rows and all(isinstance(row[index], int | float | None) for row in rows)
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    out = io.StringIO()
    # In a notebook, rich would display the table instead of writing it to the file.
    plain: dict[str, Any] = {"color_system": None, "force_terminal": False, "force_jupyter": False}
    if sys.stdout is not None and sys.stdout.isatty():
        width = min(width, shutil.get_terminal_size().columns)
    Console(file=out, width=width, **plain).print(table)
    lines = [] if title is None else [title]  # rich would fold the title to the table's width
    return "\n".join(lines + [line.rstrip() for line in out.getvalue().splitlines()])


def _box() -> Any:
    from rich import box

    return box.SIMPLE_HEAD


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
