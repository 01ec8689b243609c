"""Charts show all values: drawn, read out by position, and in a table."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from keras_dlcourse import report
from keras_dlcourse.report.chart import MOST_LINES


def draw(*rows, **options):
    lines = [report.Line(f"line {number}", row) for number, row in enumerate(rows)]
    return ET.fromstring(report.Chart("loss <x>", lines, "Loss.", **options).html())


def points(group):
    """Return the places that the path of a line goes through, in strokes."""
    path = group.find("path").get("d")
    return [
        [tuple(map(float, point.split(" "))) for point in stroke.split("L")]
        for stroke in path.split("M")
        if stroke
    ]


def line_groups(chart):
    return [group for group in chart.iter("g") if "line" in group.get("class", "").split()]


def test_lines_go_through_their_values():
    (group,) = line_groups(draw([1.0, 3.0, 2.0]))
    ((first, second, third),) = points(group)
    assert first[0] < second[0] < third[0]
    assert second[0] == pytest.approx((first[0] + third[0]) / 2, abs=0.1)
    # Up is small in SVG: 3 is at the top, 2 in the middle between 3 and 1.
    assert second[1] < third[1] < first[1]
    assert third[1] == pytest.approx((first[1] + second[1]) / 2, abs=0.1)
    assert len(group.findall("circle")) == 3


def test_lines_have_gaps_where_values_are_missing():
    (group,) = line_groups(draw([1.0, 2.0, None, 1.5, math.nan, math.inf, 3.0]))
    assert [len(stroke) for stroke in points(group)] == [2, 1, 1]


@pytest.mark.parametrize(
    "values", [[2.0], [2.0, 2.0], [0.0], [math.nan], [None, None], [-1e-9, 1e9]]
)
def test_any_values_can_be_drawn(values):
    chart = draw(values)
    numbers = re.findall(r"-?[\d.]+", " ".join(path.get("d") for path in chart.iter("path")))
    assert all(-1 <= float(number) <= 361 for number in numbers)
    assert "nan" not in ET.tostring(chart, encoding="unicode")


def test_values_are_read_out_and_tabulated():
    chart = draw([0.5, 0.25], [0.75], form="{:.1%}", mark=2)
    texts = [
        ["".join(line.itertext()) for line in group.iter("tspan")]
        for group in chart.iter("g")
        if group.get("class") == "at"
    ]
    assert texts == [
        ["epoch 1", "line 0 50.0%", "line 1 75.0%"],
        ["epoch 2", "line 0 25.0%", "line 1 –"],
    ]
    rows = [["".join(cell.itertext()) for cell in row] for row in chart.find("details").iter("tr")]
    assert rows == [["epoch", "line 0", "line 1"], ["1", "50.0%", "75.0%"], ["2", "25.0%", "–"]]
    legend = ["".join(item.itertext()) for item in chart.find("ul")]
    assert legend == ["line 0", "line 1", "┊ kept: epoch 2"]
    ticks = [text.text for text in chart.iter("text") if (text.text or "").endswith("%")]
    assert ticks[0] == "20%"


def test_strips_cover_the_chart_without_gaps():
    strips = [
        (float(rect.get("x")), float(rect.get("x")) + float(rect.get("width")))
        for rect in draw([1.0] * 9).iter("rect")
    ]
    for (_, end), (begin, _) in zip(strips, strips[1:], strict=False):
        assert begin == pytest.approx(end, abs=0.11)


def test_each_line_differs_from_all_others():
    groups = line_groups(draw(*([[1.0, 2.0]] * MOST_LINES)))
    styles = {(one.get("class"), one.find("path").get("stroke-dasharray")) for one in groups}
    assert len(styles) == MOST_LINES


def test_long_runs_have_no_markers():
    chart = draw([1.0] * 200)
    assert not list(chart.iter("circle"))
    labels = [text for text in chart.iter("text") if text.get("text-anchor") == "middle"]
    assert len(labels) < 12
