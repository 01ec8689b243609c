"""A model card in Markdown, with the sections of Hugging Face's, from the parts of the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from keras_dlcourse._version import __version__
from keras_dlcourse.report.blocks import escape_markdown
from keras_dlcourse.report.page import Section

FILE = "model_card.md"


def render_card(
    title: str, tags: Mapping[str, str], chapters: Mapping[str, Sequence[Section]]
) -> str:
    """Return a model card.

    Args:
        title: The heading of the card.
        tags: What Hugging Face reads in the head of the file, such as `pipeline_tag`; empty values
            are omitted.
        chapters: The sections under each heading. Those without text, such as figures, are omitted;
            the title of a section is shown if there are several.

    Returns:
        Markdown with a YAML head.

    Example:
        >>> from keras_dlcourse.report import Text
        >>> sections = [Section("Summary", [Text("A network.")])]
        >>> print(render_card("Run", {"library_name": "keras"}, {"Model": sections}))
        ... # doctest: +ELLIPSIS
        ---
        library_name: "keras"
        ---
        <BLANKLINE>
        # Run
        <BLANKLINE>
        ## Model
        <BLANKLINE>
        A network.
        ...
    """
    # Text between double quotes in JSON is text between double quotes in YAML.
    head = [f"{name}: {json.dumps(value)}" for name, value in tags.items() if value]
    parts = ["\n".join(["---", *head, "---"]), f"# {escape_markdown(title)}"]
    for heading, sections in chapters.items():
        written = [(one.title, _write(one)) for one in sections if _write(one)]
        if written:
            parts.append(f"## {escape_markdown(heading)}")
        for name, text in written:
            parts += [f"### {escape_markdown(name)}", text] if len(written) > 1 else [text]
    parts.append(f"Made by keras_dlcourse {escape_markdown(__version__)}.")
    return "\n\n".join(parts) + "\n"


def _write(section: Section) -> str:
    """Return the text of a section, empty if it has none."""
    return "\n\n".join(filter(None, (block.markdown() for block in section.blocks)))
