"""Draw detected objects into images with Pillow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_dlcourse.edge.results import Detection
from keras_dlcourse.edge.vision.images import read_image

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from keras_dlcourse.edge.results import BoundingBox

# Colors of box, points and outlines, from the color-blind-safe palette of Okabe and Ito.
_BOX, _POINT, _EDGE = (230, 159, 0), (0, 158, 115), (0, 0, 0)


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


def _draw_box(drawing: ImageDraw, box: BoundingBox, line: int) -> None:
    """Draw the box as a line between two dark ones, which is visible on any background."""
    for inset, colour, width in ((0, _EDGE, line + 2), (1, _BOX, line)):
        left, top = box.origin_x + inset, box.origin_y + inset
        right = max(left, box.origin_x + box.width - 1 - inset)
        bottom = max(top, box.origin_y + box.height - 1 - inset)
        drawing.rectangle((left, top, right, bottom), outline=colour, width=width)


def _draw_text(
    drawing: ImageDraw, text: str, corner: tuple[int, int], size: tuple[int, int], line: int
) -> None:
    """Draw text on a filled rectangle above the corner, or as close to it as possible."""
    from PIL import ImageFont

    font = ImageFont.load_default(max(10, min(size) / 25))
    left, top, right, bottom = drawing.textbbox((0, 0), text, font=font)
    width, height = right - left + 2 * line, bottom - top + 2 * line
    x, y = max(0, min(corner[0], size[0] - width)), max(0, corner[1] - height)
    drawing.rectangle((x, y, x + width, y + height), fill=_BOX)
    drawing.text((x + line - left, y + line - top), text, fill=_EDGE, font=font)
