"""What the page of a run says about image classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_dlcourse.report.blocks import Block, Code, Picture, Table, Text
from keras_dlcourse.report.canvas import png_bytes
from keras_dlcourse.report.class_scores import class_scores
from keras_dlcourse.report.confusion import confusion_pairs, draw_confusion_matrix
from keras_dlcourse.report.page import Section
from keras_dlcourse.report.task_page import Row, TaskPage, describe_device

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


def _figures(test: Mapping[str, Any]) -> list[Row]:
    """Return the accuracy and further measures of the test part."""
    return [
        ("Test accuracy", _accuracy(test)),
        *((heading, _figure(test, key)) for heading, key in _TEST_ROWS),
    ]


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


def _details(data: Mapping[str, Any]) -> list[Row]:
    """Return the number and names of the classes."""
    return [("Classes", f"{len(data['classes'])}: {', '.join(data['classes'])}")]


def _sections(
    config: Mapping[str, Any], results: Mapping[str, Any], pictures: Mapping[str, bytes | None]
) -> list[Section]:
    """Return the sections: confusion matrix, classes, maps and mistakes."""
    names = config["data"]["classes"]
    return [
        Section("Confusion matrix", _confusion(results, names)),
        Section("Next to simple methods", _floor(results)),
        Section("Per-class scores", _classes(results, names, pictures.get("curves"))),
        Section(
            "What the network looks at",
            _maps(pictures.get("maps"), pictures.get("class_means")),
        ),
        Section("Most confident mistakes", _mistakes(pictures.get("mistakes"))),
    ]


def _floor(results: Mapping[str, Any]) -> list[Block]:
    """Tabulate the accuracy of the network next to that of methods without one."""
    floor = results.get("floor")
    if not floor:
        return []
    found = {"this network": results["test"]["accuracy"], **floor}
    rows = sorted(found.items(), key=lambda item: -item[1])
    return [
        Table(
            "Accuracy on the same test images",
            ["method", "accuracy"],
            [(name, f"{accuracy:.1%}") for name, accuracy in rows],
        ),
        Text("A network that is not better than these is not worth its size."),
    ]


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


def _device(file: str) -> list[Block]:
    """Return the commands and the code that classify images on a device."""
    code = (
        "from keras_dlcourse.edge import ImageClassifier\n\n"
        f'classifier = ImageClassifier("{file}")\n'
        'for category in classifier.classify("IMAGE.jpg", max_results=3):\n'
        "    print(category.label, category.score)"
    )
    return [
        *describe_device(file, f"keras-dlcourse classify {file} IMAGE.jpg", code),
        Text("To create a folder with a runner, requirements, checksums and a service unit:"),
        Code(f"keras-dlcourse bundle {file} --target raspberry-pi -o raspberry_pi"),
        Text(
            "On Android and iOS the same file works with MediaPipe's ImageClassifier: labels and "
            "normalization are included."
        ),
    ]


CLASSIFICATION_PAGE = TaskPage(
    metric="accuracy",
    metric_form="{:.1%}",
    figures=_figures,
    details=_details,
    sections=_sections,
    pictures=("maps", "class_means", "mistakes", "curves"),
    file_rows=(
        ("accuracy on test images", "accuracy", "{:.1%}"),
        ("same answer as Keras", "agreement", "{:.1%}"),
        ("largest score difference", "max_error", "{:.2g}"),
        ("mean score difference", "mean_error", "{:.2g}"),
        ("largest difference in steps", "max_error_steps", "{:.1f}"),
    ),
    file_note="Scores are between 0 and 1.",
    device=_device,
)
