"""Plot images next to their maps, their reconstructions, and both combined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from keras_dlcourse.report.maps import overlay, to_rgb
from keras_dlcourse.report.method_maps import draw_rows


def draw_perception(
    pixels: ArrayLike,
    maps: ArrayLike,
    reconstructions: ArrayLike,
    visualizations: ArrayLike,
    captions: Sequence[str],
    title: str = "What the network perceives",
) -> Figure:
    """Draw each image, where the network looks, what it represents of the image, and both combined.

    Args:
        pixels: Images, uint8, shape `(n, height, width, 1 or 3)`.
        maps: Maps from 0 to 1, `(n, height, width)`.
        reconstructions: Same shape and type as `pixels`.
        visualizations: Same shape and type as `pixels`.
        captions: A caption for each row, such as the prediction and its score, length n.
        title: Title of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: If the shapes do not match.

    Example:
        >>> images, plane = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8))
        >>> figure = draw_perception(images, plane, images, images, ["cat 90%", "dog 60%"])
        >>> [text.get_text() for text in figure.axes[0].texts[1:5]]
        ['image', 'where', 'what', 'where and what']
    """
    images, planes = np.asarray(pixels), np.asarray(maps, "float64")
    made, shown = np.asarray(reconstructions), np.asarray(visualizations)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(
            f"pixels must have shape (n, height, width, 1 or 3), n > 0. Received: {images.shape}"
        )
    shapes = planes.shape, made.shape, shown.shape, (len(captions),)
    if shapes != (images.shape[:3], images.shape, images.shape, images.shape[:1]):
        raise ValueError(
            "maps, reconstructions, visualizations and captions must match pixels of shape "
            f"{images.shape}. Received: {', '.join(map(str, shapes))}"
        )
    rgb = [to_rgb(image) for image in images]
    columns = {
        "image": rgb,
        "where": [overlay(image, plane) for image, plane in zip(rgb, planes, strict=True)],
        "what": [to_rgb(image) for image in made],
        "where and what": [to_rgb(image) for image in shown],
    }
    return draw_rows(columns, captions, title)
