"""The page of one training run, created from the files in its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from keras_dlcourse.report.blocks import Block, Picture, Pictures, Table, Text
from keras_dlcourse.report.canvas import png_bytes
from keras_dlcourse.report.classification_page import CLASSIFICATION_PAGE
from keras_dlcourse.report.figures import draw_learning_curve
from keras_dlcourse.report.page import Section, write_page
from keras_dlcourse.report.task_page import TaskPage


def write_run_page(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    history: Mapping[str, Sequence[float]],
    results: Mapping[str, Any],
    pictures: Mapping[str, bytes | None] | None = None,
    page: TaskPage = CLASSIFICATION_PAGE,
) -> None:
    """Write the `report.html` of a run.

    Args:
        path: The file to write.
        config: The content of the run's `config.json`.
        history: A list for each column of `history.csv`.
        results: The content of the run's `results.json`.
        pictures: PNG files by name; None as a value for one that there is not. For classification:
            `maps`, the class activation maps; `class_means`, the mean map of each class;
            `mistakes`, the most confident mistakes; `curves`, of `draw_evaluation`.
        page: What the task of the run adds to the page, by default that of classification.

    Raises:
        ValueError: If the page does not show a picture of that name.

    Example:
        >>> import json, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
        >>> config = {"model": "mobilenet_v2", "data": {"name": "shapes", "classes": ["a", "b"]}}
        >>> results = {"epochs": 1, "interrupted": True, "files": []}
        >>> write_run_page(path, config, {"loss": [0.5]}, results)
        >>> "Nothing was exported" in path.read_text()
        True
    """
    pictures = pictures or {}
    unknown = [name for name in pictures if name not in page.pictures]
    if unknown:
        raise ValueError(
            f"pictures must have names that the page shows: {', '.join(page.pictures) or 'none'}. "
            f"Received: {', '.join(unknown)}"
        )
    sections = [
        Section("Summary", _summary(config, results, page)),
        Section("Learning curves", _curves(history, results, page)),
        *page.sections(config, results, pictures),
        Section("Exported files", _files(results, page)),
        Section("Run it on a device", _device(results, page)),
    ]
    write_page(
        path,
        f"{config['model']} on {config['data']['name']}",
        config.get("started", ""),
        [section for section in sections if section.blocks],
    )


def _summary(config: Mapping[str, Any], results: Mapping[str, Any], page: TaskPage) -> list[Block]:
    """Summarize the results, the data and the model."""
    data, seconds, test = config["data"], results.get("seconds", {}), results.get("test")
    rows = [
        *(page.figures(test) if test else []),
        (f"Validation {_spaced(page.metric)}", _validation(results, page)),
        ("Epochs", f"{results['epochs']} of {config.get('epochs', results['epochs'])}"),
        ("Model", _model(config)),
        ("Data", _data(data, page)),
        *page.details(data),
        ("Time", ", ".join(f"{part} {_duration(s)}" for part, s in seconds.items())),
        ("Versions", ", ".join(f"{k} {v}" for k, v in config.get("versions", {}).items())),
    ]
    blocks: list[Block] = []
    if "verdict" in results:
        blocks.append(Text(f"Verdict: {results['verdict']['text']}"))
    if results.get("interrupted"):
        blocks.append(Text("This run was interrupted; the best weights up to then were kept."))
    table = Table("Run summary", [], [row for row in rows if row[1]])
    note = Text(
        f"Test {page.example}s were used neither for training nor to choose the epoch whose "
        "weights were kept."
    )
    return [*blocks, table, *([note] if test else [])]


def _validation(results: Mapping[str, Any], page: TaskPage) -> str:
    """Format the validation metric of the kept epoch; empty if no epoch was completed."""
    kept = results.get("best_epoch")
    if not kept:
        return ""
    return f"{page.metric_form.format(results[f'validation_{page.metric}'])}, epoch {kept}"


def _model(config: Mapping[str, Any]) -> str:
    """Describe the model in one line."""
    shape = "×".join(str(side) for side in config.get("input_shape", ()))
    parts = [
        config["model"],
        f"alpha {config['alpha']}" if "alpha" in config else "",
        f"input {shape}" if shape else "",
        f"{config['parameters']:,} parameters" if "parameters" in config else "",
    ]
    return ", ".join(part for part in parts if part)


def _data(data: Mapping[str, Any], page: TaskPage) -> str:
    """Describe the data in one line."""
    parts = [f"{data[part]:,} {part}" for part in ("train", "validation", "test") if part in data]
    return f"{data['name']}: {', '.join(parts)} {page.example}s" if parts else str(data["name"])


def _duration(seconds: float) -> str:
    """Format a duration in minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _curves(
    history: Mapping[str, Sequence[float]], results: Mapping[str, Any], page: TaskPage
) -> list[Block]:
    """Draw the loss and the metric over the epochs."""
    pictures = []
    for metric in dict.fromkeys(("loss", page.metric)):
        if history.get(metric):
            figure = draw_learning_curve(history, metric, results.get("best_epoch"))
            pictures.append(Picture(png_bytes(figure), _curve_alt(history, metric), width=520))
    return [Pictures(pictures)] if pictures else [Text("No epoch was completed.")]


def _curve_alt(history: Mapping[str, Sequence[float]], metric: str) -> str:
    """Describe a learning curve as alternative text."""
    training, validation = history[metric], history.get(f"val_{metric}")
    text = f"{metric} over {len(training)} epochs: training ends at {training[-1]:.3f}"
    return f"{text}, validation at {validation[-1]:.3f}." if validation else f"{text}."


def _files(results: Mapping[str, Any], page: TaskPage) -> list[Block]:
    """Tabulate the exported files next to the Keras model, one column per file."""
    files = results["files"]
    if not files:
        return [Text("Nothing was exported in this run.")]
    rows = [
        (heading, *(_cell(file.get(key), key, form) for file in files))
        for heading, key, form in _file_rows(page)
        if any(file.get(key) is not None for file in files)
    ]
    warnings = [
        Text(f"{file['file']} does not agree with Keras: {file['cause']}.")
        for file in files
        if file.get("passed") is False
    ]
    step = "A step is the smallest difference that a quantized output can represent."
    return [
        *warnings,
        Table(
            f"Keras and the exported files on the same test {page.example}s; times measured on "
            "this machine",
            ["", *(file["file"] for file in files)],
            rows,
        ),
        Text(f"{page.file_note} {step}".lstrip()),
    ]


def _file_rows(page: TaskPage) -> Sequence[tuple[str, str, str]]:
    """Return the rows of the table of files: heading, key in results["files"], and format."""
    return (
        ("quantization", "quantization", "{}"),
        ("agrees with Keras", "passed", "{}"),
        ("size", "bytes", "{:,.0f} kB"),
        *page.file_rows,
        (f"time per {page.example}, median", "latency_ms", "{:.2f} ms"),
        (f"time per {page.example}, 90th percentile", "latency_p90_ms", "{:.2f} ms"),
    )


def _cell(value: Any, key: str, form: str) -> str:
    """Format one cell of the table of files."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return form.format(value / 1000 if key == "bytes" else value)


def _device(results: Mapping[str, Any], page: TaskPage) -> list[Block]:
    """Return the commands that run the smallest file on a device."""
    devices = [row["file"] for row in results["files"] if row["file"].endswith(".tflite")]
    return page.device(devices[-1]) if devices else []


def _spaced(name: str) -> str:
    """Return the name of a metric as words."""
    return name.replace("_", " ")
