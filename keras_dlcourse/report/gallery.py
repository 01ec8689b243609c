"""Right and wrong answers, each with the maps that explain it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from keras_dlcourse.edge.results import Segmentation
from keras_dlcourse.edge.vision.drawing import draw_segmentation
from keras_dlcourse.report.blocks import Picture
from keras_dlcourse.report.maps import overlay, to_rgb

_SIDE, _GAP = 112, 6  # pixels: height of a panel, and space between two of them
_MASK_OPACITY = 0.6


def typical_answers(labels: ArrayLike, scores: ArrayLike, limit: int = 12) -> NDArray[np.int64]:
    """Find right predictions that are neither the clearest nor the narrowest of their class.

    Args:
        labels: True classes, integers, shape `(n,)`.
        scores: Scores of all classes, shape `(n, classes)`.
        limit: Maximum number of indices.

    Returns:
        Indices into `labels`, one for each class with a right prediction: that with the median
        score. With more classes than `limit`, evenly spaced ones are chosen.

    Example:
        >>> typical_answers([0, 0, 0, 1], [[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.8, 0.2]]).tolist()
        [2]
    """
    true, values = np.asarray(labels), np.asarray(scores)
    right = np.flatnonzero(values.argmax(axis=1) == true)
    classes = np.unique(true[right])
    if len(classes) > limit:
        classes = classes[np.linspace(0, len(classes) - 1, limit).astype(int)]
    found = []
    for one in classes:
        members = right[true[right] == one]
        found.append(members[np.argsort(values[members, one])[len(members) // 2]])
    return np.asarray(found, np.int64)


def draw_answers(
    pixels: ArrayLike,
    maps: ArrayLike,
    scores: ArrayLike,
    predictions: Sequence[int] | NDArray,
    labels: Sequence[int] | NDArray,
    class_names: Sequence[str],
) -> list[Picture]:
    """Draw each image next to the map of its true class and, if it is another, the predicted one.

    The captions are text of the page, so they can be read in any size and on dark ground.

    Args:
        pixels: Images, uint8, shape `(n, height, width, 1 or 3)`.
        maps: Maps with values from 0 to 1, `(n, 2, height, width)`: of the true and of the
            predicted class.
        scores: The scores of those classes, 0 to 1, shape `(n, 2)`.
        predictions: Predicted classes, length n.
        labels: True classes, length n.
        class_names: A name for each class.

    Returns:
        One picture per image.

    Example:
        >>> image, maps = np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 2, 8, 8))
        >>> draw_answers(image, maps, [[0.2, 0.8]], [1], [0], ["cat", "dog"])[0].caption
        '✗ cat (20%), predicted dog (80%)'
    """
    # Of a right answer, both maps are the same.
    kinds = 1 + (np.asarray(labels) != np.asarray(predictions))
    names = [
        (class_names[true], class_names[said])
        for true, said in zip(labels, predictions, strict=True)
    ]
    rows = zip(np.asarray(pixels), np.asarray(maps), np.asarray(scores), names, kinds, strict=True)
    return [
        _draw_answer(to_rgb(image), planes[:kind], values, *pair)
        for image, planes, values, pair, kind in rows
    ]


def draw_labels(
    pixels: ArrayLike, maps: ArrayLike, captions: Sequence[str], alts: Sequence[str]
) -> list[Picture]:
    """Draw each image next to the map of one of its labels.

    Args:
        pixels: Images, uint8, shape `(n, height, width, 1 or 3)`.
        maps: Maps with values from 0 to 1, `(n, height, width)`.
        captions: A caption for each.
        alts: A text for those who cannot see it, for each.

    Returns:
        One picture per image.

    Example:
        >>> image, maps = np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 8, 8))
        >>> draw_labels(image, maps, ["cat, not dog"], ["An image."])[0].caption
        'cat, not dog'
    """
    rows = zip(map(to_rgb, np.asarray(pixels)), np.asarray(maps), captions, alts, strict=True)
    return [
        Picture(_join([_resize(image), _resize(overlay(image, plane))]), alt, caption)
        for image, plane, caption, alt in rows
    ]


def draw_masks(
    pixels: ArrayLike,
    true: ArrayLike,
    predicted: ArrayLike,
    class_names: Sequence[str],
    captions: Sequence[str],
    alts: Sequence[str],
) -> list[Picture]:
    """Draw each image next to its true and its predicted mask, in colors over the image.

    The colors are those of `kd.edge.draw_segmentation`.

    Args:
        pixels: Images, uint8, shape `(n, height, width, 1 or 3)`.
        true: True class numbers, `(n, height, width)`; 255 where a pixel has no label.
        predicted: Predicted class numbers of the same shape.
        class_names: A name for each class.
        captions: A caption for each image.
        alts: A text for those who cannot see it, for each.

    Returns:
        One picture per image.

    Example:
        >>> image, mask = np.zeros((1, 8, 8, 1), "uint8"), np.zeros((1, 8, 8), "uint8")
        >>> draw_masks(image, mask, mask, ["ground", "house"], ["all right"], [""])[0].caption
        'all right'
    """
    names = tuple(class_names)
    masks = zip(np.asarray(true, "uint8"), np.asarray(predicted, "uint8"), strict=True)
    rows = zip(np.asarray(pixels), masks, captions, alts, strict=True)
    return [
        Picture(
            _join(
                [
                    _resize(to_rgb(image)),
                    *(_resize(_paint(image, mask, names) / 255) for mask in pair),
                ]
            ),
            alt,
            caption,
        )
        for image, pair, caption, alt in rows
    ]


def _paint(image: NDArray, mask: NDArray, names: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return an image with a mask over it."""
    return np.asarray(draw_segmentation(image, Segmentation(names, mask), _MASK_OPACITY))


def _draw_answer(image: NDArray, maps: NDArray, scores: NDArray, true: str, said: str) -> Picture:
    """Draw one image with its maps: one if the answer is right, otherwise two."""
    panels = [image, *(overlay(image, plane) for plane in maps)]
    if len(maps) == 1:
        caption = f"✓ {true} ({scores[0]:.0%})"
        alt = f"An image of {true}, recognized; next to it the map of {true}."
    else:
        caption = f"✗ {true} ({scores[0]:.0%}), predicted {said} ({scores[1]:.0%})"
        alt = f"An image of {true}, predicted as {said}; next to it the maps of {true} and {said}."
    return Picture(_join([_resize(panel) for panel in panels]), alt, caption)


def _resize(panel: NDArray) -> NDArray[np.uint8]:
    """Return a panel of the common height; small images keep their pixels visible."""
    height, width = panel.shape[:2]
    size = max(1, round(_SIDE * width / height)), _SIDE
    method = Image.Resampling.NEAREST if height < _SIDE else Image.Resampling.LANCZOS
    image = Image.fromarray(np.round(255 * panel).astype(np.uint8))
    return np.asarray(image.resize(size, method))


def _join(panels: Sequence[NDArray[np.uint8]]) -> bytes:
    """Return panels side by side as a PNG file."""
    space = np.full((_SIDE, _GAP, 3), 255, np.uint8)
    parts = [part for panel in panels for part in (space, panel)][1:]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(parts, axis=1)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
