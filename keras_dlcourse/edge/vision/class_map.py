"""Class activation maps of a `.tflite` file: found among its outputs, enlarged and drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_dlcourse._checks import check_number
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel
from keras_dlcourse.edge.tflite.metadata import CLASS_MAP
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.images import find_seen_part, read_image

if TYPE_CHECKING:
    from PIL.Image import Image


# Every fifth color of matplotlib's viridis, which is perceptually uniform, also for color-blind
# viewers. Linear interpolation between them is within one of 256 levels of the original.
_VIRIDIS = (
    "44015446085c471063481769481d6f482475472a7a46307e453781433d844142873f48893d4e8a3a538b"
    "38598c355e8d33638d31688e2e6d8e2c718e2a768e297b8e27808e25848e23898e218e8d20928c1f978b"
    "1e9c891fa18821a58524aa8328ae802eb37c35b7793dbc7446c06f50c46a5ac86465cb5e70cf577cd250"
    "89d54895d840a2da37b0dd2fbddf26cae11fd8e219e5e419f1e51dfde725"
)
_CONTRAST = 0.8  # of the image under the map, so that colors stay close to the color scale


def map_output(file: ModelFile, classes: int) -> int:
    """Return the index of the output with the class maps.

    Raises:
        ValueError: If the file has none.
        InvalidModel: If the output of that name has another shape.
    """
    names = file.metadata.outputs
    if CLASS_MAP not in names:
        raise ValueError(
            f"{file.what} has no class map. Export it with to_tflite(..., class_map=True), or "
            "keras-dlcourse export --class-map."
        )
    number = names.index(CLASS_MAP)
    shapes = [tensor.shape for tensor in file.outputs]
    if number >= len(shapes) or len(shapes[number]) != 4 or shapes[number][-1] != classes:
        found = shapes[number] if number < len(shapes) else "missing"
        raise InvalidModel(
            f"{file.what} is damaged: its class map must have the shape (batch, height, width, "
            f"{classes}), one map per class. Received: {found}"
        )
    return number


def enlarge(
    class_map: np.ndarray, size: tuple[int, int], aspect: float | None = None
) -> np.ndarray:
    """Return a map resized to the image with bilinear interpolation.

    Args:
        class_map: Array of shape (height, width).
        size: Height and width of the image.
        aspect: Height / width of the network's input if it saw only a center crop of the image;
            None if it saw all of it.

    Returns:
        float32 array of that size; NaN where the network did not look.

    Example:
        >>> enlarge(np.array([[0.0, 1.0]]), (1, 4)).tolist()
        [[0.0, 0.25, 0.75, 1.0]]
    """
    from PIL import Image

    whole = np.full(size, np.nan, np.float32)
    seen = whole[find_seen_part(size, aspect)]
    plane = Image.fromarray(np.ascontiguousarray(class_map, np.float32))
    seen[:] = np.asarray(plane.resize(seen.shape[::-1], Image.Resampling.BILINEAR))
    return whole


def overlay(image: Any, class_map: np.ndarray, opacity: float = 0.5) -> Image:
    """Draw a map over its image in pale gray: dark blue is the least evidence, yellow the most.

    Args:
        image: An image as in `read_image`.
        class_map: Array of the image's shape (height, width), as returned by
            `ImageClassifier.class_map`. NaN leaves the image unchanged.
        opacity: Opacity of the colors, from 0 to 1.

    Returns:
        An RGB PIL image of the same size.

    Raises:
        TypeError: If the opacity is not a number.
        ValueError: If the map and the image differ in size, or the opacity is out of range.

    Example:
        >>> evidence = np.array([[0.0, 1.0, 2.0]])
        >>> picture = overlay(np.zeros((1, 3, 3), "uint8"), evidence, opacity=1.0)
        >>> [picture.getpixel((x, 0)) for x in range(3)]
        [(68, 1, 84), (32, 144, 140), (253, 231, 37)]
    """
    from PIL import Image

    opacity = check_number("opacity", opacity, least=0, most=1)
    pixels = read_image(image)
    if class_map.shape != pixels.shape[:2]:
        raise ValueError(
            f"class_map has the shape {class_map.shape}, but the image has {pixels.shape[:2]}. "
            "Use class_map(image, full_size=True)."
        )
    grey = 128 + _CONTRAST * (read_image(pixels, channels=1) - 128.0)
    drawn = (1 - opacity) * grey + opacity * apply_colormap(_scale_from_0_to_1(class_map))
    unseen = np.isnan(class_map)
    drawn[unseen] = pixels[unseen]
    return Image.fromarray(drawn.round().astype(np.uint8))


def apply_colormap(values: np.ndarray) -> np.ndarray:
    """Return viridis colors for values from 0 to 1.

    Args:
        values: Array of any shape; NaN counts as 0.

    Returns:
        Array of shape (*values.shape, 3), 0 to 255.

    Reference:
        Smith and van der Walt (2015), https://bids.github.io/colormap
    """
    anchors = np.frombuffer(bytes.fromhex(_VIRIDIS), np.uint8).reshape(-1, 3)
    steps = np.arange(256)
    table = np.stack([np.interp(steps, steps[::5], channel) for channel in anchors.T], axis=-1)
    return table[(np.nan_to_num(values) * 255).round().astype(int)]


def _scale_from_0_to_1(class_map: np.ndarray) -> np.ndarray:
    """Scale a map to the range 0 to 1; a constant map becomes 0."""
    low, high = np.nanmin(class_map), np.nanmax(class_map)
    # Rounding errors from resizing must not appear as evidence.
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        return np.zeros_like(class_map)
    return (class_map - low) / (high - low)
