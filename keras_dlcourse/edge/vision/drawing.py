"""Draw detected objects and masks into images with Pillow."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_dlcourse._checks import check_number
from keras_dlcourse.edge.results import BACKGROUND, NO_CATEGORY, Detection, Segmentation
from keras_dlcourse.edge.vision.images import read_image

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from keras_dlcourse.edge.results import BoundingBox

# Colors of box, points and outlines, from the color-blind-safe palette of Okabe and Ito.
_BOX, _POINT, _EDGE = (230, 159, 0), (0, 158, 115), (0, 0, 0)
# The same palette without black, for the first classes of masks.
_CLASSES = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167),
)  # fmt: skip
_GOLDEN = 0.618034  # of the circle of hues: further colors are far from those before


def draw_detection(image: Any, detection: Detection) -> Image:
    """Return an image with the box, the most likely class and the keypoints of an object drawn in.

    Args:
        image: The image of the detection: a path, bytes, PIL image, or uint8 array.
        detection: Result of `ObjectLocalizer.locate` or `KeypointDetector.detect`.

    Returns:
        An RGB PIL image of the same size.

    Raises:
        InvalidImage: If the image cannot be read.

    Example:
        >>> detection = localizer.locate("photo.jpg")  # doctest: +SKIP
        >>> draw_detection("photo.jpg", detection).save("boxes.png")  # doctest: +SKIP
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(read_image(image))
    drawing = ImageDraw.Draw(picture)
    line = max(1, round(min(picture.size) / 150))  # proportional to the picture size
    box = detection.bounding_box
    if box is not None:
        _draw_box(drawing, box, line)
    for point in detection.keypoints:
        x, y, reach = point.x * picture.width, point.y * picture.height, 2 * line + 1
        around = (x - reach, y - reach, x + reach, y + reach)
        drawing.ellipse(around, fill=_POINT, outline=_EDGE)
    if detection.categories:
        best = detection.categories[0]
        corner = (0, 0) if box is None else (box.origin_x, box.origin_y)
        _draw_text(drawing, f"{best.label} {best.score:.0%}", corner, picture.size, line)
    return picture


def draw_detections(image: Any, detections: Sequence[Detection]) -> Image:
    """Return an image with the box of each object drawn in, in the color of its class.

    Each box has the name and score of its most likely class. Boxes with higher scores are drawn
    over others. The colors are those of masks, see `draw_segmentation`.

    Args:
        image: The image of the detections: a path, bytes, PIL image, or uint8 array.
        detections: Result of `ObjectDetector.detect`.

    Returns:
        An RGB PIL image of the same size.

    Raises:
        InvalidImage: If the image cannot be read.

    Example:
        >>> detections = detector.detect("photo.jpg")  # doctest: +SKIP
        >>> draw_detections("photo.jpg", detections).save("boxes.png")  # doctest: +SKIP
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(read_image(image))
    drawing = ImageDraw.Draw(picture)
    line = max(1, round(min(picture.size) / 150))  # proportional to the picture size
    for detection in reversed(detections):
        box, best = detection.bounding_box, next(iter(detection.categories), None)
        color = _BOX if best is None else category_color(best.index)
        if box is not None:
            _draw_box(drawing, box, line, color)
        if box is not None and best is not None:
            text, corner = f"{best.label} {best.score:.0%}", (box.origin_x, box.origin_y)
            _draw_text(drawing, text, corner, picture.size, line, color)
    return picture


def _draw_box(
    drawing: ImageDraw, box: BoundingBox, line: int, color: tuple[int, int, int] = _BOX
) -> None:
    """Draw the box as a line between two dark ones, which is visible on any background."""
    for inset, colour, width in ((0, _EDGE, line + 2), (1, color, line)):
        left, top = box.origin_x + inset, box.origin_y + inset
        right = max(left, box.origin_x + box.width - 1 - inset)
        bottom = max(top, box.origin_y + box.height - 1 - inset)
        drawing.rectangle((left, top, right, bottom), outline=colour, width=width)


def _draw_text(
    drawing: ImageDraw,
    text: str,
    corner: tuple[int, int],
    size: tuple[int, int],
    line: int,
    color: tuple[int, int, int] = _BOX,
) -> None:
    """Draw text on a filled rectangle above the corner, or as close to it as possible."""
    from PIL import ImageFont

    font = ImageFont.load_default(max(10, min(size) / 25))
    left, top, right, bottom = drawing.textbbox((0, 0), text, font=font)
    width, height = right - left + 2 * line, bottom - top + 2 * line
    x, y = max(0, min(corner[0], size[0] - width)), max(0, corner[1] - height)
    drawing.rectangle((x, y, x + width, y + height), fill=color)
    # Light text on dark colors, by their luma.
    is_dark = 299 * color[0] + 587 * color[1] + 114 * color[2] < 100_000
    fill = (255, 255, 255) if is_dark else _EDGE
    drawing.text((x + line - left, y + line - top), text, fill=fill, font=font)


def draw_segmentation(image: Any, segmentation: Segmentation, opacity: float = 0.5) -> Image:
    """Return an image with each class of its category mask in a color.

    The first seven colors are those of Okabe and Ito, which color-blind people can tell apart; see
    `category_color`. A class 0 named `"background"`, and pixels without a class, stay as they are.

    Args:
        image: The image of the segmentation: a path, bytes, PIL image, or uint8 array.
        segmentation: Result of `ImageSegmenter.segment`, with a category mask.
        opacity: Opacity of the colors, from 0 to 1.

    Returns:
        An RGB PIL image of the same size.

    Raises:
        InvalidImage: If the image cannot be read.
        TypeError: If the opacity is not a number.
        ValueError: If mask and image differ in size, there is no category mask, or the opacity is
            out of range.

    Example:
        >>> import numpy as np
        >>> masks = Segmentation(("background", "cat"), np.array([[0, 1]], "uint8"))
        >>> picture = draw_segmentation(np.zeros((1, 2, 3), "uint8"), masks, opacity=1)
        >>> picture.getpixel((0, 0)), picture.getpixel((1, 0))
        ((0, 0, 0), (86, 180, 233))
    """
    from PIL import Image

    opacity = check_number("opacity", opacity, least=0, most=1)
    pixels, categories = read_image(image), segmentation.category_mask
    if categories is None:
        raise ValueError("segmentation must have a category mask. Pass output_category_mask=True.")
    if categories.shape != pixels.shape[:2]:
        raise ValueError(
            f"segmentation must be that of the image. Received: a mask of shape "
            f"{categories.shape} for an image of shape {pixels.shape[:2]}"
        )
    picture, mask = Image.fromarray(pixels), Image.fromarray(categories)
    cover = [round(255 * opacity)] * NO_CATEGORY + [0]
    if is_background(segmentation.labels, 0):
        cover[0] = 0
    covering = mask.point(cover)
    mask.putpalette([part for k in range(NO_CATEGORY + 1) for part in category_color(k)])
    picture.paste(mask.convert("RGB"), mask=covering)
    return picture


def is_background(labels: tuple[str, ...], category: int) -> bool:
    """Whether `draw_segmentation` leaves a class as it is in the image."""
    return category == 0 and labels[:1] == (BACKGROUND,)


def category_color(category: int) -> tuple[int, int, int]:
    """Return the color of a class in `draw_segmentation`: red, green and blue, from 0 to 255.

    Args:
        category: Its number in the category mask.
    """
    if category < len(_CLASSES):
        return _CLASSES[category]
    red, green, blue = colorsys.hsv_to_rgb(category * _GOLDEN % 1, 0.7, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
