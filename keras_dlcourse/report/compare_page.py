"""Several runs side by side: results, curves, and in what they differ. It needs no Keras."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_dlcourse._durations import format_duration
from keras_dlcourse._files import user_path
from keras_dlcourse._tables import text_table
from keras_dlcourse.report.blocks import Block, Cell, Link, Notice, Pictures, Table, Text
from keras_dlcourse.report.chart import MOST_LINES, Chart, Line
from keras_dlcourse.report.facts import (
    describe_data,
    describe_machine,
    format_value,
    read_recipe,
    spaced,
)
from keras_dlcourse.report.page import Section, write_page
from keras_dlcourse.report.pages import PAGES
from keras_dlcourse.report.recorded_run import RecordedRun, read_run
from keras_dlcourse.report.run_page import file_rows
from keras_dlcourse.report.task_page import TaskPage

# What must be the same for figures of the test part to be comparable, if no run says which examples
# are in it.
_SAME_TEST = ("name", "classes", "test")


@dataclass(frozen=True)
class Comparison:
    """Runs side by side. `str()` returns a table.

    Attributes:
        runs: The name of each run: that of its folder, or its path if several have that name.
        rows: The results: a heading and one text per run.
        path: The page that was written.
    """

    runs: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    path: Path

    def __str__(self) -> str:
        return text_table(["", *self.runs], self.rows)


def compare_runs(
    folders: Sequence[str | os.PathLike[str]], path: str | os.PathLike[str] = "compare.html"
) -> Comparison:
    """Write a page that shows several runs side by side.

    Runs of earlier versions have a dash where they did not record something. The figures of runs
    with different test data are shown with a warning.

    Args:
        folders: Two to twelve folders of runs of the same task.
        path: The HTML file to write; it is replaced if it exists.

    Returns:
        A `Comparison`, whose text is a table of the results.

    Raises:
        FileNotFoundError: If a folder is not that of a run, or the run has no results yet.
        ValueError: If there are too few or too many folders, one is given twice, their tasks
            differ, or a file is damaged.

    Example:
        >>> print(compare_runs(["runs/a", "runs/b"]))  # doctest: +SKIP
                             a                   b
        ─────────────────────────────────────────────────────────────
         Verdict             good                look here
         Test accuracy       91.2% of 400 i...   87.5% of 400 i...
    """
    if isinstance(folders, str | os.PathLike) or not 2 <= len(folders) <= MOST_LINES:
        count = 1 if isinstance(folders, str | os.PathLike) else len(folders)
        raise ValueError(f"runs must be 2 to {MOST_LINES} folders. Received: {count}")
    runs = [read_run(folder) for folder in folders]
    names = _name(runs)
    tasks = {run.task: name for name, run in zip(names, runs, strict=True)}
    if len(tasks) > 1:
        received = ", ".join(f"{task!r} in {name}" for task, name in tasks.items())
        raise ValueError(
            f"runs must be of the same task. Received: {received}. Compare the runs of one task "
            "at a time."
        )
    path, page = user_path(path), _find_page(runs)
    rows = _align([_measure(run, page) for run in runs])
    files = _measure_files(runs, page)
    columns: list[Cell] = ["", *(_link(*one, path.parent) for one in zip(names, runs, strict=True))]
    sections = [
        Section("Results", [*_warn(runs), Table("Results of the runs", columns, rows)]),
        Section("Learning curves", _draw_curves(runs, names, page)),
        Section(
            "Files",
            [Table(f"{kind} files of the runs", columns, found) for kind, found in files.items()],
        ),
        *(
            Section(title, _tabulate(title, columns, [read(run.config) for run in runs]))
            for title, read in _SETTINGS.items()
        ),
    ]
    shown = [section for section in sections if section.blocks]
    write_page(path, f"Comparison of {len(runs)} runs", ", ".join(names), shown)
    rows += [(f"{kind}: {head}", *row) for kind, found in files.items() for head, *row in found]
    return Comparison(tuple(names), tuple(rows), path)


_SETTINGS: dict[str, Callable[[Mapping[str, Any]], dict[str, str]]] = {
    "Recipe": read_recipe,
    "Data": describe_data,
    "Machine and versions": describe_machine,
}


def _name(runs: Sequence[RecordedRun]) -> list[str]:
    """Return a different name for each run."""
    places = [run.folder.resolve() for run in runs]
    for place in places:
        if places.count(place) > 1:
            raise ValueError(f"runs must be different folders. Received: {place} twice")
    short = [place.name for place in places]
    return [
        name if short.count(name) == 1 else str(place)
        for name, place in zip(short, places, strict=True)
    ]


def _find_page(runs: Sequence[RecordedRun]) -> TaskPage:
    """Return the page of the task; for one of a user's own, show the numbers as they are."""
    if runs[0].task in PAGES:
        return PAGES[runs[0].task]
    prefix = "validation_"
    found = [name for run in runs for name in run.results if name.startswith(prefix)]
    metric = found[0].removeprefix(prefix) if found else "loss"
    return TaskPage(metric, figures=_list_numbers, sections=lambda *_: [], example="example")


