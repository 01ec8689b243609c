"""Linear local filters with a given kernel that is not trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import check_flag, check_integer, check_number, check_one_of, is_real
from keras_dlcourse.layers.filtering._windows import margins, output_shape


def _box(size: int, sigma: float | None) -> np.ndarray:
    return np.full((size, size), 1 / size**2)


def _gaussian(size: int, sigma: float | None) -> np.ndarray:
    if sigma is None:
        sigma = 0.3 * ((size - 1) / 2 - 1) + 0.8
    distances = np.arange(size) - (size - 1) / 2
    line = np.exp(-(distances**2) / (2 * sigma**2))
    return np.outer(line, line) / line.sum() ** 2


# Kernels of any size.
SIZED: Mapping[str, Callable[[int, float | None], np.ndarray]] = MappingProxyType(
    {"box": _box, "gaussian": _gaussian}
)
# fmt: off
# Kernels of 3x3; `_x` is the slope from left to right, `_y` the slope from top to bottom.
FIXED: Mapping[str, tuple[tuple[int, ...], ...]] = MappingProxyType({
    "identity": ((0, 0, 0), (0, 1, 0), (0, 0, 0)),
    "sharpen": ((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
    "laplacian": ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
    "laplacian_8": ((1, 1, 1), (1, -8, 1), (1, 1, 1)),
    "sobel_x": ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    "sobel_y": ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    "prewitt_x": ((-1, 0, 1), (-1, 0, 1), (-1, 0, 1)),
    "prewitt_y": ((-1, -1, -1), (0, 0, 0), (1, 1, 1)),
    "scharr_x": ((-3, 0, 3), (-10, 0, 10), (-3, 0, 3)),
    "scharr_y": ((-3, -10, -3), (0, 0, 0), (3, 10, 3)),
    "emboss": ((-2, -1, 0), (-1, 1, 1), (0, 1, 2)),
})
# fmt: on


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class LocalFilter2D(keras.layers.Layer):
    """Slide a fixed kernel over each channel: a convolution without trained weights.

        y[r, c] = sum over i, j of kernel[i, j] * x[r + i - a, c + j - b]    (correlation)
        y[r, c] = sum over i, j of kernel[i, j] * x[r - i + a, c - j + b]    (convolution)

    where the kernel's center is (a, b) = (height // 2, width // 2): the middle of odd sizes, and
    the later of the two middle positions of even sizes. This matches `scipy.ndimage.correlate` and
    `scipy.ndimage.convolve` with `mode="constant"`; in a Keras convolution the center of even
    kernels is one position earlier. What Keras calls a convolution is a correlation.

    Args:
        kernel: A name, or values `(height, width)`, with `sum_channels` also `(height, width,
            channels)`. The names are `"box"` (the mean), `"gaussian"`, `"identity"`, `"sharpen"`,
            `"laplacian"`, `"laplacian_8"`, `"sobel_x"`, `"sobel_y"`, `"prewitt_x"`, `"prewitt_y"`,
            `"scharr_x"`, `"scharr_y"` and `"emboss"`.
        size: Height and width of `"box"` and `"gaussian"`; all other named kernels are 3x3.
        sigma: Standard deviation of `"gaussian"` in pixels; None means
            0.3 * ((size - 1) / 2 - 1) + 0.8, as in OpenCV.
        flip: Whether to rotate the kernel by 180 degrees, for a convolution instead of a
            correlation.
        sum_channels: Whether to sum over the channels, which returns one map: the correlation with
            a whole multi-channel image.
        padding: `"same"` (zeros outside the image) or `"valid"` (only where the kernel fits).
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Images or feature maps `(batch, height, width, channels)`.

    Returns:
        `(batch, new height, new width, channels)`, or one channel with `sum_channels`. With padding
        `"same"` height and width are unchanged.

    Raises:
        ValueError: If the kernel is neither a known name nor values of such a shape, is given a
            size or sigma that does not apply to it, has other channels than the input, or is larger
            than the input.

    Example:
        >>> import numpy as np
        >>> image = np.zeros((1, 3, 6, 1), "float32")
        >>> image[:, :, 3:] = 1  # dark on the left, bright on the right
        >>> edges = LocalFilter2D("sobel_x", padding="valid")(image)
        >>> keras.ops.convert_to_numpy(edges).ravel().tolist()
        [0.0, 4.0, 4.0, 0.0]
        >>> LocalFilter2D([[0.5, 0.5]], sum_channels=True)(keras.Input((4, 6, 3))).shape
        (None, 4, 6, 1)

    Reference:
        Gonzalez and Woods, "Digital Image Processing", 4th edition 2018, chapter 3
    """

    def __init__(
        self,
        kernel: str | Sequence[Any] | np.ndarray = "gaussian",
        size: int = 3,
        sigma: float | None = None,
        flip: bool = False,
        sum_channels: bool = False,
        padding: str = "same",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = check_integer("size", size)
        self.sigma = None if sigma is None else check_number("sigma", sigma, above=0)
        self.flip = check_flag("flip", flip)
        self.sum_channels = check_flag("sum_channels", sum_channels)
        self.padding = check_one_of("padding", padding, ("same", "valid"))
        self._numbers = _numbers(kernel, self.size, self.sigma, self.sum_channels)
        self.kernel = kernel if isinstance(kernel, str) else self._numbers.tolist()
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Repeat the kernel for each channel."""
        channels = input_shape[-1]
        if channels is None:
            raise ValueError("LocalFilter2D needs to know the number of channels.")
        numbers = self._numbers if self._numbers.ndim == 3 else self._numbers[..., None]
        if numbers.shape[2] not in (1, channels):
            raise ValueError(
                f"kernel has {numbers.shape[2]} channels, but the input has {channels}. Pass one "
                "kernel channel per input channel, or one kernel (height, width) for all."
            )
        self.compute_output_shape(input_shape)  # raises for maps that are too small
        numbers = numbers[::-1, ::-1] if self.flip else numbers
        numbers = np.broadcast_to(numbers, (*numbers.shape[:2], channels))
        self._stacked = numbers[..., None].astype("float32")
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: channels})

    def call(self, inputs: Any) -> Any:
        """Return the filtered maps."""
        x = ops.cast(inputs, self.compute_dtype)
        padding = self.padding
        if padding == "same" and not all(size % 2 for size in self.window):
            sides = [margins(size)[:: -1 if self.flip else 1] for size in self.window]
            x, padding = ops.pad(x, [(0, 0), *sides, (0, 0)]), "valid"
        kernel = ops.convert_to_tensor(self._stacked, self.compute_dtype)
        apply = ops.conv if self.sum_channels else ops.depthwise_conv
        return apply(x, kernel, padding=padding, data_format="channels_last")

    @property
    def window(self) -> tuple[int, ...]:
        """Height and width of the kernel."""
        return self._numbers.shape[:2]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `(batch, new height, new width, channels)`, with `sum_channels` one channel."""
        *maps, channels = output_shape(input_shape, self.window, self.padding)
        return *maps, 1 if self.sum_channels else channels

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer; numbers as nested lists."""
        names = ("kernel", "size", "sigma", "flip", "sum_channels", "padding")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _numbers(kernel: Any, size: int, sigma: float | None, sum_channels: bool) -> np.ndarray:
    """Return the kernel `(height, width)` or `(height, width, channels)`, or raise ValueError."""
    if not isinstance(kernel, str):
        return _check_values(kernel, size, sigma, sum_channels)
    check_one_of("kernel", kernel, (*SIZED, *FIXED))
    if sigma is not None and kernel != "gaussian":
        raise ValueError(f"sigma is for kernel='gaussian' only. Omit it for {kernel!r}. "
                         f"Received: sigma={sigma!r}")  # fmt: skip
    if kernel in SIZED:
        return SIZED[kernel](size, sigma)
    if size != 3:
        raise ValueError(
            f"size is for kernel='box' and 'gaussian' only; {kernel!r} is 3x3. Omit size, or "
            f"pass the values of a larger kernel, row by row. Received: size={size!r}"
        )
    return np.array(FIXED[kernel], float)


def _check_values(kernel: Any, size: int, sigma: float | None, sum_channels: bool) -> np.ndarray:
    if size != 3 or sigma is not None:
        raise ValueError(
            "size and sigma are for named kernels only; kernel values define their own size. "
            f"Omit both. Received: size={size!r}, sigma={sigma!r}"
        )
    try:
        found = np.array(kernel, object)
        is_numeric = found.size > 0 and all(is_real(number) for number in found.flat)
    except ValueError:  # rows of arrays of different lengths
        is_numeric = False
    if not is_numeric or found.ndim not in (2, 3) or not np.isfinite(found.astype(float)).all():
        raise ValueError(
            "kernel must be a name or finite numbers (height, width), with rows of equal length. "
            f"Received: {kernel!r}"
        )
    if found.ndim == 3 and not sum_channels:
        raise ValueError(
            f"a kernel (height, width, channels) needs sum_channels=True. Received: a kernel "
            f"{found.shape}. To apply one kernel to every channel, omit its channel axis."
        )
    return found.astype(float)
