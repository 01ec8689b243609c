"""What all pictures share: a figure without global state, safe colours, text taken literally.

matplotlib's object API is used throughout: `pyplot` keeps every figure alive, chooses a window
system and changes the settings of whoever imports this package.
"""

from __future__ import annotations

import io
import warnings
from functools import cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

# Okabe and Ito's palette: told apart with every common form of colour blindness, and in grey print.
BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
GREY = "#5f6368"
# Colour, marker and line of the first, second, ... curve: they differ in grey print, too.
STYLES: tuple[tuple[str, str, Any], ...] = (
    (BLUE, "o", "-"),
    (VERMILION, "s", "--"),
    (GREEN, "^", "-."),
    (PURPLE, "D", (0, (1, 1))),
)

# Tried in this order, where installed, for what matplotlib's own font lacks.
_FALLBACK_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Arial Unicode MS",
)


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure that no global state knows.

    Args:
        width: Width in inches.
        height: Height in inches.

    Returns:
        A white figure with an Agg canvas and constrained layout.

    Example:
        >>> figure = new_figure(4, 3)
        >>> axes = figure.subplots()
    """
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(*axes: Axes) -> None:
    """Give axes a light grid, and no frame above and at the right.

    Args:
        *axes: The axes.

    Example:
        >>> plain_axes(new_figure(4, 3).subplots())
    """
    for one in axes:
        one.grid(alpha=0.3)
        one.spines[["top", "right"]].set_visible(False)


def png_bytes(figure: Figure, dpi: int = 150) -> bytes:
    """Draw a figure to a PNG file in memory.

    Args:
        figure: The figure.
        dpi: Pixels per inch.

    Returns:
        The content of the file.

    Example:
        >>> png_bytes(new_figure(1, 1))[1:4]
        b'PNG'
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a class called "$5" is not a formula
        text.set_fontfamily(_font_families())
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The font has no glyphs for some scripts: the page shows such names in its own text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


@cache
def _font_families() -> list[str]:
    """List matplotlib's own font and the installed ones that fill its gaps."""
    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed)]


def shortened(name: str, length: int = 18) -> str:
    """Cut a name that would not fit beside a picture.

    Args:
        name: The name, any text.
        length: Characters to keep at most, an ellipsis included.

    Returns:
        One line of text.

    Example:
        >>> shortened("a very long name of a class", 12)
        'a very long…'
    """
    line = " ".join(name.encode("utf-8", "replace").decode().split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
