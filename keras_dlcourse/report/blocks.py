"""The building blocks of a page: each renders its own HTML and escapes its own text."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol


def escape_html(text: str) -> str:
    """Escape any text for HTML, in content and in attributes.

    Args:
        text: Any text; lone surrogates, as in undecodable file names, become "?".

    Returns:
        HTML.

    Example:
        >>> escape_html("<b>")
        '&lt;b&gt;'
    """
    return escape(text.encode("utf-8", "replace").decode())


class Block(Protocol):
    """A building block of a page."""

    def html(self) -> str:
        """Return the block as HTML, with its text escaped."""


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: Plain text; it is escaped.

    Example:
        >>> Text("a < b").html()
        '<p>a &lt; b</p>'
    """

    text: str

    def html(self) -> str:
        """Return the paragraph as HTML."""
        return f"<p>{escape_html(self.text)}</p>"


@dataclass(frozen=True)
class Code:
    """Lines of code to copy into a terminal or a program.

    Attributes:
        text: The lines; they are escaped.

    Example:
        >>> Code("pip list").html()
        '<pre><code>pip list</code></pre>'
    """

    text: str

    def html(self) -> str:
        """Return the lines as HTML."""
        return f"<pre><code>{escape_html(self.text)}</code></pre>"


@dataclass(frozen=True)
class Table:
    """A table; columns whose cells are all numeric or empty are right-aligned.

    Attributes:
        caption: What the table shows.
        columns: Headings; empty for a plain list of names and values.
        rows: Cells, row by row; the first cell is the row's heading.

    Example:
        >>> "<td>1.5</td>" in Table("Sizes", ["file", "MB"], [["a", "1.5"]]).html()
        False
        >>> '<td class="number">1.5</td>' in Table("Sizes", ["file", "MB"], [["a", "1.5"]]).html()
        True
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def html(self) -> str:
        """Return the table as HTML; it scrolls separately on narrow screens."""
        caption = escape_html(self.caption)
        width = len(self.columns) or len(self.rows[0])
        kinds = [' class="number"' if self._is_number(i) else "" for i in range(width)]
        titles = "".join(
            f'<th scope="col"{kind}>{escape_html(title)}</th>'
            for title, kind in zip(self.columns, kinds, strict=False)
        )
        head = f"<thead><tr>{titles}</tr></thead>\n" if self.columns else ""
        body = "\n".join(self._row(row, kinds) for row in self.rows)
        return (
            f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}">'
            f"<table>\n<caption>{caption}</caption>\n"
            f"{head}<tbody>\n{body}\n</tbody>\n</table></div>"
        )

    def _is_number(self, column: int) -> bool:
        """Whether a column with a heading is numeric: cells start with a digit or are a dash."""
        if not self.columns:
            return False
        cells = [row[column] for row in self.rows]
        return column > 0 and all(cell[:1].isdigit() or cell in ("", "–") for cell in cells)

    @staticmethod
    def _row(row: Sequence[str], kinds: Sequence[str]) -> str:
        """Return one row as HTML."""
        cells = [f'<th scope="row">{escape_html(row[0])}</th>'] + [
            f"<td{kind}>{escape_html(cell)}</td>"
            for cell, kind in zip(row[1:], kinds[1:], strict=True)
        ]
        return f"<tr>{''.join(cells)}</tr>"


@dataclass(frozen=True)
class Picture:
    """A PNG image embedded in the page.

    Attributes:
        png: The content of the PNG file.
        alt: Alternative text for people who cannot see the picture.
        caption: A line below the picture, or empty.
        width: Width on a wide screen, in pixels; None for the width of the file.
        min_width: Minimum width in pixels; narrower screens scroll instead of shrinking it.

    Example:
        >>> Picture(b"...", alt="a cat").html()
        '<figure><img src="data:image/png;base64,Li4u" alt="a cat"></figure>'
    """

    png: bytes
    alt: str
    caption: str = ""
    width: int | None = None
    min_width: int = 0

    def html(self) -> str:
        """Return the picture as HTML."""
        content = base64.b64encode(self.png).decode()
        size = "" if self.width is None else f' width="{self.width}"'
        size += f' style="min-width: {self.min_width}px"' if self.min_width else ""
        caption = f"<figcaption>{escape_html(self.caption)}</figcaption>" if self.caption else ""
        image = f'<img src="data:image/png;base64,{content}" alt="{escape_html(self.alt)}"{size}>'
        if self.min_width:
            image = f'<div class="scroll" tabindex="0">{image}</div>'
        return f"<figure>{image}{caption}</figure>"


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side if there is room, stacked on a phone.

    Attributes:
        pictures: The pictures.
    """

    pictures: Sequence[Picture]

    def html(self) -> str:
        """Return the pictures as HTML."""
        inside = "\n".join(picture.html() for picture in self.pictures)
        return f'<div class="pictures">\n{inside}\n</div>'
