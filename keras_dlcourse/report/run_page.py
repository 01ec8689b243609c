"""The page of one training run, created from the files in its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_dlcourse.report.blocks import Block, Code, Picture, Pictures, Table, Text
from keras_dlcourse.report.canvas import png_bytes
from keras_dlcourse.report.class_scores import class_scores
from keras_dlcourse.report.confusion import confusion_pairs, draw_confusion_matrix
from keras_dlcourse.report.figures import draw_learning_curve
from keras_dlcourse.report.page import Section, write_page

# Rows of the table of files: heading, key in results["files"], and format.
_FILE_ROWS = (
    ("quantization", "quantization", "{}"),
    ("agrees with Keras", "passed", "{}"),
    ("size", "bytes", "{:,.0f} kB"),
    ("accuracy on test images", "accuracy", "{:.1%}"),
    ("same answer as Keras", "agreement", "{:.1%}"),
    ("largest score difference", "max_error", "{:.2g}"),
    ("mean score difference", "mean_error", "{:.2g}"),
    ("largest difference in steps", "max_error_steps", "{:.1f}"),
    ("time per image, median", "latency_ms", "{:.2f} ms"),
    ("time per image, 90th percentile", "latency_p90_ms", "{:.2f} ms"),
)

_CURVES = (
    "Each class against the rest: the true positive rate against the false positive rate, and "
    "precision against recall. On the right: how well scores match the fraction of correct answers."
)
# Test results below the accuracy: heading and key in results["test"].
_TEST_ROWS = (
    ("Mean F1 over classes", "f1"),
    ("Mean area under ROC", "area"),
    ("Calibration error", "calibration_error"),
)


def write_run_page(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    history: Mapping[str, Sequence[float]],
    results: Mapping[str, Any],
    maps: bytes | None = None,
    mistakes: bytes | None = None,
    class_means: bytes | None = None,
    curves: bytes | None = None,
) -> None:
    """Write the `report.html` of a run.

    Args:
        path: The file to write.
        config: The content of the run's `config.json`.
        history: A list for each column of `history.csv`.
        results: The content of the run's `results.json`.
        maps: PNG file of the class activation maps, if any.
        mistakes: PNG file of the most confident mistakes, if any.
        class_means: PNG file of the mean map of each class, if any.
        curves: PNG file of `draw_evaluation`, if any.

    Example:
        >>> import json, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
        >>> config = {"model": "mobilenet_v2", "data": {"name": "shapes", "classes": ["a", "b"]}}
        >>> results = {"epochs": 1, "interrupted": True, "files": []}
        >>> write_run_page(path, config, {"loss": [0.5]}, results)
        >>> "Nothing was exported" in path.read_text()
        True
    """
    names = config["data"]["classes"]
    sections = [
        Section("Summary", _summary(config, results)),
        Section("Learning curves", _curves(history, results)),
        Section("Confusion matrix", _confusion(results, names)),
        Section("Per-class scores", _classes(results, names, curves)),
        Section("What the network looks at", _maps(maps, class_means)),
        Section("Most confident mistakes", _mistakes(mistakes)),
        Section("Exported files", _files(results)),
        Section("Run it on a device", _device(results)),
    ]
    write_page(
        path,
        f"{config['model']} on {config['data']['name']}",
        config.get("started", ""),
        [section for section in sections if section.blocks],
    )


def _summary(config: Mapping[str, Any], results: Mapping[str, Any]) -> list[Block]:
    """Summarize the results, the data and the model."""
    data, seconds, test = config["data"], results.get("seconds", {}), results.get("test")
    kept = results.get("best_epoch")
    rows = [
        ("Test accuracy", test and _accuracy(test)),
        *((heading, _figure(test or {}, key)) for heading, key in _TEST_ROWS),
        ("Validation accuracy", kept and f"{results['validation_accuracy']:.1%}, epoch {kept}"),
        ("Epochs", f"{results['epochs']} of {config.get('epochs', results['epochs'])}"),
        ("Model", _model(config)),
        ("Data", _data(data)),
        ("Classes", f"{len(data['classes'])}: {', '.join(data['classes'])}"),
        ("Time", ", ".join(f"{part} {_duration(s)}" for part, s in seconds.items())),
        ("Versions", ", ".join(f"{k} {v}" for k, v in config.get("versions", {}).items())),
    ]
    blocks: list[Block] = []
    if results.get("interrupted"):
        blocks.append(Text("This run was interrupted; the best weights up to then were kept."))
    table = Table("Run summary", [], [(key, str(value)) for key, value in rows if value])
    note = Text(
        "Test images were used neither for training nor to choose the epoch whose weights were "
        "kept."
    )
    return [*blocks, table, *([note] if test else [])]


def _accuracy(test: Mapping[str, Any]) -> str:
    """Format the test accuracy, with its interval if known."""
    text = f"{test['accuracy']:.1%} of {test['examples']:,} images"
    if "accuracy_low" not in test:
        return text
    interval = f"{test['accuracy_low']:.1%} to {test['accuracy_high']:.1%}"
    return f"{text}; {interval} with {test['accuracy_level']:.0%} confidence (bootstrap)"


def _figure(test: Mapping[str, Any], key: str) -> str:
    """Format a metric of the test data; empty if unknown."""
    return "" if test.get(key) is None else f"{test[key]:.3f}"


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


def _data(data: Mapping[str, Any]) -> str:
    """Describe the data in one line."""
    parts = [f"{data[part]:,} {part}" for part in ("train", "validation", "test") if part in data]
    return f"{data['name']}: {', '.join(parts)} images" if parts else str(data["name"])


def _duration(seconds: float) -> str:
    """Format a duration in minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _curves(history: Mapping[str, Sequence[float]], results: Mapping[str, Any]) -> list[Block]:
    """Draw the loss and accuracy over the epochs."""
    pictures = []
    for metric in ("loss", "accuracy"):
        if history.get(metric):
            figure = draw_learning_curve(history, metric, results.get("best_epoch"))
            pictures.append(Picture(png_bytes(figure), _curve_alt(history, metric), width=520))
    return [Pictures(pictures)] if pictures else [Text("No epoch was completed.")]


