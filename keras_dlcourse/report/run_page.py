"""The page and the model card of one training run, created from the files in its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_dlcourse._durations import format_duration
from keras_dlcourse._files import user_path, write_text
from keras_dlcourse.report import model_card
from keras_dlcourse.report.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    Link,
    Notice,
    Pictures,
    Table,
    Text,
)
from keras_dlcourse.report.chart import Chart, Line
from keras_dlcourse.report.classification_page import CLASSIFICATION_PAGE
from keras_dlcourse.report.facts import (
    describe_data,
    describe_machine,
    read_recipe,
    spaced,
)
from keras_dlcourse.report.page import Section, write_page
from keras_dlcourse.report.task_page import Shown, TaskPage

# The files of a run besides the exported ones, and what they hold.
_FILES = (
    ("model.keras", "the Keras model with the weights that were kept"),
    ("model.int8.keras", "its copy trained in integers, which model.int8.tflite was made from"),
    ("checkpoints.json", "the SHA-256 of model.keras"),
    ("config.json", "recipe, data, machine and versions"),
    ("split.json", "which images were in which part, by their SHA-256"),
    ("history.csv", "the metrics of every epoch"),
    ("results.json", "all results"),
    ("maps", "pictures drawn during training"),
)


def write_run_page(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    history: Mapping[str, Sequence[float]],
    results: Mapping[str, Any],
    pictures: Mapping[str, Shown] | None = None,
    page: TaskPage = CLASSIFICATION_PAGE,
) -> None:
    """Write the `report.html` of a run, and `model_card.md` beside it.

    Args:
        path: The HTML file to write, in the folder of the run. Files of the run that are there are
            linked.
        config: The content of the run's `config.json`.
        history: A list for each column of `history.csv`.
        results: The content of the run's `results.json`.
        pictures: PNG files by name, or lists of `Picture`; None as a value for one that there is
            not. For classification: `maps`, the class activation maps; `class_means`, the mean map
            of each class; `mistakes` and `right`, lists of answers with their maps; `curves`, of
            `draw_evaluation`.
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
        >>> sorted(file.name for file in path.parent.iterdir())
        ['model_card.md', 'report.html']
    """
    pictures = pictures or {}
    unknown = [name for name in pictures if name not in page.pictures]
    if unknown:
        raise ValueError(
            f"pictures must have names that the page shows: {', '.join(page.pictures) or 'none'}. "
            f"Received: {', '.join(unknown)}"
        )
    path = user_path(path)
    verdict = Section("Verdict", [_judge(results)])
    summary = Section("Summary", _summary(config, results, page))
    curves = Section("Learning curves", _curves(history, results, page))
    measured = [
        *page.sections(config, results, pictures),
        Section("Exported files", _files(results, page, path.parent)),
    ]
    device = Section("Run it on a device", _device(results, page))
    use = Section("Intended use", [Text(page.use(config["data"]))])
    limits = Section("Limits", [Bullets(_limits(config, results, page))])
    data = Section("Data", _data_blocks(config, page))
    training = Section("How it was trained", _training(config, results))
    listing = Section("Files of this run", _listing(results, path))
    title = f"{config['model']} on {config['data']['name']}"
    card = model_card.render_card(
        title,
        {"library_name": "keras", "pipeline_tag": page.tag},
        {
            "Model description": [verdict, summary],
            "Intended use": [use],
            "Limits": [limits],
            "Data": [data],
            "Training": [training],
            # What a section without figures would say is in its tables.
            "Evaluation": [one for one in measured if _has_table(one)],
            "How to use": [device],
            "Files": [listing],
        },
    )
    write_text(path.with_name(model_card.FILE), card)
    shown = [verdict, summary, curves, *measured, device, use, limits, data, training, listing]
    write_page(
        path, title, config.get("started", ""), [section for section in shown if section.blocks]
    )


def _has_table(section: Section) -> bool:
    return any(isinstance(block, Table) for block in section.blocks)


def _judge(results: Mapping[str, Any]) -> Notice:
    """Return the verdict on the run, or why there is none."""
    if results.get("interrupted"):
        return Notice(
            "interrupted",
            "Training was stopped early; the best weights up to then were kept, and nothing was "
            "exported.",
        )
    if "verdict" not in results:
        return Notice("not judged", "The run was not complete when this page was written.")
    verdict = results["verdict"]
    reasons = [f"{_capital(reason['text'])}. {reason['advice']}." for reason in verdict["reasons"]]
    return Notice(verdict["level"], "" if reasons else "No problems found.", reasons)


def _capital(text: str) -> str:
    """Return a sentence with a capital letter, unless it begins with the name of a file."""
    return text if "." in text.partition(" ")[0] else text[:1].upper() + text[1:]


def _summary(config: Mapping[str, Any], results: Mapping[str, Any], page: TaskPage) -> list[Block]:
    """Summarize the results, the data and the model."""
    test = results.get("test")
    rows = [
        *(page.figures(test) if test else []),
        (f"Validation {spaced(page.metric)}", _validation(results, page)),
        ("Epochs", f"{results['epochs']} of {config.get('epochs') or results['epochs']}"),
        ("Model", _model(config)),
        ("Data", _data(config["data"], page)),
    ]
    table = Table("Run summary", [], [row for row in rows if row[1]])
    note = Text(
        f"Test {page.example}s were used neither for training nor to choose the epoch whose "
        "weights were kept."
    )
    return [table, *([note] if test else [])]


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


def _curves(
    history: Mapping[str, Sequence[float]], results: Mapping[str, Any], page: TaskPage
) -> list[Block]:
    """Draw the loss and the metric over the epochs."""
    forms = {"loss": "{:.4g}", page.metric: page.metric_form}
    charts = [
        Chart(
            spaced(metric),
            [
                Line(name, history[column])
                for name, column in (("training", metric), ("validation", f"val_{metric}"))
                if history.get(column)
            ],
            _curve_alt(history, metric),
            form,
            mark=results.get("best_epoch"),
        )
        for metric, form in forms.items()
        if history.get(metric)
    ]
    return [Pictures(charts)] if charts else [Text("No epoch was completed.")]


def _curve_alt(history: Mapping[str, Sequence[float]], metric: str) -> str:
    """Describe a learning curve as alternative text."""
    training, validation = history[metric], history.get(f"val_{metric}")
    text = f"{metric} over {len(training)} epochs: training ends at {training[-1]:.3f}"
    return f"{text}, validation at {validation[-1]:.3f}." if validation else f"{text}."


def _files(results: Mapping[str, Any], page: TaskPage, folder: Path) -> list[Block]:
    """Tabulate the exported files next to the Keras model, one column per file."""
    files = results["files"]
    if not files:
        return [Text("Nothing was exported in this run.")]
    rows = [
        ("file", *(_link(folder, file["file"]) for file in files)),
        *file_rows(files, page),
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
            ["", *(file.get("quantization") or file["file"] for file in files)],
            rows,
        ),
        Text(f"{page.file_note} {step}".lstrip()),
    ]


def file_rows(files: Sequence[Mapping[str, Any]], page: TaskPage) -> list[tuple[str, ...]]:
    """Return what was measured of some files: headings and one cell per file.

    Args:
        files: Entries of `results["files"]`.
        page: What the task adds to the page.

    Returns:
        The rows for which at least one file has a value.
    """
    measured = (
        ("agrees with Keras", "passed", "{}"),
        ("size", "bytes", "{:,.0f} kB"),
        *page.file_rows,
        (f"time per {page.example}, median", "latency_ms", "{:.2f} ms"),
        (f"time per {page.example}, 90th percentile", "latency_p90_ms", "{:.2f} ms"),
    )
    return [
        (heading, *(_cell(file.get(key), key, form) for file in files))
        for heading, key, form in measured
        if any(file.get(key) is not None for file in files)
    ]


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


def _limits(config: Mapping[str, Any], results: Mapping[str, Any], page: TaskPage) -> list[str]:
    """Return what the model cannot do, or what nobody knows about it."""
    where = f"The figures hold for {page.example}s like the test {page.example}s."
    reasons = results.get("verdict", {}).get("reasons", [])
    return [
        f"{where} Elsewhere, such as with another camera, light or place, test it again before "
        "you rely on it.",
        *page.limits(config, results),
        *(f"{_capital(reason['text'])}." for reason in reasons),
    ]


def _data_blocks(config: Mapping[str, Any], page: TaskPage) -> list[Block]:
    """Tabulate what is known about the data."""
    details = page.details(config["data"])
    told = {heading.lower() for heading, _ in details}
    more = [row for row in describe_data(config).items() if row[0].lower() not in told]
    return [Table("The data of this run", [], [*more, *details])]


def _training(config: Mapping[str, Any], results: Mapping[str, Any]) -> list[Block]:
    """Return the command, the recipe with its reasons, the machine, and the times."""
    times = {
        f"time, {part}": format_duration(one) for part, one in results.get("seconds", {}).items()
    }
    machine = {**describe_machine(config), **times}
    reasons = [f"{_capital(reason.rstrip('.'))}." for reason in config.get("reasons", [])]
    blocks: list[Block] = [
        Table("Recipe", ["setting", "value"], list(read_recipe(config).items())),
        *([Bullets(reasons)] if reasons else []),
        *([Table("Machine, versions and time", [], list(machine.items()))] if machine else []),
    ]
    if command := config.get("command"):
        return [Text("The command that made this run:"), Code(command), *blocks]
    return [Text("Made in Python, by kd.training.run with this recipe."), *blocks]


def _listing(results: Mapping[str, Any], page: Path) -> list[Block]:
    """Link the files of the run that are there."""
    exported = [
        (row["file"], f"the {row.get('quantization')} file for devices")
        for row in results["files"]
        if row["file"].endswith(".tflite")
    ]
    rows = [
        (Link(name), text) for name, text in (*_FILES, *exported) if (page.parent / name).exists()
    ]
    written = [
        (Link(page.name), "everything about the run on one page"),
        (Link(model_card.FILE), "the same as a model card, in Markdown"),
    ]
    return [Table("Files in the folder of this run", ["file", "content"], [*written, *rows])]


def _link(folder: Path, name: str) -> Cell:
    """Return a link to a file of the run, if it is there."""
    return Link(name) if (folder / name).exists() else name
