"""The base of all image models on a device: pixels in, outputs out, through one interpreter."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_flag
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.runtime.device_model import CHUNK, DeviceModel, read_model
from keras_dlcourse.edge.runtime.sandbox import Limits
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel
from keras_dlcourse.edge.tflite.graph import Tensor
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.tflite.quantization import decoder, encoder
from keras_dlcourse.edge.vision.bit_depth import check_bits
from keras_dlcourse.edge.vision.images import load_image, read_image, resize

# What to do with the file of a detector, in error messages.
DETECTOR_HINT = ", the outputs of a detector. Open it with ObjectDetector."


class ImageModel(DeviceModel):
    """A `DeviceModel` that takes one image, given as pixels.

    The base class of `ImageClassifier` and `ImageEmbedder`, which define what the first output
    means. One object can be shared between threads; calls run one at a time. `run` takes pixels;
    `inputs` describes what the network sees after their normalization.

    Args:
        model: Path or bytes of a `.tflite` file, or a `ModelFile`.
        mean: Value to subtract from pixels (0 to 255), instead of the file's.
        std: Value to divide by afterwards.
        threads: Number of threads; None leaves it to the runtime.
        crop: Whether to center-crop images of other sizes instead of stretching them.
        bits: Number of significant bits in 16-bit grayscale images, see `read_image`.
        untrusted: Whether to run the model in a separate process, see `Limits`.

    Raises:
        InvalidModel: If the file is damaged or not a `.tflite` file, or the runtime rejects it;
            `ModelStopped` if it is untrusted and crashed, or took too much time or memory.
        TypeError: If an argument has the wrong type.
        ValueError: If it does not take one image, its first output is not a vector, or the
            normalization of its pixels is unknown.
        OSError: If the file cannot be read.
        ImportError: If no interpreter is installed.
    """

    # Terms for error messages: kind of model, its output, and the method for one image.
    _kind = "an image model"
    _gives = "one vector, shape (batch, values)"
    _values = "outputs"
    _for_one = "run"

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | ModelFile,
        *,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        threads: int | None = None,
        crop: bool = False,
        bits: int | None = None,
        untrusted: bool | Limits = False,
    ) -> None:
        bits, crop = check_bits(bits), check_flag("crop", crop)
        file = read_model(model)
        self._input = _image_input(file, self._kind)
        self._width = self._numbers(file)
        self._normalization = _normalization(file, mean, std, self.input_shape[-1])
        self._encode = encoder(self._input, self._normalization)
        self._crop = crop
        self._bits = bits
        super().__init__(file, threads=threads, untrusted=untrusted)
        self._decoders = [decoder(tensor) for tensor in file.outputs]  # integers, too, to float32
        self._options |= {"mean": mean, "std": std, "crop": crop, "bits": bits}

    @property
    def normalization(self) -> Normalization | None:
        """The normalization applied to pixels, or None if the model takes them unchanged."""
        return self._normalization

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the image that the model takes."""
        height, width, *channels = self._input.shape[1:]
        return height, width, channels[0] if channels else 1

    def run(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Return all outputs of the model for images of its input size.

        Args:
            pixels: uint8 array of shape (n, *input_shape), 0 to 255, n at least 1.

        Returns:
            One dequantized float32 array per output of the model, images on the first axis.

        Raises:
            TypeError: If `pixels` is not uint8.
            ValueError: If its shape is wrong.
        """
        pixels = np.asarray(pixels)
        if pixels.dtype != np.uint8:
            raise TypeError(f"pixels must be uint8, from 0 to 255. Received: {pixels.dtype}")
        if pixels.shape[1:] != self.input_shape or len(pixels) == 0:
            raise ValueError(
                f"pixels must have the shape (n, {', '.join(map(str, self.input_shape))}) with n "
                f"at least 1. Received: {pixels.shape}"
            )
        return self._run([self._encode(pixels).reshape(-1, *self._input.shape[1:])])

    def _example(self) -> np.ndarray:
        """Return one random image."""
        return np.random.default_rng(0).integers(0, 256, (1, *self.input_shape), np.uint8)

    def _numbers(self, file: ModelFile) -> int:
        """Return the number of values in the first output, after checking that it is a vector."""
        return _width(file, self._kind, self._gives, self._values)

    def _vectors(self, images: Any) -> np.ndarray:
        """Return the first output for each image, shape (n, width)."""
        # Load in chunks so that a long list of files need not fit in memory.
        chunks = [self.run(chunk)[0] for chunk in self._chunks(images)]
        vectors = np.concatenate(chunks) if chunks else np.zeros((0, self._width), np.float32)
        return vectors.reshape(-1, self._width)

    def _invoke(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """Run the interpreter once, and check that the first output has the width of the file."""
        outputs, count = super()._invoke(values), len(values[0])
        if outputs[0].size != count * self._width:
            raise InvalidModel(
                f"{self._file.what} is damaged: for {count} images it returns the shapes "
                f"{[output.shape for output in outputs]}"
            )
        return outputs

    def _chunks(self, images: Any) -> Iterator[np.ndarray]:
        """Yield the images in chunks, as arrays of the model's input size."""
        if isinstance(images, np.ndarray) and images.ndim != 4:
            raise ValueError(
                "an array of images must have the shape (n, height, width, channels). "
                f"Received: {images.shape}. Pass a single image to {self._for_one}, or in a list."
            )
        if isinstance(images, str | bytes | os.PathLike):
            raise TypeError(
                f"images must be a sequence of images. Pass a single image to {self._for_one}."
            )
        for start in range(0, len(images), CHUNK):
            loaded = [self._load(image) for image in images[start : start + CHUNK]]
            yield np.stack(loaded) if len(loaded) > 1 else loaded[0][None]

    def _run_on_image(self, image: Any) -> tuple[tuple[int, int], list[np.ndarray]]:
        """Return the height and width of an image, and the model's outputs for it."""
        height, width, channels = self.input_shape
        pixels = read_image(image, channels, self._bits)
        outputs = self.run(resize(pixels, (height, width), self._crop)[None])
        return (pixels.shape[0], pixels.shape[1]), outputs

    def _load(self, image: Any) -> np.ndarray:
        """Return an image as pixels of the model's input size."""
        height, width, channels = self.input_shape
        if (
            isinstance(image, np.ndarray)
            and image.dtype == np.uint8
            and image.shape == self.input_shape
        ):
            return image
        return load_image(image, (height, width), channels, self._crop, self._bits)


def _image_input(file: ModelFile, kind: str) -> Tensor:
    """Return the input after checking that it is one image; without a channel axis it is gray."""
    shapes = [tensor.shape_signature for tensor in file.inputs]
    image = len(shapes) == 1 and len(shapes[0]) in (3, 4)
    if not image or (len(shapes[0]) == 4 and shapes[0][-1] not in (1, 3)):
        raise ValueError(
            f"{kind} must have one input of shape (batch, height, width, 1 or 3 channels), or "
            "(batch, height, width) for grayscale images; "
            f"{file.what} has inputs of shape {', '.join(map(str, shapes)) or 'none'}"
        )
    if min(shapes[0][1:]) < 1 or file.inputs[0].shape[0] < 1:
        raise ValueError(
            f"{file.what} has an input of variable size {shapes[0]}; height and width must be fixed"
        )
    return file.inputs[0]


def _width(file: ModelFile, kind: str, gives: str, values: str) -> int:
    """Return the length of the first output, which must be a vector."""
    output = file.outputs[0]
    shape = output.shape
    batch = file.inputs[0].shape[0]
    is_vector = len(shape) > 1 and shape[:-1] == (batch,) + (1,) * (len(shape) - 2)
    if not is_vector or shape[-1] < 1 or file.metadata.is_detector:
        other = ". Open a mask with ImageSegmenter." if len(shape) == 4 else ""
        raise ValueError(
            f"{kind} must return {gives}; {file.what} returns {output.shape_signature}"
            + (DETECTOR_HINT if file.metadata.is_detector else other)
        )
    if output.dtype not in ("float32", "uint8", "int8", "int16"):
        raise ValueError(
            f"{values} must be float32, uint8, int8 or int16; {file.what} returns {output.dtype}"
        )
    return shape[-1]


def _normalization(file: ModelFile, mean: Any, std: Any, channels: int) -> Normalization | None:
    """Return the caller's normalization, or else the file's."""
    if (mean is None) != (std is None):
        raise ValueError(
            f"mean and std must be passed together. Received: mean={mean!r} and std={std!r}"
        )
    if mean is not None and std is not None:
        normalization: Normalization | None = Normalization(mean, std)
    else:
        normalization = file.metadata.normalization
    if normalization is not None and len(normalization.mean) not in (1, channels):
        raise ValueError(
            f"the normalization has {len(normalization.mean)} channels, "
            f"but {file.what} takes images with {channels}"
        )
    return normalization
