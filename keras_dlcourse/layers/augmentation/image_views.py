"""Several views of an image that all show the same object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import is_real, is_whole

View = str | Sequence[Any]


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class ImageViews(keras.layers.Layer):
    """Fixed transforms of an image, stacked along a new axis; nothing is random.

    | view | description |
    |---|---|
    | `"identity"` | the image itself |
    | `"flip"`, `"flip_vertical"` | mirrored left to right, or upside down |
    | `"rotate_90"`, `"rotate_180"`, `"rotate_270"` | rotated counterclockwise |
    | `("shift", down, right)` | shifted by whole pixels, filled by mirroring at the edge |
    | `("zoom", factor)` | the center, 1 / factor of height and width, enlarged to full size |
    | `("crop", fraction, y, x)` | a fraction of height and width at (y, x), enlarged to full size |

    The position (y, x) of a crop is from (0, 0), top left, to (1, 1), bottom right. Rotations by 90
    and 270 degrees need square images. All views use operations that are built into the runtimes of
    `.tflite` files.

    Args:
        views: One or more of these views, each at most once.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Images `(batch, height, width, channels)` of a fixed size.

    Returns:
        `(batch, views, height, width, channels)`.

    Raises:
        ValueError: If a view is unknown or does not fit the image size, or there are no views.

    Example:
        >>> import numpy as np
        >>> views = ImageViews(["identity", "flip", ("shift", 0, 1)])
        >>> image = np.arange(3, dtype="float32").reshape(1, 1, 3, 1)
        >>> ops.convert_to_numpy(views(image))[0, :, 0, :, 0].tolist()
        [[0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    def __init__(self, views: Sequence[View], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.views = check_views(views)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Check that the views fit the size of the images."""
        height, width = input_shape[1:3]
        if height is None or width is None:
            raise ValueError(f"ImageViews needs images of a fixed size. Received: {input_shape}")
        for name, *arguments in self.views:
            if name in ("rotate_90", "rotate_270") and height != width:
                raise ValueError(f"view {name!r} needs square images. Received: {input_shape}")
            if name == "shift" and (abs(arguments[0]) >= height or abs(arguments[1]) >= width):
                raise ValueError(
                    f"view {(name, *arguments)} must shift by less than the image size. Received: "
                    f"{input_shape}"
                )

    def call(self, inputs: Any) -> Any:
        """Return all views of each image."""
        return ops.stack([_VIEWS[name](inputs, *rest) for name, *rest in self.views], axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `(batch, views, height, width, channels)`."""
        return (input_shape[0], len(self.views), *input_shape[1:])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        return {**super().get_config(), "views": [list(view) for view in self.views]}


def check_views(views: Sequence[View]) -> tuple[tuple[Any, ...], ...]:
    """Return each view as a tuple of its name and numbers, or raise ValueError."""
    if isinstance(views, str) or not isinstance(views, Sequence):
        raise TypeError(f"views must be a list of views. Received: {views!r}")
    found = []
    for view in views:
        name, *numbers = (view,) if isinstance(view, str) else tuple(view)
        if name not in _VIEWS or not _NUMBERS.get(name, _has_no_numbers)(*numbers):
            raise ValueError(
                f"a view must be one of {', '.join(_SHOWN)}; factor above 1, fraction between 0 "
                f"and 1, y and x from 0 to 1. Received: {view!r}"
            )
        found.append((str(name), *numbers))
    if not found or len(set(found)) < len(found):
        raise ValueError(f"views must be one or more, each at most once. Received: {views!r}")
    return tuple(found)


def _shift(x: Any, down: int, right: int) -> Any:
    for axis, step in ((1, down), (2, right)):
        if step:
            size, width = x.shape[axis], abs(step)
            pads = [(0, 0)] * 4
            pads[axis] = (width, 0) if step > 0 else (0, width)
            start = 0 if step > 0 else width
            padded = ops.pad(x, pads, mode="symmetric")
            x = padded[:, start : start + size] if axis == 1 else padded[:, :, start : start + size]
    return x


def _crop(x: Any, share: float, y: float, x_: float) -> Any:
    height, width = x.shape[1:3]
    rows, columns = (max(1, round(share * size)) for size in (height, width))
    top, left = round((height - rows) * y), round((width - columns) * x_)
    part = x[:, top : top + rows, left : left + columns]
    return ops.image.resize(part, (height, width), "bilinear", data_format="channels_last")


def _turn(x: Any) -> Any:
    """Rotate by 90 degrees counterclockwise."""
    return ops.flip(ops.transpose(x, (0, 2, 1, 3)), axis=1)


_VIEWS: dict[str, Callable[..., Any]] = {
    "identity": lambda x: x,
    "flip": lambda x: ops.flip(x, axis=2),
    "flip_vertical": lambda x: ops.flip(x, axis=1),
    "rotate_90": _turn,
    "rotate_180": lambda x: ops.flip(ops.flip(x, axis=1), axis=2),
    "rotate_270": lambda x: ops.transpose(ops.flip(x, axis=1), (0, 2, 1, 3)),
    "shift": _shift,
    "zoom": lambda x, factor: _crop(x, 1 / factor, 0.5, 0.5),
    "crop": _crop,
}


def _has_no_numbers(*numbers: Any) -> bool:
    return not numbers


def _is_shift(*steps: Any) -> bool:
    return len(steps) == 2 and all(map(is_whole, steps)) and any(steps)


def _is_zoom(*numbers: Any) -> bool:
    return len(numbers) == 1 and is_real(numbers[0]) and 1 < numbers[0] < float("inf")


def _is_crop(*numbers: Any) -> bool:
    if len(numbers) != 3 or not all(map(is_real, numbers)):
        return False
    share, *place = numbers
    return 0 < share < 1 and all(0 <= one <= 1 for one in place)


_NUMBERS: dict[str, Callable[..., bool]] = {
    "shift": _is_shift,
    "zoom": _is_zoom,
    "crop": _is_crop,
}
_SHOWN = [
    *(repr(name) for name in _VIEWS if name not in _NUMBERS),
    "('shift', down, right)",
    "('zoom', factor)",
    "('crop', fraction, y, x)",
]
