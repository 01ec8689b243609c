"""The building blocks of a page: each renders and escapes its own HTML and Markdown."""

from __future__ import annotations

import base64
import re
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol
from urllib.parse import quote

# What Markdown reads as markup anywhere in a line; an underscore only at the edge of a word.
_MARKUP = re.compile(r"[\\`*\[\]<>|&$~]|(?<!\w)_|_(?!\w)")
# Where a line would be read as a numbered list, or as a heading, a list or a rule.
_LEADING_MARKUP = re.compile(r"^\d*(?=[.)](\s|$))|^(?=[#+=-])")


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


def escape_markdown(text: str) -> str:
    """Escape any text for one line of Markdown, as GitHub and Hugging Face read it.

    Args:
        text: Any text; lone surrogates become "?", and line breaks spaces.

    Returns:
        Markdown.

    Example:
        >>> print(escape_markdown("# *1 | 2* in mobilenet_v2"))
        \\# \\*1 \\| 2\\* in mobilenet_v2
    """
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    return _LEADING_MARKUP.sub(r"\g<0>\\", _MARKUP.sub(r"\\\g<0>", line))


class Block(Protocol):
    """A building block of a page and of a model card."""

    def html(self) -> str:
        """Return the block as HTML, with its text escaped."""

    def markdown(self) -> str:
        """Return the block as Markdown, with its text escaped; empty if it has no text."""


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

    def markdown(self) -> str:
        """Return the paragraph as Markdown."""
        return escape_markdown(self.text)


@dataclass(frozen=True)
class Bullets:
    """A list.

    Attributes:
        items: Plain texts; they are escaped.

    Example:
        >>> Bullets(["a < b"]).html()
        '<ul><li>a &lt; b</li></ul>'
    """

    items: Sequence[str]

    def html(self) -> str:
        """Return the list as HTML."""
        return f"<ul>{''.join(f'<li>{escape_html(item)}</li>' for item in self.items)}</ul>"

    def markdown(self) -> str:
        """Return the list as Markdown."""
        return "\n".join(f"- {escape_markdown(item)}" for item in self.items)


@dataclass(frozen=True)
class Code:
    """Lines of code to copy into a terminal or a program.

    Attributes:
        text: The lines; they are escaped.

    Example:
        >>> Code("pip list").html()
        '<pre tabindex="0"><code>pip list</code></pre>'
    """

    text: str

    def html(self) -> str:
        """Return the lines as HTML; they can be scrolled with the keyboard."""
        return f'<pre tabindex="0"><code>{escape_html(self.text)}</code></pre>'

    def markdown(self) -> str:
        """Return the lines as Markdown; indented, so that they may contain anything."""
        return textwrap.indent(self.text.encode("utf-8", "replace").decode(), "    ")


@dataclass(frozen=True)
class Notice:
    """A judgment that nobody should overlook.

    Attributes:
        level: `"good"`, `"look here"` or `"do not use"`, which has its own color and mark; any
            other text is neutral.
        text: What follows the level, or empty.
        items: Reasons, each with what to do about it.

    Example:
        >>> Notice("good").html()
        '<div class="notice good"><p><strong>✓ Good</strong></p></div>'
    """

    level: str
    text: str = ""
    items: Sequence[str] = ()

    def html(self) -> str:
        """Return the judgment as HTML."""
        kind, _ = _LEVELS.get(self.level, ("neutral", ""))
        text = f" {escape_html(self.text)}" if self.text else ""
        inside = f"<p><strong>{escape_html(self._title)}</strong>{text}</p>"
        inside += Bullets(self.items).html() if self.items else ""
        return f'<div class="notice {kind}">{inside}</div>'

    def markdown(self) -> str:
        """Return the judgment as a quotation."""
        text = f" {escape_markdown(self.text)}" if self.text else ""
        lines = [f"**{escape_markdown(self._title)}**{text}"]
        lines += ["", *Bullets(self.items).markdown().splitlines()] if self.items else []
        return "\n".join(f"> {line}".rstrip() for line in lines)

    @property
    def _title(self) -> str:
        """Return the mark and the level, with a capital letter."""
        _, mark = _LEVELS.get(self.level, ("", ""))
        return f"{mark} {self.level[:1].upper()}{self.level[1:]}".strip()


# Class of the style sheet and mark, so that the color is not all that differs.
_LEVELS = {"good": ("good", "✓"), "look here": ("look", "!"), "do not use": ("stop", "✗")}


@dataclass(frozen=True)
class Link:
    """A link to a file beside the page.

    Attributes:
        text: What is shown.
        path: The path of the file, relative to the page, with slashes; by default the text.

    Example:
        >>> Link("model.keras").html()
        '<a href="./model.keras">model.<wbr>keras</a>'
    """

    text: str
    path: str = ""

    def html(self) -> str:
        """Return the link as HTML; names of files may be broken after a dot."""
        shown = escape_html(self.text).replace(".", ".<wbr>")
        return f'<a href="{self._target}">{shown}</a>'

    def markdown(self) -> str:
        """Return the link as Markdown."""
        return f"[{escape_markdown(self.text)}]({self._target})"

    @property
    def _target(self) -> str:
        """Return the path as a URL, which "./" and quoting keep from having a scheme."""
        return f"./{quote((self.path or self.text).encode('utf-8', 'replace'))}"


