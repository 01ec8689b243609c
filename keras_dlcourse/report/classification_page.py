"""What the page of a run says about image classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_dlcourse.report.blocks import Block, Code, Details, Picture, Pictures, Table, Text
from keras_dlcourse.report.canvas import png_bytes
from keras_dlcourse.report.class_scores import class_scores
from keras_dlcourse.report.confusion import confusion_pairs, draw_confusion_matrix
from keras_dlcourse.report.page import Section
from keras_dlcourse.report.task_page import Row, Shown, TaskPage, describe_device

_CURVES = (
    "Each class against the rest: the true positive rate against the false positive rate, and "
    "precision against recall. On the right: how well scores match the fraction of correct answers."
)
_MISTAKES = (
    "Wrong predictions with the highest scores: the image, and the maps of the true and of the "
    "predicted class (bright: evidence for the class). Check these for wrong labels, unusual "
    "images, and what misled the network."
)
_RIGHT = (
    "One of each class, with the median score of its right answers: the image and the map of the "
    "class. Is the evidence where the object is? If not, the network may be right for the wrong "
    "reason."
)
_MOST_COUNTED = 30  # classes; a larger table of counts is not readable
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
    method = "exact" if test["accuracy"] in (0, 1) else "bootstrap"
    return f"{text}; {interval} with {test['accuracy_level']:.0%} confidence ({method})"


def _figure(test: Mapping[str, Any], key: str) -> str:
    """Format a metric of the test data; empty if unknown."""
    return "" if test.get(key) is None else f"{test[key]:.3f}"


def _details(data: Mapping[str, Any]) -> list[Row]:
    """Return the number and names of the classes."""
    return [("Classes", f"{len(data['classes'])}: {', '.join(data['classes'])}")]


def _sections(
    config: Mapping[str, Any], results: Mapping[str, Any], pictures: Mapping[str, Shown]
) -> list[Section]:
    """Return the sections: confusion matrix, classes, maps, wrong and right answers."""
    names = config["data"]["classes"]
    return [
        Section("Confusion matrix", _confusion(results, names)),
        Section("Next to simple methods", _floor(results)),
        Section("Per-class scores", _classes(results, names, pictures.get("curves"))),
        Section(
            "What the network looks at",
            _maps(pictures.get("maps"), pictures.get("class_means")),
        ),
        Section("Most confident mistakes", _answers(pictures.get("mistakes"), _MISTAKES)),
        Section("Typical right answers", _answers(pictures.get("right"), _RIGHT)),
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
    if len(names) <= _MOST_COUNTED:
        exact = Details("Counts", [_counts(counts, names)])
    else:
        exact = Details("More mistakes", [_mistakes(counts, names, 100)])
    mistakes = _mistakes(counts, names, 10)
    return [picture, exact, mistakes] if mistakes.rows else [picture, exact]


def _mistakes(counts: Sequence[Sequence[int]], names: Sequence[str], limit: int) -> Table:
    """Tabulate the most frequent mistakes."""
    rows = [
        (names[true], names[said], str(count), f"{count / sum(counts[true]):.1%}")
        for true, said, count in confusion_pairs(counts, limit)
    ]
    columns = ["true class", "predicted class", "images", "fraction of the class"]
    return Table(f"Most frequent mistakes, at most {limit}", columns, rows)


def _counts(counts: Sequence[Sequence[int]], names: Sequence[str]) -> Table:
    """Tabulate the confusion matrix."""
    rows = [(name, *map(str, row)) for name, row in zip(names, counts, strict=True)]
    return Table(
        "Test images of each true class (rows) by predicted class (columns)",
        ["true class", *names],
        rows,
    )


def _classes(results: Mapping[str, Any], names: Sequence[str], curves: Shown) -> list[Block]:
    """Tabulate the scores of each class, and show the curves over all thresholds."""
    counts = results.get("confusion_matrix")
    if counts is None or not np.any(counts):
        return []
    rows = [
        (name, *map(_fraction, scores), f"{count:,}")
        for name, *scores, count in class_scores(counts, names).rows()
    ]
    columns = ["class", "precision", "recall", "F1", "test images"]
    blocks: list[Block] = [Table("Scores of each class", columns, rows)]
    if isinstance(curves, bytes):
        alt = "ROC curves, precision against recall of each class, and the reliability diagram."
        blocks.append(Picture(curves, alt, _CURVES, width=900, min_width=760))
        blocks += _curve_figures(results, names)
    return blocks


def _curve_figures(results: Mapping[str, Any], names: Sequence[str]) -> list[Block]:
    """Tabulate what the curves show; runs of earlier versions do not record it."""
    found = results.get("curves")
    if not found:
        return []
    areas = zip(names, found["area"], found["average_precision"], strict=True)
    bins = zip(found["bin_score"], found["bin_right"], found["bin_images"], strict=True)
    tables = [
        Table(
            "Areas under the curves of each class",
            ["class", "area under ROC", "average precision"],
            [(name, *map(_fraction, both)) for name, *both in areas],
        ),
        Table(
            "Test images by the score of their prediction",
            ["mean score", "fraction correct", "images"],
            [(_fraction(score), _fraction(right), f"{n:,}") for score, right, n in bins if n],
        ),
    ]
    return [Details("Figures of the curves", tables)]


def _fraction(value: float | None) -> str:
    """Format a number from 0 to 1; a dash if undefined."""
    return "–" if value is None or np.isnan(value) else f"{value:.3f}"


def _maps(maps: Shown, class_means: Shown) -> list[Block]:
    """Show the class activation maps of some images, and the mean map of each class."""
    blocks: list[Block] = []
    if isinstance(maps, bytes):
        text = Text(
            "Class activation maps: bright regions are evidence for the class. If the prediction "
            "is wrong, compare the maps of the true and the predicted class."
        )
        alt = "Class activation maps of some images, for the true and the predicted class."
        blocks += [text, Picture(maps, alt, width=760, min_width=560)]
    if isinstance(class_means, bytes):
        text = Text(
            "The mean map over the test images of each class, next to the mean image, shows what "
            "the class is recognized by. Evidence that is always in one corner is a shortcut."
        )
        alt = "Mean map of each class over the mean of its test images."
        blocks += [text, Picture(class_means, alt, width=760, min_width=560)]
    return blocks


def _answers(pictures: Shown, text: str) -> list[Block]:
    """Show answers with their maps."""
    if not pictures or isinstance(pictures, bytes):
        return []
    return [Text(text), Pictures(pictures)]


def _use(data: Mapping[str, Any]) -> str:
    """Say what a classifier is for."""
    return (
        f"Tells which of {len(data['classes'])} classes an image shows (their names are below, "
        "under Data), on a device or a server, for images like those it was trained on. Not "
        "intended for images that show none of the classes, nor for decisions about people or "
        "safety that nobody checks."
    )


def _limits(config: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    """Say what a classifier cannot do."""
    found = ["Every image gets one of the classes, even an image that shows none of them."]
    counts, names = results.get("confusion_matrix"), config["data"]["classes"]
    if counts is not None and np.any(counts):
        scores = class_scores(counts, names)
        worst = int(np.nanargmin(scores.recall))
        found.append(
            f"It is weakest at {names[worst]}: {scores.recall[worst]:.0%} of "
            f"{scores.support[worst]:,} test images were recognized."
        )
    if (error := results.get("test", {}).get("calibration_error")) is not None:
        found.append(
            f"A score is not the probability of being right: on average it is {100 * error:.1f} "
            "points off (calibration error)."
        )
    return found


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
    pictures=("maps", "class_means", "mistakes", "right", "curves"),
    file_rows=(
        ("accuracy on test images", "accuracy", "{:.1%}"),
        ("same answer as Keras", "agreement", "{:.1%}"),
        ("largest score difference", "max_error", "{:.2g}"),
        ("mean score difference", "mean_error", "{:.2g}"),
        ("largest difference in steps", "max_error_steps", "{:.1f}"),
    ),
    file_note="Scores are between 0 and 1.",
    device=_device,
    use=_use,
    limits=_limits,
    tag="image-classification",
)
