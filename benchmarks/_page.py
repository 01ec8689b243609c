"""Tables that benchmarks put into the pages of docs/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
END = "<!-- end -->\n"


def put(page: str, benchmark: str, lines: Sequence[str]) -> None:
    """Replace what stands in a page of docs/ between the mark of a benchmark and the next end."""
    path, mark = DOCS / page, f"<!-- made by `python benchmarks {benchmark}` -->\n"
    before, rest = path.read_text(encoding="utf-8").split(mark)
    _, behind = rest.split(END, 1)
    path.write_text(before + mark + "\n".join(lines) + "\n" + END + behind, encoding="utf-8")
