"""A line chart of a page: drawn in SVG, read precisely by hovering, and by the table below it.

Colors are those of the page, so the chart follows its light and dark mode. Hovering needs no
script: over each position of the x axis lies an invisible strip, whose values the style sheet shows
while the pointer is on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from keras_dlcourse.report.blocks import Details, Table, escape_html
from keras_dlcourse.report.canvas import shorten

# Units of the SVG, which are pixels on a phone; the plot lies within the margins.
_WIDTH, _HEIGHT = 360, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 12, 36
_LINE = 14  # height of a line of text
_MOST_MARKERS = 40  # more would hide the line
# Colors are `--line-0` and so on in page.html. Colors and dashes have no period in common below 12.
COLORS = 6
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
MOST_LINES = 12


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: What it shows.
        values: One value for each of the first positions of the x axis; None or NaN where there is
            none.
    """

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Chart:
    """Lines over the epochs, with a legend and a table of all values.

    Attributes:
        title: What is drawn on the y axis; the heading of the chart.
        lines: One to `MOST_LINES` lines.
        alt: Alternative text for people who cannot see the chart.
        form: Format of the values.
        mark: An epoch to mark, counted from 1, or None.
        mark_name: What is special about it.

    Example:
        >>> chart = Chart("loss", [Line("training", [2.0, 1.5])], "Loss over 2 epochs.")
        >>> "epoch 2: training 1.5" in chart.html()
        True
    """

    title: str
    lines: Sequence[Line]
    alt: str
    form: str = "{:.4g}"
    mark: int | None = None
    mark_name: str = "kept"
    _ticks: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ticks", _find_ticks([one.values for one in self.lines]))

    @property
    def epochs(self) -> int:
        """The length of the x axis."""
        return max(len(one.values) for one in self.lines)

    def html(self) -> str:
        """Return the chart, its legend and its table as HTML."""
        parts = [self._draw_axes(), self._draw_mark()]
        parts += [self._draw_line(number) for number in range(len(self.lines))]
        parts += [self._draw_readout(epoch) for epoch in range(1, self.epochs + 1)]
        legend = "".join(
            f"<li>{_swatch(number)}{escape_html(one.name)}</li>"
            for number, one in enumerate(self.lines)
        )
        if self.mark is not None:
            legend += f"<li>┊ {escape_html(self.mark_name)}: epoch {self.mark}</li>"
        return (
            f'<figure class="chart"><p class="title">{escape_html(self.title)}</p>\n'
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
            f'aria-label="{escape_html(self.alt)}">\n'
            + "\n".join(filter(None, parts))
            + f'\n</svg>\n<ul class="legend">{legend}</ul>\n{self._details().html()}</figure>'
        )

    def markdown(self) -> str:
        """Return nothing: the page has the chart."""
        return ""

    def _details(self) -> Details:
        """Return the table of all values."""
        rows = [
            [str(epoch), *(self._format(one, epoch) for one in self.lines)]
            for epoch in range(1, self.epochs + 1)
        ]
        names = [one.name for one in self.lines]
        return Details("Values", [Table(f"{self.title} by epoch", ["epoch", *names], rows)])

    def _format(self, line: Line, epoch: int) -> str:
        """Return the value of a line as text; a dash if there is none."""
        value = _value(line, epoch)
        return "–" if value is None else self.form.format(value)

    def _label(self, tick: float) -> str:
        """Return a tick as text, as short as it can be."""
        return f"{100 * tick:.6g}%" if self.form.endswith("%}") else f"{tick:.6g}"

    def _x(self, epoch: float) -> float:
        """Return the place of an epoch; a single one lies in the middle."""
        inside = _WIDTH - _LEFT - _RIGHT
        share = 0.5 if self.epochs == 1 else (epoch - 1) / (self.epochs - 1)
        return round(_LEFT + 6 + share * (inside - 12), 1)

    def _y(self, value: float) -> float:
        """Return the place of a value."""
        low, high = self._ticks[0], self._ticks[-1]
        inside = _HEIGHT - _TOP - _BOTTOM
        return round(float(_TOP + (high - value) / (high - low) * inside), 1)

    def _draw_axes(self) -> str:
        """Draw the grid, the numbers beside it and the name of the x axis."""
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        rows = "".join(
            f'<path class="grid" d="M{_LEFT} {self._y(tick)}H{right}"/>'
            f'<text x="{_LEFT - 6}" y="{self._y(tick) + 4}" text-anchor="end">'
            f"{self._label(tick)}</text>"
            for tick in self._ticks
        )
        epochs = MaxNLocator(6, integer=True).tick_values(1, max(2, self.epochs))
        columns = "".join(
            f'<text x="{self._x(epoch)}" y="{bottom + 15}" text-anchor="middle">{epoch:.0f}</text>'
            for epoch in sorted({1.0, *epochs})
            if 1 <= epoch <= self.epochs
            # The first label would touch one that is close to it.
            and (epoch == 1 or self._x(epoch) - self._x(1) > 16)
        )
        name = (
            f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 5}" text-anchor="middle">epoch</text>'
        )
        return f"<g>{rows}{columns}{name}</g>"

    def _draw_mark(self) -> str:
        """Draw a dotted line at the epoch to mark."""
        if self.mark is None:
            return ""
        return f'<path class="mark" d="M{self._x(self.mark)} {_TOP}V{_HEIGHT - _BOTTOM}"/>'

    def _draw_line(self, number: int) -> str:
        """Draw one line, interrupted where values are missing, and markers if they are few."""
        line = self.lines[number]
        places = [
            (self._x(epoch), None if value is None else self._y(value))
            for epoch in range(1, len(line.values) + 1)
            for value in [_value(line, epoch)]
        ]
        path, is_begun = "", False
        for x, y in places:
            path += "" if y is None else f"{'L' if is_begun else 'M'}{x} {y}"
            is_begun = y is not None
        known = [(x, y) for x, y in places if y is not None]
        dots = known if len(places) <= _MOST_MARKERS else []
        circles = "".join(f'<circle cx="{x}" cy="{y}" r="2.5"/>' for x, y in dots)
        return f'<g class="line {_color(number)}"><path{_dash(number)} d="{path}"/>{circles}</g>'

    def _draw_readout(self, epoch: int) -> str:
        """Draw the strip over an epoch and what appears while the pointer is on it."""
        x = self._x(epoch)
        left = _LEFT if epoch == 1 else (self._x(epoch - 1) + x) / 2
        right = _WIDTH - _RIGHT if epoch == self.epochs else (x + self._x(epoch + 1)) / 2
        # The text stands on the side of the line where there is more room.
        place, anchor = (x + 8, "start") if x < _WIDTH / 2 else (x - 8, "end")
        values = [f"{shorten(one.name, 24)} {self._format(one, epoch)}" for one in self.lines]
        lines = [f"epoch {epoch}: {values[0]}"] if len(values) == 1 else [f"epoch {epoch}", *values]
        text = "".join(
            f'<tspan x="{place:.1f}" y="{_TOP + _LINE * (row + 1)}">{escape_html(one)}</tspan>'
            for row, one in enumerate(lines)
        )
        return (
            f'<g class="at"><rect x="{left:.1f}" y="0" width="{right - left:.1f}" '
            f'height="{_HEIGHT - _BOTTOM}"/><path d="M{x} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
            f'<text text-anchor="{anchor}">{text}</text></g>'
        )


def _value(line: Line, epoch: int) -> float | None:
    """Return the value of a line at an epoch; None if there is none that can be drawn."""
    value = line.values[epoch - 1] if epoch <= len(line.values) else None
    return None if value is None or not math.isfinite(value) else float(value)


def _find_ticks(rows: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    """Return round numbers that enclose all values that can be drawn."""
    numbers = np.array([value for row in rows for value in row if value is not None], float)
    known = numbers[np.isfinite(numbers)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    ticks = MaxNLocator(5).tick_values(low, high if high > low else low + 1)
    # The locator may leave out a number next to the last value.
    step = ticks[1] - ticks[0]
    first, last = np.floor(low / step), np.ceil(high / step)
    return np.arange(first, max(last, first + 1) + 1) * step


def _color(number: int) -> str:
    return f"line-{number % COLORS}"


def _dash(number: int) -> str:
    dash = _DASHES[number % len(_DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _swatch(number: int) -> str:
    """Draw a piece of a line for the legend."""
    return (
        f'<svg class="swatch line {_color(number)}" viewBox="0 0 30 8" aria-hidden="true">'
        f'<path{_dash(number)} d="M0 4H30"/></svg>'
    )
