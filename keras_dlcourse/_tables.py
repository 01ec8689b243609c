"""Text tables, drawn by rich, as strings: the same in a terminal, a notebook and a log."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any


def text_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str | None = None,
    width: int = 100,
) -> str:
    """Return a plain-text table; columns whose values are all numbers are set right.

    Args:
        columns: Headings.
        rows: Cells, as many in each row as there are headings; None becomes a dash.
        title: A line above.
        width: The widest line, in characters; longer cells are folded.

    Returns:
        The table, without colours and without spaces at line ends.

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
    # Within a notebook, rich would display the table there instead of writing it to the file.
    plain: dict[str, Any] = {"color_system": None, "force_terminal": False, "force_jupyter": False}
    Console(file=out, width=width, **plain).print(table)
    lines = [] if title is None else [title]  # rich would fold it to the width of the table
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