def _list_numbers(test: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"Test {spaced(name)}", format_value(value))
        for name, value in test.items()
        if isinstance(value, int | float)
    ]


def _measure(run: RecordedRun, page: TaskPage) -> dict[str, str]:
    """Return the results of one run, as texts by their headings."""
    results = run.results
    verdict = "interrupted" if results.get("interrupted") else "–"
    found = {"Verdict": results.get("verdict", {}).get("level", verdict)}
    found |= dict(page.figures(results["test"]) if results.get("test") else [])
    best = results.get(f"validation_{page.metric}")
    found[f"Validation {spaced(page.metric)}"] = (
        "–" if best is None else page.metric_form.format(best)
    )
    found["Epochs"] = format_value(results.get("epochs"))
    found["Best epoch"] = format_value(results.get("best_epoch"))
    parameters = run.config.get("parameters")
    found["Parameters"] = "–" if parameters is None else f"{parameters:,}"
    for part, seconds in results.get("seconds", {}).items():
        found[f"Time, {part}"] = format_duration(seconds)
    return {heading: text for heading, text in found.items() if text}


def _measure_files(runs: Sequence[RecordedRun], page: TaskPage) -> dict[str, list[tuple[str, ...]]]:
    """Return what was measured of the files of each kind, such as int8."""
    found = [
        {
            file.get("quantization") or file["file"]: {
                row[0]: row[1] for row in file_rows([file], page)
            }
            for file in run.results.get("files", [])
        }
        for run in runs
    ]
    kinds = dict.fromkeys(kind for files in found for kind in files)
    return {kind: _align([files.get(kind, {}) for files in found]) for kind in kinds}


def _align(columns: Sequence[Mapping[str, str]]) -> list[tuple[str, ...]]:
    """Return rows with all headings; a dash where a column has none."""
    headings = dict.fromkeys(heading for column in columns for heading in column)
    return [(one, *(column.get(one, "–") for column in columns)) for one in headings]


def _link(name: str, run: RecordedRun, folder: Path) -> Cell:
    """Return the name of a run, with a link to its report if there is one."""
    report = run.folder / "report.html"
    if not report.exists():
        return name
    try:
        return Link(name, Path(os.path.relpath(report, folder)).as_posix())
    except ValueError:  # on another drive of Windows
        return name


def _warn(runs: Sequence[RecordedRun]) -> list[Block]:
    """Warn of figures that cannot be compared."""
    tests = [run.test for run in runs if run.test is not None]
    if len(tests) == len(runs):
        if len(set(tests)) == 1:
            return []
        common = len(frozenset.intersection(*tests))
        found = f"The runs were not tested on the same examples: {common:,} are common to all."
        return [Notice("look here", f"{found} Compare the results with care.")]
    data = [run.config.get("data", {}) for run in runs]
    different = [key for key in _SAME_TEST if any(one.get(key) != data[0].get(key) for one in data)]
    if not different:
        return []
    found = f"The data of these runs differ in: {', '.join(different)}."
    return [
        Notice(
            "look here",
            f"{found} Test results can be compared only if the test parts are the same.",
        )
    ]


def _draw_curves(runs: Sequence[RecordedRun], names: Sequence[str], page: TaskPage) -> list[Block]:
    """Draw each metric of all runs that have it."""
    metrics = dict.fromkeys((page.metric, "loss"))
    forms = {"loss": "{:.4g}", page.metric: page.metric_form}
    charts = []
    for prefix, part in (("val_", "validation"), ("", "training")):
        for metric in metrics:
            lines = [
                Line(name, run.history[prefix + metric])
                for name, run in zip(names, runs, strict=True)
                if run.history.get(prefix + metric)
            ]
            if lines:
                title = f"{part} {spaced(metric)}"
                charts.append(Chart(title, lines, _alt(title, lines, forms[metric]), forms[metric]))
    return [Pictures(charts)] if charts else []


def _alt(title: str, lines: Sequence[Line], form: str) -> str:
    """Describe a chart as alternative text."""
    ends = [
        f"{line.name} ends at {form.format(line.values[-1])}"
        for line in lines
        if line.values[-1] is not None
    ]
    return f"{title} over the epochs: {', '.join(ends)}."


def _tabulate(
    title: str, columns: Sequence[Cell], settings: Sequence[Mapping[str, str]]
) -> list[Block]:
    """Tabulate settings; those that differ come first and are marked."""
    rows = _align(settings)
    if not rows:
        return []
    rows.sort(key=lambda row: len(set(row[1:])) == 1)
    different = sum(len(set(row[1:])) > 1 for row in rows)
    note = f"{different} of {len(rows)} differ" if different else "All are the same"
    marks = " and are marked ≠; they come first." if different else "."
    return [
        Text(f"{note}{marks}"),
        Table(f"{title} of the runs", columns, rows, marked=range(different)),
    ]
