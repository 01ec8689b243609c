"""What the page of a run says about images with any number of labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_dlcourse.report.blocks import Block, Code, Picture, Pictures, Table, Text
from keras_dlcourse.report.page import Section
from keras_dlcourse.report.task_page import Row, Shown, TaskPage, describe_device

_CURVES = (
    "Precision against recall of each label. The mark is at the threshold that was chosen on the "
    "validation images, which the files for devices contain."
)
_WORST = (
    "Images with a wrong label and the highest loss: the image, and the map of the label that is "
    "most wrong (bright: evidence for it). Check these for missing or wrong labels."
)
_LABEL_COLUMNS = (
    ("average precision", "average_precision"),
    ("threshold", "threshold"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("F1", "f1"),
)


def _figures(test: Mapping[str, Any]) -> list[Row]:
    """Return the mean average precision and further measures of the test part."""
    interval = (
        f"{test['mean_average_precision_low']:.3f} to {test['mean_average_precision_high']:.3f} "
        f"with {test['mean_average_precision_level']:.0%} confidence (bootstrap)"
    )
    return [
        (
            "Test mean average precision",
            f"{test['mean_average_precision']:.3f} on {test['examples']:,} images; {interval}",
        ),
        ("Mean F1 over labels", f"{test['f1']:.3f}"),
        (
            "All labels right",
            f"{test['exact_match']:.1%} of images; always giving the most frequent set of labels: "
            f"{test['exact_match_floor']:.1%}",
        ),
    ]


def _details(data: Mapping[str, Any]) -> list[Row]:
    """Return the labels, and how many training images have each."""
    names, counts = data["classes"], data["images_per_label"]
    listed = ", ".join(f"{name} ({count:,})" for name, count in zip(names, counts, strict=True))
    return [
        ("Labels", f"{len(names)}: {', '.join(names)}"),
        ("Images per label", f"for training: {listed}"),
    ]


def _sections(
    config: Mapping[str, Any], results: Mapping[str, Any], pictures: Mapping[str, Shown]
) -> list[Section]:
    """Return the sections: labels, simple methods, maps, and the worst images."""
    return [
        Section("Scores of each label", _labels(config, results, pictures.get("curves"))),
        Section("Next to simple methods", _floor(results)),
        Section("What the network looks at", _maps(pictures.get("maps"))),
        Section("Worst images", _worst(pictures.get("worst"))),
    ]


def _labels(config: Mapping[str, Any], results: Mapping[str, Any], curves: Shown) -> list[Block]:
    """Tabulate the scores of each label at its threshold, and show the curves."""
    found = results.get("labels")
    if not found:
        return []
    keys = [key for _, key in _LABEL_COLUMNS]
    rows = [
        (name, f"{images:,}", *map(_fraction, values))
        for name, images, *values in zip(
            config["data"]["classes"], found["images"], *(found[key] for key in keys), strict=True
        )
    ]
    columns = ["label", "test images", *(heading for heading, _ in _LABEL_COLUMNS)]
    blocks: list[Block] = [
        Table("Scores of each label on test images, at thresholds from validation", columns, rows)
    ]
    if isinstance(curves, bytes):
        alt = "Precision against recall of each label; the table above has their areas."
        blocks.append(Picture(curves, alt, _CURVES, width=480, min_width=360))
    return blocks


def _fraction(value: float | None) -> str:
    """Format a number from 0 to 1; a dash if undefined."""
    return "–" if value is None else f"{value:.3f}"


def _floor(results: Mapping[str, Any]) -> list[Block]:
    """Tabulate the network next to methods without one."""
    floor = results.get("floor")
    if not floor:
        return []
    found = {"this network": results["test"]["mean_average_precision"], **floor}
    rows = sorted(found.items(), key=lambda item: -item[1])
    return [
        Table(
            "Mean average precision on the same test images",
            ["method", "mean average precision"],
            [(name, f"{value:.3f}") for name, value in rows],
        ),
        Text("A network that is not better than these is not worth its size."),
    ]


def _maps(maps: Shown) -> list[Block]:
    """Show the class activation maps of some images."""
    if not isinstance(maps, bytes):
        return []
    text = Text(
        "Class activation maps of the label with the highest score: bright regions are evidence "
        "for it."
    )
    alt = "Class activation maps of some images, each for the label with the highest score."
    return [text, Picture(maps, alt, width=760, min_width=560)]


def _worst(pictures: Shown) -> list[Block]:
    """Show the images with the worst labels."""
    if not pictures or isinstance(pictures, bytes):
        return []
    return [Text(_WORST), Pictures(pictures)]


def _use(data: Mapping[str, Any]) -> str:
    """Say what the network is for."""
    return (
        f"Tells which of {len(data['classes'])} labels an image has, any number of them or none "
        "(their names are below, under Data), on a device or a server, for images like those it "
        "was trained on. Not intended for decisions about people or safety that nobody checks."
    )


def _limits(config: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    """Say what the network cannot do."""
    limits = [
        "Each label is decided by itself: labels that exclude each other may appear together."
    ]
    found = results.get("labels")
    known = [] if not found else [
        (recall, name, images)
        for name, recall, images in zip(
            config["data"]["classes"], found["recall"], found["images"], strict=True
        )
        if recall is not None
    ]  # fmt: skip
    if known:
        recall, name, images = min(known)
        limits.append(
            f"It is weakest at {name}: {recall:.0%} of {images:,} test images with this label were "
            "recognized."
        )
    return [*limits, "A score is not the probability that the label is right."]


def _device(file: str) -> list[Block]:
    """Return the commands and the code that find the labels of images on a device."""
    code = (
        "from keras_dlcourse.edge import ImageClassifier\n\n"
        f'classifier = ImageClassifier("{file}")\n'
        'for category in classifier.classify("IMAGE.jpg"):  # those at or above their threshold\n'
        "    print(category.label, category.score)"
    )
    return [
        *describe_device(file, f"keras-dlcourse classify {file} IMAGE.jpg", code),
        Text("To create a folder with a runner, requirements, checksums and a service unit:"),
        Code(f"keras-dlcourse bundle {file} --target raspberry-pi -o raspberry_pi"),
        Text(
            "MediaPipe's ImageClassifier, on Android and iOS, knows only one threshold for all "
            "labels: it uses the lowest."
        ),
    ]


MULTILABEL_PAGE = TaskPage(
    metric="mean_average_precision",
    metric_form="{:.3f}",
    figures=_figures,
    details=_details,
    sections=_sections,
    pictures=("maps", "worst", "curves"),
    file_rows=(
        ("right yes or no, mean over labels", "accuracy", "{:.1%}"),
        ("same yes or no as Keras", "agreement", "{:.1%}"),
        ("largest score difference", "max_error", "{:.2g}"),
        ("mean score difference", "mean_error", "{:.2g}"),
        ("largest difference in steps", "max_error_steps", "{:.1f}"),
    ),
    file_note="Scores are between 0 and 1; each label has its own threshold.",
    device=_device,
    use=_use,
    limits=_limits,
    tag="image-classification",
)
