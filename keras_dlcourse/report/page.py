"""A self-contained HTML file: inline pictures, no scripts, and all text escaped."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from keras_dlcourse._files import write_text
from keras_dlcourse._version import __version__
from keras_dlcourse.report.blocks import Block, escape_html


@dataclass(frozen=True)
class Section:
    """A heading and the blocks below it.

    Attributes:
        title: The heading.
        blocks: `Text`, `Code`, `Table`, `Picture` or `Pictures`.
    """

    title: str
    blocks: Sequence[Block]


def render_page(title: str, subtitle: str, sections: Iterable[Section]) -> str:
    """Return the HTML of a page.

    Args:
        title: The heading of the page.
        subtitle: A line below it.
        sections: The sections of the page.

    Returns:
        The complete HTML document.

    Example:
        >>> from keras_dlcourse.report import Text
        >>> page = render_page("Run", "today", [Section("Summary", [Text("All is well.")])])
        >>> '<h2 id="section-1">Summary</h2>' in page
        True
    """
    sections = list(sections)
    contents = "\n".join(
        f'<li><a href="#section-{number}">{escape_html(section.title)}</a></li>'
        for number, section in enumerate(sections, 1)
    )
    body = "\n".join(
        f'<section aria-labelledby="section-{number}">\n'
        f'<h2 id="section-{number}">{escape_html(section.title)}</h2>\n'
        + "\n".join(block.html() for block in section.blocks)
        + "\n</section>"
        for number, section in enumerate(sections, 1)
    )
    skeleton = files("keras_dlcourse.report").joinpath("page.html").read_text(encoding="utf-8")
    return Template(skeleton).substitute(
        title=escape_html(title),
        subtitle=escape_html(subtitle),
        contents=contents,
        sections=body,
        footer=f"Made by keras_dlcourse {escape_html(__version__)}.",
    )


def write_page(
    path: str | os.PathLike[str], title: str, subtitle: str, sections: Iterable[Section]
) -> None:
    """Write a page atomically: either the whole file or nothing.

    Args:
        path: The `.html` file.
        title: The heading of the page.
        subtitle: A line below it.
        sections: The sections of the page.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
        >>> write_page(path, "Run", "today", [])
        >>> path.read_text().startswith("<!doctype html>")
        True
    """
    write_text(path, render_page(title, subtitle, sections))
