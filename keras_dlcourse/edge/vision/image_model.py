"""The base of all image models on a device: pixels in, outputs out, through one interpreter."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.runtime.interpreter import (
    ModelStopped,
    Session,
    check_threads,
    memory_size,
)
from keras_dlcourse.edge.runtime.latency import Latency, measure
from keras_dlcourse.edge.runtime.sandbox import Limits, Sandbox
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel
from keras_dlcourse.edge.tflite.graph import Tensor
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.tflite.quantization import decoder, encoder
from keras_dlcourse.edge.vision.bit_depth import check_bits
from keras_dlcourse.edge.vision.images import load_image, read_image, resize

# Images loaded at a time, and passed at once to a model with a variable batch size.
_CHUNK = 32


class ImageModel:
    """A `.tflite` file that takes one image: read, checked, and ready to run.

    The base class of `ImageClassifier` and `ImageEmbedder`, which define what the first output
    means. One object can be shared between threads; calls run one at a time.

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
        check_bits(bits)
        self._file = model if isinstance(model, ModelFile) else ModelFile.read(model)
        self._options: dict[str, Any] = {
            "mean": mean,
            "std": std,
            "threads": threads,
            "crop": crop,
            "bits": bits,
            "untrusted": untrusted,
        }
        self._input = _image_input(self._file, self._kind)
        self._width = self._numbers()
        self._normalization = _normalization(self._file, mean, std, self.input_shape[-1])
        self._encode = encoder(self._input, self._normalization)
        self._decoders = [decoder(tensor) for tensor in self._file.outputs]
        self._crop = crop
        self._bits = bits
        self._threads = threads
        self._lock = threading.Lock()
        self._session = _session(self._file, threads, untrusted)
        self._closed = False
        self._open_batch = self._input.shape_signature[0] == -1
        self._batch = self._input.shape[0]

    def close(self) -> None:
        """Free the interpreter, and end its process if the model is untrusted.

        This also happens at the end of a `with` block, and when the model is garbage-collected.
        """
        with self._lock:
            self._closed = True
            self._session.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the file's content and the options; the copy opens its own interpreter."""
        return _reopen, (type(self), self._file, self._options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def normalization(self) -> Normalization | None:
        """The normalization applied to pixels, or None if the model takes them unchanged."""
        return self._normalization

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the image that the model takes."""
        height, width, *channels = self._input.shape[1:]
        return height, width, channels[0] if channels else 1

    @property
    def runtime(self) -> str:
        """Name and version of the interpreter that runs the model."""
        return self._session.runtime

    @property
    def model_file(self) -> ModelFile:
        """The model file with its metadata."""
        return self._file

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
        values = self._encode(pixels).reshape(-1, *self._input.shape[1:])
        with self._lock:
            size = min(len(values), _CHUNK) if self._open_batch else self._batch
            parts = [
                self._invoke(values[start : start + size], size)
                for start in range(0, len(values), size)
            ]
        outputs = parts[0] if len(parts) == 1 else [*map(np.concatenate, zip(*parts, strict=True))]
        return [decode(v) for decode, v in zip(self._decoders, outputs, strict=True)]

    def benchmark(self, runs: int = 50) -> Latency:
        """Return the latency of the model for one image of its input size.

        Args:
            runs: Number of calls to measure, after some warm-up calls.
        """
        pixels = np.random.default_rng(0).integers(0, 256, (1, *self.input_shape), np.uint8)
        return measure(lambda: self.run(pixels), runs, self.runtime, self._threads)

    def _numbers(self) -> int:
        """Return the number of values in the first output, after checking that it is a vector."""
        return _width(self._file, self._kind, self._gives, self._values)

    def _vectors(self, images: Any) -> np.ndarray:
        """Return the first output for each image, shape (n, width)."""
        # Load in chunks so that a long list of files need not fit in memory.
        chunks = [self.run(chunk)[0] for chunk in self._chunks(images)]
        vectors = np.concatenate(chunks) if chunks else np.zeros((0, self._width), np.float32)
        return vectors.reshape(-1, self._width)

    def _invoke(self, values: np.ndarray, size: int) -> list[np.ndarray]:
        """Run the interpreter on at most `size` images; the lock is held."""
        if self._closed:
            raise ValueError(f"{self._file.what} is closed. Open it again.")
        count = len(values)
        if not self._open_batch and count < size:
            padding = np.zeros((size - count, *values.shape[1:]), values.dtype)
            values = np.concatenate([values, padding])
        outputs = [*map(np.atleast_1d, self._session.run(values))]
        if len(outputs) != len(self._decoders) or outputs[0].size != len(values) * self._width:
            raise InvalidModel(
                f"{self._file.what} is damaged: for {len(values)} images it returns the shapes "
                f"{[output.shape for output in outputs]}"
            )
        return [output[:count] for output in outputs]

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
        for start in range(0, len(images), _CHUNK):
            loaded = [self._load(image) for image in images[start : start + _CHUNK]]
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


def _reopen(kind: type[ImageModel], file: ModelFile, options: dict[str, Any]) -> ImageModel:
    """Open a model from its pickled state."""
    return kind(file, **options)


def _session(file: ModelFile, threads: int | None, untrusted: bool | Limits) -> Session | Sandbox:
    """Open a file in this process or in a separate one."""
    check_threads(threads)
    limits = untrusted if isinstance(untrusted, Limits) else Limits()
    there = limits.memory if untrusted else memory_size()
    if file.working_bytes > there:
        raise ModelStopped(
            f"{file.what} needs at least {file.working_bytes >> 20} MiB of memory for its values, "
            f"but only {there >> 20} MiB are available"
        )
    if not untrusted:
        return Session(file.content, file.what, threads)
    return Sandbox(file.content, file.what, threads, limits)


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
    if len(shape) < 2 or shape[:-1] != (batch,) + (1,) * (len(shape) - 2) or shape[-1] < 1:
        raise ValueError(
            f"{kind} must return {gives}; {file.what} returns {output.shape_signature}"
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