Cell = str | Link


@dataclass(frozen=True)
class Table:
    """A table; columns whose cells are all numeric or empty are right-aligned.

    Attributes:
        caption: What the table shows.
        columns: Headings; empty for a plain list of names and values.
        rows: Cells, row by row: texts or links; the first cell is the row's heading.
        marked: Numbers of rows to highlight, from 0. Their headings begin with "≠".

    Example:
        >>> "<td>1.5</td>" in Table("Sizes", ["file", "MB"], [["a", "1.5"]]).html()
        False
        >>> '<td class="number">1.5</td>' in Table("Sizes", ["file", "MB"], [["a", "1.5"]]).html()
        True
        >>> print(Table("Sizes", ["file", "MB"], [["a", "1.5"]]).markdown())
        Sizes:
        <BLANKLINE>
        | file | MB |
        | --- | --: |
        | a | 1.5 |
    """

    caption: str
    columns: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    marked: Collection[int] = ()

    def html(self) -> str:
        """Return the table as HTML; it scrolls separately on narrow screens."""
        caption = escape_html(self.caption)
        kinds = [' class="number"' if numeric else "" for numeric in self._numeric()]
        titles = "".join(
            # A corner without text is no heading of its column.
            f'<th scope="col"{kind}>{_html(title)}</th>' if title else "<td></td>"
            for title, kind in zip(self.columns, kinds, strict=False)
        )
        head = f"<thead><tr>{titles}</tr></thead>\n" if self.columns else ""
        body = "\n".join(
            self._row(row, kinds, number in self.marked) for number, row in enumerate(self.rows)
        )
        return (
            f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}">'
            f"<table>\n<caption>{caption}</caption>\n"
            f"{head}<tbody>\n{body}\n</tbody>\n</table></div>"
        )

    def markdown(self) -> str:
        """Return the table as Markdown, below its caption."""
        numeric = self._numeric()
        head = [_markdown(title) for title in self.columns or [""] * len(numeric)]
        body = [[_markdown(cell) for cell in row] for row in self.rows]
        for number in self.marked:
            body[number][0] = _MARK + body[number][0]
        rows = [head, ["--:" if right else "---" for right in numeric], *body]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([f"{escape_markdown(self.caption)}:", "", *lines])

    def _numeric(self) -> list[bool]:
        """Whether each column with a heading is numeric: cells begin with a digit or are a dash."""
        if not self.columns:
            return [False] * len(self.rows[0])
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.columns)
        return [number > 0 and all(map(_is_number, cells)) for number, cells in enumerate(columns)]

    @staticmethod
    def _row(row: Sequence[Cell], kinds: Sequence[str], marked: bool) -> str:
        """Return one row as HTML."""
        mark = _MARK if marked else ""
        cells = [f'<th scope="row">{mark}{_html(row[0])}</th>'] + [
            f"<td{kind}>{_html(cell)}</td>" for cell, kind in zip(row[1:], kinds[1:], strict=True)
        ]
        kind = ' class="marked"' if marked else ""
        return f"<tr{kind}>{''.join(cells)}</tr>"


_MARK = "≠ "


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, str) and (cell[:1].isdigit() or cell in ("", "–"))


def _html(cell: Cell) -> str:
    return cell.html() if isinstance(cell, Link) else escape_html(cell)


def _markdown(cell: Cell) -> str:
    return cell.markdown() if isinstance(cell, Link) else escape_markdown(cell)


@dataclass(frozen=True)
class Details:
    """Blocks that are shown on demand.

    Attributes:
        title: The line that is always shown.
        blocks: The blocks.

    Example:
        >>> Details("More", [Text("a")]).html()
        '<details><summary>More</summary>\\n<p>a</p>\\n</details>'
    """

    title: str
    blocks: Sequence[Block]

    def html(self) -> str:
        """Return the blocks as HTML, folded."""
        inside = "\n".join(block.html() for block in self.blocks)
        return f"<details><summary>{escape_html(self.title)}</summary>\n{inside}\n</details>"

    def markdown(self) -> str:
        """Return nothing: a card is short, and the page has the details."""
        return ""


@dataclass(frozen=True)
class Picture:
    """A PNG image embedded in the page, on a light card in dark mode, too.

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

    def markdown(self) -> str:
        """Return nothing: the page has the picture."""
        return ""


@dataclass(frozen=True)
class Pictures:
    """Figures side by side if there is room, stacked on a phone.

    Attributes:
        pictures: The figures.
    """

    pictures: Sequence[Block]

    def html(self) -> str:
        """Return the figures as HTML."""
        inside = "\n".join(picture.html() for picture in self.pictures)
        return f'<div class="pictures">\n{inside}\n</div>'

    def markdown(self) -> str:
        """Return nothing: the page has the figures."""
        return ""