def _curve_alt(history: Mapping[str, Sequence[float]], metric: str) -> str:
    """Describe a learning curve as alternative text."""
    training, validation = history[metric], history.get(f"val_{metric}")
    text = f"{metric} over {len(training)} epochs: training ends at {training[-1]:.3f}"
    return f"{text}, validation at {validation[-1]:.3f}." if validation else f"{text}."


def _confusion(results: Mapping[str, Any], names: Sequence[str]) -> list[Block]:
    """Draw the confusion matrix and list the most frequent mistakes."""
    counts = results.get("confusion_matrix")
    if counts is None:
        return []
    right, total = sum(counts[i][i] for i in range(len(counts))), sum(map(sum, counts))
    alt = f"Confusion matrix of {len(names)} classes: {right} of {total} test images are correct."
    picture = Picture(
        png_bytes(draw_confusion_matrix(counts, names), dpi=130),
        alt + " The most frequent mistakes are listed below.",
        "Each row is a true class, each column a predicted class; colors are fractions of the row.",
        width=max(480, min(900, 200 + 55 * len(names))),
        min_width=min(900, 200 + 40 * len(names)),
    )
    pairs = [
        (names[true], names[said], str(count), f"{count / sum(counts[true]):.1%}")
        for true, said, count in confusion_pairs(counts)
    ]
    columns = ["true class", "predicted class", "images", "fraction of the class"]
    return [picture, *([Table("Most frequent mistakes", columns, pairs)] if pairs else [])]


