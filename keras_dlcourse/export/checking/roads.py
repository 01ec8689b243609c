"""The ways on which a `.tflite` file is run beside Keras: from pixels as on a device, or arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_dlcourse.data import Examples
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.runtime.interpreter import interpreter
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.tflite.quantization import dequantize, quantize
from keras_dlcourse.edge.vision.image_model import ImageModel
from keras_dlcourse.export.checking.inspection import in_graph, own_record
from keras_dlcourse.export.conversion.device_model import as_the_device_sees, is_image_shape

# Runs the file on the example of that number and returns each of its outputs, shape (1, ...).
Device = Callable[[int], list[np.ndarray]]

_SAME_PIXEL = 0.51  # grey levels: the zero point of an integer input rounds a mean by half of one
_WHOLE = 0.1  # grey levels: so near to a whole one, a number was a pixel of eight bits


@dataclass(frozen=True)
class Road:
    """How the file is given the examples.

    Attributes:
        inputs: What Keras gets, `(n, ...)`.
        pixels: What the device gets, `(n, height, width, channels)` uint8; None where only arrays
            are to be had.
        misfit: Why the arrays are not what the file makes of pixels; None if they are, or if there
            is no telling.
    """

    inputs: np.ndarray
    pixels: np.ndarray | None = None
    misfit: str | None = None

    def device(self, file: ModelFile) -> Device:
        """Return what runs the file on this road."""
        if self.pixels is None:
            return array_device(file, self.inputs)
        return _pixel_device(file, self.pixels)

    def first(self, n: int, reverse: bool = False) -> Road:
        """Return the road of the first examples, on request with reversed channels."""
        order = slice(None, None, -1 if reverse else 1)
        pixels = None if self.pixels is None else self.pixels[:n, ..., order]
        return Road(self.inputs[:n, ..., order], pixels, self.misfit)


def find_road(file: ModelFile, examples: Examples) -> Road:
    """Return the device's own road where the data has pixels, or they can be told from its arrays.

    Raises:
        ValueError: If the data goes through another normalization than the file was made for.
    """
    inputs, pixels = examples.inputs, examples.pixels
    normalization = file_normalization(file)
    if normalization is None:
        return Road(inputs)
    given = examples.normalization
    if given is None and pixels is not None:
        given = Normalization.identity()
    if given is not None and not _are_alike(given, normalization):
        raise ValueError(
            f"data and file must have the same normalization; the data has {said(given)}, but "
            f"{file.what} {said(normalization)}. Export the file again with "
            "preprocessing= the normalization of the training, or pass data that goes through it"
        )
    if pixels is not None:
        return Road(inputs, pixels)
    pixels, misfit = _as_pixels(inputs, normalization)
    return Road(inputs, pixels, misfit)


def file_normalization(file: ModelFile) -> Normalization | None:
    """Return what a file takes pixels through, inside its graph or before.

    None for a file that takes no images, or does not say it.
    """
    if len(file.inputs) != 1 or not is_image_shape(file.inputs[0].shape[1:]):
        return None
    if file.metadata.normalization is None:
        return None
    # The record has the mean of the training, which the metadata of integer files round.
    record = own_record(file).get("normalization")
    return Normalization.from_dict(record) if record else file.metadata.normalization


def said(normalization: Normalization) -> str:
    """Return a normalization in words."""
    mean, std = (
        ", ".join(f"{value:g}" for value in (values[:1] if len(set(values)) == 1 else values))
        for values in (normalization.mean, normalization.std)
    )
    raw = " (raw pixels)" if _are_alike(normalization, Normalization.identity()) else ""
    return f"mean {mean}, standard deviation {std}{raw}"


def _are_alike(one: Normalization, other: Normalization) -> bool:
    """Whether two normalizations take every pixel to the same, but for rounding."""
    ends = np.array([[0.0], [255.0]])
    values = (ends - np.array(one.mean)) / np.array(one.std)
    pixels = values * np.array(other.std) + np.array(other.mean)
    return bool((np.abs(pixels - ends) <= _SAME_PIXEL).all())


def _as_pixels(
    inputs: np.ndarray, normalization: Normalization
) -> tuple[np.ndarray | None, str | None]:
    """Return the pixels that arrays were made of, or why there can be none."""
    values = inputs * np.array(normalization.std) + np.array(normalization.mean)
    if np.isnan(values).any():
        return None, None
    low, high = float(values.min()), float(values.max())
    wrong = (
        f"the arrays have values from {inputs.min():.4g} to {inputs.max():.4g}, which is not what "
        f"the file makes of pixels from 0 to 255 with {said(normalization)}"
    )
    if low < -_SAME_PIXEL or high > 255 + _SAME_PIXEL:
        return None, wrong
    if 0 < high - low <= 1 + _WHOLE:  # all images in one grey level: divided by 255 already
        return None, wrong
    # Metadata of integer files round a mean by up to half a grey level, which moves all alike.
    least = values.min(axis=(0, 1, 2))
    moved = values - (least - np.round(least))
    whole = np.round(moved)
    if np.abs(moved - whole).max() <= _WHOLE:
        return whole.clip(0, 255).astype(np.uint8), None
    # Pixels of eight bits stay in equal steps whatever is done to them, but here in other ones.
    if all(_are_steps(values[..., channel]) for channel in range(values.shape[-1])):
        return None, wrong
    return None, None


def _are_steps(values: np.ndarray) -> bool:
    """Whether values are those of an image of eight bits: at most 256, in equal steps."""
    levels = np.unique(values.astype("float32"))
    if not 2 < len(levels) <= 256 or values.size < 4 * len(levels):
        return False
    steps = (levels - levels[0]) / np.diff(levels).min()
    return bool(steps[-1] <= 255.5 and (np.abs(steps - np.round(steps)) <= _WHOLE).all())


class _AnyOutput(ImageModel):
    """The device's own way from pixels to numbers, whatever the numbers mean."""

    def _numbers(self) -> int:
        return math.prod(self._file.outputs[0].shape[1:])


def _pixel_device(file: ModelFile, pixels: np.ndarray) -> Device:
    """Run the file as a device does, from pixels."""
    if file.inputs[0].shape[-1] == 3 and pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)  # a grey image, as a camera gives it
    device = _AnyOutput(file, threads=1)
    return lambda index: device.run(pixels[index : index + 1])


def array_device(file: ModelFile, inputs: np.ndarray) -> Device:
    """Run the file on what Keras gets, quantized for its input."""
    given = file.inputs[0]
    inputs = as_the_device_sees(inputs, *in_graph(file))
    if inputs.shape[1:] != given.shape[1:]:
        raise ValueError(
            f"data has examples of shape {inputs.shape[1:]}, but {file.what} takes "
            f"{given.shape[1:]}"
        )
    stored = quantize(inputs, given)
    runtime = interpreter(file.content, threads=1)
    source, targets = runtime.get_input_details()[0], runtime.get_output_details()

    def run(index: int) -> list[np.ndarray]:
        runtime.set_tensor(source["index"], stored[index : index + 1])
        runtime.invoke()
        return [
            dequantize(runtime.get_tensor(target["index"]), tensor)
            for target, tensor in zip(targets, file.outputs, strict=True)
        ]

    return run
