"""Shared by all plots: figures without global state, accessible colors, and literal text.

All plots use matplotlib's object API: `pyplot` keeps every figure alive, selects a GUI backend and
changes the settings of any program that imports this package.
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

# Okabe and Ito's palette: distinguishable in grayscale and with all common color blindness types.
BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
GREY = "#5f6368"
# Color, marker and line style of each curve; they also differ in grayscale.
STYLES: tuple[tuple[str, str, Any], ...] = (
    (BLUE, "o", "-"),
    (VERMILION, "s", "--"),
    (GREEN, "^", "-."),
    (PURPLE, "D", (0, (1, 1))),
)

# Installed fonts to try, in this order, for glyphs missing from matplotlib's default font.
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
    """Create an empty figure without global state.

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


def style_axes(*axes: Axes) -> None:
    """Add a light grid to axes, and remove the top and right spines.

    Args:
        *axes: The axes.

    Example:
        >>> style_axes(new_figure(4, 3).subplots())
    """
    for one in axes:
        one.grid(alpha=0.3)
        one.spines[["top", "right"]].set_visible(False)


def png_bytes(figure: Figure, dpi: int = 150) -> bytes:
    """Render a figure as a PNG file in memory.

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
        text.set_parse_math(False)  # a class named "$5" is not a formula
        text.set_fontfamily(_font_families())
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Some scripts lack glyphs in the font; the page also shows such names as HTML text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


@cache
def _font_families() -> list[str]:
    """Return matplotlib's default font and the installed fallback fonts."""
    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed)]


def shorten(name: str, length: int = 18) -> str:
    """Shorten a name that is too long for a label.

    Args:
        name: Any text.
        length: Maximum number of characters, including the ellipsis.

    Returns:
        One line of text.

    Example:
        >>> shorten("a very long name of a class", 12)
        'a very long…'
    """
    line = " ".join(name.encode("utf-8", "replace").decode().split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
