"""What the page of a run says about masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from keras_dlcourse.edge.vision.drawing import category_color, is_background
from keras_dlcourse.report.blocks import Block, Picture, Pictures, Table, Text
from keras_dlcourse.report.canvas import new_figure, png_bytes, shorten
from keras_dlcourse.report.confusion import confusion_pairs, draw_confusion_matrix
from keras_dlcourse.report.page import Section
from keras_dlcourse.report.task_page import Row, Shown, TaskPage, describe_device

MOST_OUTLINES = 1_000  # images whose outlines are compared; each takes milliseconds per class
_TYPICAL = "Images with about the median of the mean IoU: the image, the true mask, the network's."
_WORST = (
    "Images with the lowest mean IoU, likewise. Check these for wrong masks, unusual images, and "
    "what misled the network."
)
_CLASS_COLUMNS = (
    ("IoU", "iou"),
    ("pixels found", "accuracy"),
    ("Dice", "dice"),
    ("boundary F1", "boundary_f1"),
)
_TEST_ROWS = (
    ("Pixel accuracy", "pixel_accuracy", "{:.1%}"),
    ("Mean accuracy of classes", "mean_accuracy", "{:.1%}"),
    ("IoU weighted by the pixels of classes", "frequency_weighted_iou", "{:.3f}"),
    ("Mean Dice coefficient", "mean_dice", "{:.3f}"),
    ("Mean boundary F1", "boundary_f1", "{:.3f}"),
)
_LEGEND_COLUMNS = 6


def _figures(test: Mapping[str, Any]) -> list[Row]:
    """Return the mean IoU and further measures of the test part."""
    mean = f"{test['mean_iou']:.3f} on {test['examples']:,} images"
    if "mean_iou_low" in test:
        mean += (
            f"; {test['mean_iou_low']:.3f} to {test['mean_iou_high']:.3f} with "
            f"{test['mean_iou_level']:.0%} confidence (bootstrap over images)"
        )
    return [
        ("Test mean IoU", mean),
        *(
            (heading, "" if test.get(key) is None else form.format(test[key]))
            for heading, key, form in _TEST_ROWS
        ),
    ]


def _details(data: Mapping[str, Any]) -> list[Row]:
    """Return the classes, and their share of the training pixels."""
    names, images, pixels = (
        data[key] for key in ("classes", "images_per_class", "pixels_per_class")
    )
    listed = ", ".join(
        f"{name} ({count:,}; {of_class / sum(pixels):.1%})"
        for name, count, of_class in zip(names, images, pixels, strict=True)
    )
    return [
        ("Classes", f"{len(names)}: {', '.join(names)}"),
        ("Images per class", f"for training, and the share of the pixels: {listed}"),
        ("Pixels per class", f"for training: {', '.join(f'{count:,}' for count in pixels)}"),
    ]


def _sections(
    config: Mapping[str, Any], results: Mapping[str, Any], pictures: Mapping[str, Shown]
) -> list[Section]:
    """Return the sections: masks, classes, confusion, simple methods, and the worst images."""
    names = config["data"]["classes"]
    return [
        Section("Typical masks", _masks(names, pictures.get("typical"), _TYPICAL)),
        Section("Scores of each class", _classes(results, names)),
        Section("Confusion matrix", _confusion(results, names)),
        Section("Next to simple methods", _floor(results)),
        Section("Worst images", _masks(names, pictures.get("worst"), _WORST)),
    ]


def _masks(names: Sequence[str], pictures: Shown, text: str) -> list[Block]:
    """Show masks, and which class has which color."""
    if not pictures or isinstance(pictures, bytes):
        return []
    alt = f"The colors of the classes {', '.join(names)}."
    legend = Picture(png_bytes(draw_legend(names)), alt, width=760, min_width=560)
    return [Text(text), legend, Pictures(pictures)]


def draw_legend(class_names: Sequence[str]) -> Figure:
    """Draw the color of each class in masks.

    Example:
        >>> len(draw_legend(["background", "cat"]).legends)
        1
    """
    marks = [
        Patch(facecolor=_color(class_names, number), edgecolor="black", label=shorten(name))
        for number, name in enumerate(class_names)
    ]
    columns = min(_LEGEND_COLUMNS, len(marks))
    figure = new_figure(8, 0.15 + 0.25 * -(-len(marks) // columns))
    figure.legend(handles=marks, loc="center", ncols=columns, frameon=False, fontsize=9)
    return figure


def _color(class_names: Sequence[str], number: int) -> str:
    """Return the color of a class; that of the image is left as it is."""
    if is_background(tuple(class_names), number):
        return "none"
    return f"#{bytes(category_color(number)).hex()}"


def _classes(results: Mapping[str, Any], names: Sequence[str]) -> list[Block]:
    """Tabulate the scores of each class."""
    found = results.get("classes")
    if not found:
        return []
    keys = [key for _, key in _CLASS_COLUMNS]
    rows = [
        (name, f"{images:,}", *map(_fraction, values))
        for name, images, *values in zip(
            names, found["images"], *(found[key] for key in keys), strict=True
        )
    ]
    columns = ["class", "test images", *(heading for heading, _ in _CLASS_COLUMNS)]
    return [
        Table("Scores of each class on test images", columns, rows),
        Text(
            "IoU: the pixels that both masks give the class, of those that either does. Boundary "
            "F1: how much of the outlines lies within 0.75 % of the image's diagonal of the true "
            f"ones, mean over images (the first {MOST_OUTLINES:,})."
        ),
    ]


def _fraction(value: float | None) -> str:
    """Format a number from 0 to 1; a dash if undefined."""
    return "–" if value is None else f"{value:.3f}"


def _confusion(results: Mapping[str, Any], names: Sequence[str]) -> list[Block]:
    """Draw the confusion matrix of pixels, and list the most frequent mistakes."""
    counts = results.get("confusion_matrix")
    if counts is None:
        return []
    right, total = sum(counts[i][i] for i in range(len(counts))), sum(map(sum, counts))
    picture = Picture(
        png_bytes(draw_confusion_matrix(counts, names, show="shares"), dpi=130),
        f"Confusion matrix of {len(names)} classes: {right:,} of {total:,} test pixels are "
        "correct. The most frequent mistakes are listed below.",
        "Each row is a true class, each column a predicted class: fractions of the row's pixels.",
        width=max(480, min(900, 200 + 55 * len(names))),
        min_width=min(900, 200 + 40 * len(names)),
    )
    mistakes = [
        (names[true], names[said], f"{count:,}", f"{count / sum(counts[true]):.1%}")
        for true, said, count in confusion_pairs(counts, 10)
    ]
    columns = ["true class", "predicted class", "pixels", "fraction of the class"]
    table = Table("Most frequent mistakes, at most 10", columns, mistakes)
    return [picture, table] if mistakes else [picture]


def _floor(results: Mapping[str, Any]) -> list[Block]:
    """Tabulate the network next to methods without one."""
    floor = results.get("floor")
    if not floor:
        return []
    found = {"this network": results["test"]["mean_iou"], **floor}
    rows = sorted(found.items(), key=lambda item: -item[1])
    return [
        Table(
            "Mean IoU on the same test images",
            ["method", "mean IoU"],
            [(name, f"{value:.3f}") for name, value in rows],
        ),
        Text(
            "A network that is not better than these is not worth its size. The forest that sees "
            "the color and the position of single pixels is tested on a part of the pixels."
        ),
    ]


def _use(data: Mapping[str, Any]) -> str:
    """Say what the network is for."""
    return (
        f"Tells which of {len(data['classes'])} classes each pixel of an image shows (their names "
        "are below, under Data), on a device or a server, for images like those it was trained on. "
        "Not intended for decisions about people or safety that nobody checks."
    )


def _limits(config: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    """Say what the network cannot do."""
    limits = [
        "Every pixel gets one of the classes, also where an image shows none of them.",
        "It does not tell objects of the same class apart.",
    ]
    found = results.get("classes")
    known = [] if not found else [
        (iou, name)
        for iou, name in zip(found["iou"], config["data"]["classes"], strict=True)
        if iou is not None
    ]  # fmt: skip
    if known:
        iou, name = min(known)
        limits.append(f"It is weakest at {name}, with an IoU of {iou:.2f} on test images.")
    return limits


def _device(file: str) -> list[Block]:
    """Return the commands and the code that find the masks of images on a device."""
    code = (
        "from keras_dlcourse.edge import ImageSegmenter, draw_segmentation\n\n"
        f'segmenter = ImageSegmenter("{file}")\n'
        'found = segmenter.segment("IMAGE.jpg")\n'
        "print(found.areas)  # the share of each class\n"
        'draw_segmentation("IMAGE.jpg", found).save("overlay.png")'
    )
    command = f"keras-dlcourse segment {file} IMAGE.jpg -o overlay.png"
    return [
        *describe_device(file, command, code),
        Text(
            "On Android, iOS and the web, the same file works with MediaPipe's ImageSegmenter: "
            "names of classes and normalization are included."
        ),
    ]


SEGMENTATION_PAGE = TaskPage(
    metric="mean_iou",
    metric_form="{:.3f}",
    figures=_figures,
    details=_details,
    sections=_sections,
    pictures=("typical", "worst"),
    file_rows=(
        ("mean IoU", "iou", "{:.3f}"),
        ("pixels with the right class", "accuracy", "{:.1%}"),
        ("same class as Keras", "agreement", "{:.1%}"),
        ("IoU with the masks of Keras", "mask_iou", "{:.3f}"),
        ("largest difference of confidences", "max_error", "{:.2g}"),
        ("mean difference of confidences", "mean_error", "{:.2g}"),
        ("largest difference in steps", "max_error_steps", "{:.1f}"),
    ),
    file_note=(
        "Confidences are between 0 and 1. Where the masks of all test images would not fit into "
        "memory, files are compared on the first ones."
    ),
    device=_device,
    use=_use,
    limits=_limits,
    tag="image-segmentation",
)
