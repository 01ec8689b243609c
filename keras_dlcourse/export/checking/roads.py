"""How a `.tflite` file is run beside Keras: on pixels, as on a device, or on arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_dlcourse.data import Examples
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.runtime.device_model import DeviceModel
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.image_model import ImageModel
from keras_dlcourse.export.checking.inspection import read_inputs
from keras_dlcourse.export.conversion.device_model import convert_to_device_inputs, is_image_shape

# Runs the file on the example with the given index; returns each of its outputs, shape (1, ...).
Device = Callable[[int], list[np.ndarray]]

_SAME_PIXEL = 0.51  # gray levels: the zero point of an integer input rounds a mean by up to half
_WHOLE = 0.1  # gray levels: a value this close to a whole one was an 8-bit pixel


@dataclass(frozen=True)
class Road:
    """How the file is given the examples.

    Attributes:
        inputs: The values of each input for Keras, `(n, ...)`, in the order of the file.
        pixels: The values of the only input for the device, `(n, height, width, channels)` uint8;
            None if only arrays are available, or there are several inputs.
        misfit: Why the file's normalization cannot produce the arrays from pixels; None if it can,
            or if that is unknown.
    """

    inputs: tuple[np.ndarray, ...]
    pixels: np.ndarray | None = None
    misfit: str | None = None

    def device(self, file: ModelFile) -> Device:
        """Return a function that runs the file on this road."""
        if self.pixels is None:
            return array_device(file, self.inputs)
        return _pixel_device(file, self.pixels)

    def reverse_channels(self, n: int) -> Road:
        """Return the road for the first `n` examples of one image, with reversed channels."""
        pixels = None if self.pixels is None else self.pixels[:n, ..., ::-1]
        return Road((self.inputs[0][:n, ..., ::-1],), pixels, self.misfit)


def find_road(file: ModelFile, examples: Examples, inputs: tuple[np.ndarray, ...]) -> Road:
    """Return the device's road if the data has pixels, or if they can be recovered from its arrays.

    Args:
        file: The file.
        examples: The examples.
        inputs: Their values for each input, in the order of the file.

    Raises:
        ValueError: If data and file have different normalizations.
    """
    pixels = examples.pixels
    normalization = file_normalization(file)
    if normalization is None:
        return Road(inputs)
    given = examples.normalization
    if given is None and pixels is not None:
        given = Normalization.identity()
    if given is not None and not _are_alike(given, normalization):
        raise ValueError(
            "data and file must have the same normalization. Received: data with "
            f"{format_normalization(given)}, but {file.what} with "
            f"{format_normalization(normalization)}. Export the file again with the training "
            "normalization as preprocessing=, or pass data with the file's normalization"
        )
    if pixels is not None:
        return Road(inputs, pixels)
    pixels, misfit = _recover_pixels(inputs[0], normalization)
    return Road(inputs, pixels, misfit)


def file_normalization(file: ModelFile) -> Normalization | None:
    """Return the normalization of pixels for a file, inside its graph or before it.

    None for a file that does not take images or does not record it.
    """
    if len(file.inputs) != 1 or not is_image_shape(file.inputs[0].shape[1:]):
        return None
    if file.metadata.normalization is None:
        return None
    # The record has the exact mean used in training; the metadata of integer files rounds it.
    return read_inputs(file)[0].normalization or file.metadata.normalization


def format_normalization(normalization: Normalization) -> str:
    """Return a normalization as text."""
    mean, std = (
        ", ".join(f"{value:g}" for value in (values[:1] if len(set(values)) == 1 else values))
        for values in (normalization.mean, normalization.std)
    )
    raw = " (raw pixels)" if _are_alike(normalization, Normalization.identity()) else ""
    return f"mean {mean}, standard deviation {std}{raw}"


def _are_alike(one: Normalization, other: Normalization) -> bool:
    """Whether two normalizations map every pixel to the same value, up to rounding."""
    ends = np.array([[0.0], [255.0]])
    values = (ends - np.array(one.mean)) / np.array(one.std)
    pixels = values * np.array(other.std) + np.array(other.mean)
    return bool((np.abs(pixels - ends) <= _SAME_PIXEL).all())


def _recover_pixels(
    inputs: np.ndarray, normalization: Normalization
) -> tuple[np.ndarray | None, str | None]:
    """Return the pixels that arrays were made from, or why there cannot be any."""
    values = inputs * np.array(normalization.std) + np.array(normalization.mean)
    if np.isnan(values).any():
        return None, None
    low, high = float(values.min()), float(values.max())
    wrong = (
        f"the arrays have values from {inputs.min():.4g} to {inputs.max():.4g}, which cannot come "
        "from pixels from 0 to 255 with the file's normalization, "
        f"{format_normalization(normalization)}"
    )
    if low < -_SAME_PIXEL or high > 255 + _SAME_PIXEL:
        return None, wrong
    if 0 < high - low <= 1 + _WHOLE:  # all images within one gray level: already divided by 255
        return None, wrong
    # Metadata of integer files rounds a mean by up to half a gray level, which shifts all values.
    least = values.min(axis=(0, 1, 2))
    moved = values - (least - np.round(least))
    whole = np.round(moved)
    if np.abs(moved - whole).max() <= _WHOLE:
        return whole.clip(0, 255).astype(np.uint8), None
    # After another normalization, 8-bit pixels still have equal steps, but of another size.
    if all(_are_steps(values[..., channel]) for channel in range(values.shape[-1])):
        return None, wrong
    return None, None


def _are_steps(values: np.ndarray) -> bool:
    """Whether values can come from an 8-bit image: at most 256 levels, in equal steps."""
    levels = np.unique(values.astype("float32"))
    if not 2 < len(levels) <= 256 or values.size < 4 * len(levels):
        return False
    steps = (levels - levels[0]) / np.diff(levels).min()
    return bool(steps[-1] <= 255.5 and (np.abs(steps - np.round(steps)) <= _WHOLE).all())


class _AnyOutput(ImageModel):
    """The device's own path from pixels to outputs, whatever the outputs mean."""

    def _numbers(self, file: ModelFile) -> int:
        return math.prod(file.outputs[0].shape[1:])