def _classes(results: Mapping[str, Any], names: Sequence[str], curves: bytes | None) -> list[Block]:
    """Tabulate the scores of each class, and show the curves over all thresholds."""
    counts = results.get("confusion_matrix")
    if counts is None or not np.any(counts):
        return []
    rows = [
        (name, *("–" if one is None else f"{one:.3f}" for one in scores), f"{count:,}")
        for name, *scores, count in class_scores(counts, names).rows()
    ]
    columns = ["class", "precision", "recall", "F1", "test images"]
    blocks: list[Block] = [Table("Scores of each class", columns, rows)]
    if curves is not None:
        alt = "ROC curves, precision against recall of each class, and the reliability diagram."
        blocks.append(Picture(curves, alt, _CURVES, width=900, min_width=760))
    return blocks


def _maps(maps: bytes | None, class_means: bytes | None) -> list[Block]:
    """Show the class activation maps of some images, and the mean map of each class."""
    blocks: list[Block] = []
    if maps is not None:
        text = Text(
            "Class activation maps: bright regions are evidence for the class. If the prediction "
            "is wrong, compare the maps of the true and the predicted class."
        )
        alt = "Class activation maps of some images, for the true and the predicted class."
        blocks += [text, Picture(maps, alt, width=760, min_width=560)]
    if class_means is not None:
        text = Text(
            "The mean map over the test images of each class, next to the mean image, shows what "
            "the class is recognized by. Evidence that is always in one corner is a shortcut."
        )
        alt = "Mean map of each class over the mean of its test images."
        blocks += [text, Picture(class_means, alt, width=760, min_width=560)]
    return blocks


def _mistakes(mistakes: bytes | None) -> list[Block]:
    """Show the most confident mistakes."""
    if mistakes is None:
        return []
    return [
        Text(
            "Wrong predictions with the highest scores, with the maps of the true and predicted "
            "class. Check these for wrong labels, unusual images, and what misled the network."
        ),
        Picture(
            mistakes,
            "Test images with the most confident wrong predictions, and their maps.",
            width=760,
            min_width=560,
        ),
    ]


def _files(results: Mapping[str, Any]) -> list[Block]:
    """Tabulate the exported files next to the Keras model, one column per file."""
    files = results["files"]
    if not files:
        return [Text("Nothing was exported in this run.")]
    rows = [
        (heading, *(_cell(file.get(key), key, form) for file in files))
        for heading, key, form in _FILE_ROWS
        if any(file.get(key) is not None for file in files)
    ]
    warnings = [
        Text(f"{file['file']} does not agree with Keras: {file['cause']}.")
        for file in files
        if file.get("passed") is False
    ]
    return [
        *warnings,
        Table(
            "Keras and the exported files on the same test images; times measured on this machine",
            ["", *(file["file"] for file in files)],
            rows,
        ),
        Text(
            "Scores are between 0 and 1. A step is the smallest difference that a quantized "
            "output can represent."
        ),
    ]


def _cell(value: Any, key: str, form: str) -> str:
    """Format one cell of the table of files."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return form.format(value / 1000 if key == "bytes" else value)


def _device(results: Mapping[str, Any]) -> list[Block]:
    """Return the commands that run the smallest file on a device."""
    devices = [row["file"] for row in results["files"] if row["file"].endswith(".tflite")]
    if not devices:
        return []
    file = devices[-1]
    return [
        Text("On a Raspberry Pi or another Linux machine, without TensorFlow or Keras:"),
        Code(
            "pip install 'keras-dlcourse[edge]'\n"
            f"keras-dlcourse classify {file} IMAGE.jpg\n"
            f"keras-dlcourse benchmark {file}"
        ),
        Text("In Python:"),
        Code(
            "from keras_dlcourse.edge import ImageClassifier\n\n"
            f'classifier = ImageClassifier("{file}")\n'
            'for category in classifier.classify("IMAGE.jpg", max_results=3):\n'
            "    print(category.label, category.score)"
        ),
        Text("To create a folder with a runner, requirements, checksums and a service unit:"),
        Code(f"keras-dlcourse bundle {file} --target raspberry-pi -o raspberry_pi"),
        Text(
            "On Android and iOS the same file works with MediaPipe's ImageClassifier: labels and "
            "normalization are included."
        ),
    ]