def _pixel_device(file: ModelFile, pixels: np.ndarray) -> Device:
    """Return a function that runs the file on pixels, as a device does."""
    if file.inputs[0].shape[-1] == 3 and pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)  # a gray image in RGB, as cameras deliver it
    device = _AnyOutput(file, threads=1)
    return lambda index: device.run(pixels[index : index + 1])


def array_device(file: ModelFile, inputs: tuple[np.ndarray, ...]) -> Device:
    """Return a function that runs the file on Keras's inputs."""
    device = DeviceModel(file, threads=1)
    values = [
        given.astype(spec.dtype)  # token numbers, which Keras takes in any type
        for given, spec in zip(convert_inputs(file, inputs), device.inputs, strict=True)
    ]
    for given, tensor in zip(values, file.inputs, strict=True):
        if given.shape[1:] != tensor.shape[1:]:
            raise ValueError(
                f"data must have examples of the shape {tensor.shape[1:]} that {file.what} takes. "
                f"Received: examples of shape {given.shape[1:]}"
            )
    names = [spec.name for spec in device.inputs]

    def run(index: int) -> list[np.ndarray]:
        one = {name: given[index : index + 1] for name, given in zip(names, values, strict=True)}
        return [output.astype("float32", copy=False) for output in device.run(one)]

    return run


def convert_inputs(file: ModelFile, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """Convert the inputs of a Keras model to those of its file."""
    return [
        convert_to_device_inputs(values, one.in_graph, one.rgb)
        for values, one in zip(inputs, read_inputs(file), strict=True)
    ]
