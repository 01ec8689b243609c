"""Image in, labels out."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, Literal, NamedTuple, overload

import numpy as np

from keras_dlcourse.edge.calibration import calibrate
from keras_dlcourse.edge.class_map import Classification, enlarge, map_output
from keras_dlcourse.edge.flatbuffer import InvalidModel
from keras_dlcourse.edge.graph import Tensor
from keras_dlcourse.edge.images import load_image, read_image, resize
from keras_dlcourse.edge.latency import Latency, measure
from keras_dlcourse.edge.model_file import ModelFile
from keras_dlcourse.edge.normalization import Normalization
from keras_dlcourse.edge.quantization import decoder, encoder
from keras_dlcourse.edge.runtime import interpreter, runtime_name

# Images loaded at a time, and given at once to a model of open batch size.
_CHUNK = 32


class Category(NamedTuple):
    """A class that an image may show.

    Attributes:
        index: Its number among the model's outputs.
        label: Its name.
        score: What the model gives it; for softmax outputs a probability.
    """

    index: int  # type: ignore[assignment]  # instead of tuple's method
    label: str
    score: float


class ImageClassifier:
    """Classifies images with a `.tflite` file, on any device that has a LiteRT interpreter.

    The file says by itself what its pixels go through and what its classes are called, in standard
    TFLite metadata, as ours and many others do. Files that do not say it work with `labels`,
    `mean` and `std`. The file is read into memory and checked before the interpreter sees it.
    One classifier can be called from several threads; it serves one after the other.

    Args:
        model: Path or bytes of a `.tflite` file, or a `ModelFile`.
        labels: Names of the classes in the order of the outputs, instead of the file's.
        mean: What is subtracted from pixels (0 to 255): one number or one per channel, instead of
            the file's. Given together with `std`.
        std: What they are divided by then.
        threads: Threads to compute on; None leaves it to the runtime, which takes one.
        crop: How images of other sizes are made to fit: False stretches them, True crops their
            centre. Take what training took.

    Raises:
        InvalidModel: If the file is damaged or no `.tflite` file, or the runtime refuses it.
        ValueError: If it is no image classifier, its pixels' normalisation is not known, or
            `labels` does not fit its outputs.
        OSError: If the file cannot be read.
        ImportError: If no interpreter is installed.

    Example:
        >>> classifier = ImageClassifier("model.int8.tflite")  # doctest: +SKIP
        >>> classifier.classify("shirt.png", max_results=1)  # doctest: +SKIP
        [Category(index=6, label='Shirt', score=0.91796875)]
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | ModelFile,
        *,
        labels: Sequence[str] | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        threads: int | None = None,
        crop: bool = False,
    ) -> None:
        self._file = model if isinstance(model, ModelFile) else ModelFile.read(model)
        self._input = _image_input(self._file)
        self._classes = _width(self._file)
        self._normalization = _normalization(self._file, mean, std, self._input.shape[-1])
        self._encode = encoder(self._input, self._normalization)
        self._decoders = [decoder(tensor) for tensor in self._file.outputs]
        self._labels = _labels(self._file, labels, self._classes)
        self._calibration = self._file.metadata.score_calibration
        self._crop = crop
        self._threads = threads
        self._lock = threading.Lock()
        self._interpreter = interpreter(self._file.content, threads)
        self._input_index = self._interpreter.get_input_details()[0]["index"]
        self._output_indices = [d["index"] for d in self._interpreter.get_output_details()]
        self._open_batch = self._input.shape_signature[0] == -1
        self._batch = self._input.shape[0]

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes in the order of the outputs, None if not known."""
        return self._labels

    @property
    def normalization(self) -> Normalization | None:
        """What pixels go through, None if the model takes them as they are."""
        return self._normalization

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the image that the model takes."""
        height, width, channels = self._input.shape[1:]
        return height, width, channels

    @property
    def runtime(self) -> str:
        """The interpreter that runs the model, with its version."""
        return runtime_name()

    @property
    def model_file(self) -> ModelFile:
        """The file and what it says of itself."""
        return self._file

    @overload
    def classify(
        self,
        image: Any,
        max_results: int | None = None,
        score_threshold: float | None = None,
        with_map: Literal[False] = False,
    ) -> list[Category]: ...

    @overload
    def classify(
        self,
        image: Any,
        max_results: int | None = None,
        score_threshold: float | None = None,
        *,
        with_map: Literal[True],
    ) -> Classification: ...

    def classify(
        self,
        image: Any,
        max_results: int | None = None,
        score_threshold: float | None = None,
        with_map: bool = False,
    ) -> list[Category] | Classification:
        """Return what an image shows, the likeliest first.

        Args:
            image: Path, bytes of an image file, PIL image, or uint8 array of shape (height, width)
                or (height, width, 1, 3 or 4). Other sizes than the model's are resized.
            max_results: How many categories at most; None for all.
            score_threshold: The least score to list; None for the file's own, if it has one.
            with_map: Whether to return the maps of all classes with it, from the same run; for
                files that have them.

        Returns:
            The categories; `with_map`, a `Classification` of categories and class_maps.

        Raises:
            InvalidImage: If the image cannot be read.
            TypeError: If it is of another type, or an array of another dtype.
            ValueError: If the array has another shape, the classes' names are not known, or the
                file has no map.
        """
        labels, least = self._known_labels(), self._least(max_results, score_threshold)
        number = map_output(self._file, self._classes) if with_map else None
        outputs = self.run(self._load(image)[None])
        categories = _categories(self._calibrated(outputs[0])[0], labels, max_results, least)
        return categories if number is None else Classification(categories, outputs[number][0])

    def class_map(
        self, image: Any, category: int | str | None = None, full_size: bool = False
    ) -> np.ndarray:
        """Return where in an image the evidence for one class stands.

        Args:
            image: What `classify` takes.
            category: The class, by index or label; None for that of the highest score.
            full_size: Whether to enlarge the map to the size of the image, bilinear; NaN outside of
                the centre that a classifier with `crop=True` sees.

        Returns:
            float32 array of shape (height, width): `M_c = sum_k w_k^c f_k`, see `Classification`.

        Raises:
            InvalidImage: If the image cannot be read.
            InvalidModel: If the file's map has another shape than its metadata say.
            ValueError: If the file has no map or no such class.

        Example:
            >>> classifier = ImageClassifier("mapped.tflite")  # doctest: +SKIP
            >>> classifier.class_map("shirt.png", "Shirt").shape  # doctest: +SKIP
            (7, 7)
        """
        number = map_output(self._file, self._classes)
        chosen = None if category is None else self._index(category)
        height, width, channels = self.input_shape
        pixels = read_image(image, channels)
        outputs = self.run(resize(pixels, (height, width), self._crop)[None])
        if chosen is None:
            chosen = int(self._calibrated(outputs[0])[0].argmax())
        plane = outputs[number][0, :, :, chosen]
        if not full_size:
            return plane
        return enlarge(plane, pixels.shape[:2], height / width if self._crop else None)

    def classify_batch(
        self,
        images: Any,
        max_results: int | None = None,
        score_threshold: float | None = None,
    ) -> list[list[Category]]:
        """Return what each image shows: `classify` for several.

        Args:
            images: Sequence of what `classify` takes, or uint8 array of shape
                (n, height, width, channels).
            max_results: As for `classify`.
            score_threshold: As for `classify`.
        """
        labels, least = self._known_labels(), self._least(max_results, score_threshold)
        return [_categories(scores, labels, max_results, least) for scores in self.scores(images)]

    def scores(self, images: Any) -> np.ndarray:
        """Return the score of every class for each image.

        Args:
            images: As for `classify_batch`.

        Returns:
            float32 array of shape (n, classes), calibrated where the file says how.
        """
        # Chunk by chunk, so that a long list of files need not fit into memory.
        chunks = [self.run(chunk)[0] for chunk in self._chunks(images)]
        scores = np.concatenate(chunks) if chunks else np.zeros((0, self._classes), np.float32)
        return self._calibrated(scores)

    def run(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Return everything that the model gives for images of its own size.

        Args:
            pixels: uint8 array of shape (n, *input_shape), 0 to 255, n at least 1.

        Returns:
            One float32 array per output of the model, dequantised, the images on the first axis.

        Raises:
            TypeError: If `pixels` is not uint8.
            ValueError: If it has another shape.
        """
        pixels = np.asarray(pixels)
        if pixels.dtype != np.uint8:
            raise TypeError(f"pixels must be uint8, from 0 to 255, got {pixels.dtype}")
        if pixels.shape[1:] != self._input.shape[1:] or len(pixels) == 0:
            raise ValueError(
                f"pixels must have the shape (n, {', '.join(map(str, self.input_shape))}) with n "
                f"at least 1, got {pixels.shape}"
            )
        values = self._encode(pixels)
        with self._lock:
            size = min(len(values), _CHUNK) if self._open_batch else self._batch
            parts = [
                self._invoke(values[start : start + size], size)
                for start in range(0, len(values), size)
            ]
        outputs = parts[0] if len(parts) == 1 else [*map(np.concatenate, zip(*parts, strict=True))]
        return [decode(v) for decode, v in zip(self._decoders, outputs, strict=True)]

    def benchmark(self, runs: int = 50) -> Latency:
        """Return how long the model takes for one image of its own size.

        Args:
            runs: Calls to measure, after some to warm up.
        """
        pixels = np.random.default_rng(0).integers(0, 256, (1, *self.input_shape), np.uint8)
        return measure(lambda: self.run(pixels), runs, self.runtime, self._threads)

    def _invoke(self, values: np.ndarray, size: int) -> list[np.ndarray]:
        """Run the interpreter on at most `size` images; the lock is held."""
        count = len(values)
        if self._open_batch:
            self._resize(count)
        elif count < size:
            padding = np.zeros((size - count, *values.shape[1:]), values.dtype)
            values = np.concatenate([values, padding])
        try:
            self._interpreter.set_tensor(self._input_index, values)
            self._interpreter.invoke()
        except RuntimeError as error:
            raise InvalidModel(f"{self.runtime} cannot run {self._file.what}: {error}") from error
        outputs = [self._interpreter.get_tensor(index) for index in self._output_indices]
        return [output[:count] for output in map(np.atleast_1d, outputs)]

    def _resize(self, count: int) -> None:
        """Give the model's input room for `count` images."""
        if count != self._batch:
            shape = [count, *self._input.shape[1:]]
            try:
                self._interpreter.resize_tensor_input(self._input_index, shape)
                self._interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise InvalidModel(
                    f"{self._file.what} takes no batch of {count}: {error}"
                ) from error
            self._batch = count

    def _chunks(self, images: Any) -> Iterator[np.ndarray]:
        """Yield the images some at a time as arrays of the model's size."""
        if isinstance(images, np.ndarray) and images.ndim != 4:
            raise ValueError(
                "an array of images has the shape (n, height, width, channels), "
                f"got {images.shape}; one image goes to classify, or into a list"
            )
        if isinstance(images, str | bytes | os.PathLike):
            raise TypeError("images must be a sequence of images; one image goes to classify")
        for start in range(0, len(images), _CHUNK):
            loaded = [self._load(image) for image in images[start : start + _CHUNK]]
            yield np.stack(loaded) if len(loaded) > 1 else loaded[0][None]

    def _load(self, image: Any) -> np.ndarray:
        """Return an image as pixels of the model's size."""
        height, width, channels = self.input_shape
        if (
            isinstance(image, np.ndarray)
            and image.dtype == np.uint8
            and image.shape == self._input.shape[1:]
        ):
            return image
        return load_image(image, (height, width), channels, self._crop)

    def _calibrated(self, scores: np.ndarray) -> np.ndarray:
        """Return the first output as scores of shape (n, classes)."""
        scores = scores.reshape(-1, self._classes)
        return scores if self._calibration is None else calibrate(scores, self._calibration)

    def _least(self, max_results: int | None, score_threshold: float | None) -> float | None:
        """Return the least score to list, after a check of both limits."""
        if max_results is not None and (not isinstance(max_results, int) or max_results < 1):
            raise ValueError(
                f"max_results must be a whole number above 0, or None, got {max_results!r}"
            )
        return self._file.metadata.score_threshold if score_threshold is None else score_threshold

    def _index(self, category: int | str) -> int:
        """Return the number of a class given by number or label."""
        if isinstance(category, str):
            labels = self._known_labels()
            if category not in labels:
                raise ValueError(f"there is no class {category!r}; there are: {', '.join(labels)}")
            return labels.index(category)
        if not isinstance(category, int | np.integer) or not 0 <= category < self._classes:
            raise ValueError(
                f"category must be a label, or an index from 0 to {self._classes - 1}, "
                f"got {category!r}"
            )
        return int(category)

    def _known_labels(self) -> tuple[str, ...]:
        if self._labels is None:
            raise ValueError(
                f"{self._file.what} does not say what its {self._classes} classes are called: pass "
                "labels=, or use scores"
            )
        return self._labels


def _categories(
    scores: np.ndarray, labels: tuple[str, ...], most: int | None, least: float | None
) -> list[Category]:
    """Return the categories of one image, the likeliest first."""
    order = np.argsort(-scores, kind="stable")[:most]
    if least is not None:
        order = order[scores[order] >= least]
    indices = order.tolist()
    rows = zip(indices, map(labels.__getitem__, indices), scores[order].tolist(), strict=True)
    # A thousand classes take longer to make by name than the rest of this module takes.
    return list(map(tuple.__new__, repeat(Category), rows))


def _image_input(file: ModelFile) -> Tensor:
    """Return the input, checked to be one image."""
    shapes = [tensor.shape_signature for tensor in file.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] not in (1, 3):
        raise ValueError(
            "an image classifier has one input of shape (batch, height, width, 1 or 3 channels); "
            f"{file.what} has inputs of shape {', '.join(map(str, shapes)) or 'none'}"
        )
    if min(shapes[0][1:]) < 1 or file.inputs[0].shape[0] < 1:
        raise ValueError(
            f"{file.what} has an input of open size {shapes[0]}; height and width must be fixed"
        )
    return file.inputs[0]


def _width(file: ModelFile) -> int:
    """Return the number of classes."""
    output = file.outputs[0]
    shape = output.shape
    batch = file.inputs[0].shape[0]
    if len(shape) < 2 or shape[:-1] != (batch,) + (1,) * (len(shape) - 2) or shape[-1] < 1:
        raise ValueError(
            "an image classifier gives one score per class, shape (batch, classes); "
            f"{file.what} gives {output.shape_signature}"
        )
    if output.dtype not in ("float32", "uint8", "int8", "int16"):
        raise ValueError(f"scores are float32, uint8, int8 or int16; {file.what}: {output.dtype}")
    return shape[-1]


def _normalization(file: ModelFile, mean: Any, std: Any, channels: int) -> Normalization | None:
    """Return what the caller says that pixels go through, or else what the file says."""
    if (mean is None) != (std is None):
        raise ValueError(f"mean and std are given together, got mean={mean!r} and std={std!r}")
    if mean is not None and std is not None:
        normalization: Normalization | None = Normalization(mean, std)
    else:
        normalization = file.metadata.normalization
    if normalization is not None and len(normalization.mean) not in (1, channels):
        raise ValueError(
            f"the normalization has {len(normalization.mean)} channels, "
            f"but {file.what} takes images of {channels}"
        )
    return normalization


def _labels(file: ModelFile, labels: Sequence[str] | None, classes: int) -> tuple[str, ...] | None:
    """Return the caller's labels, or else the file's, as many as classes."""
    if isinstance(labels, str):
        raise TypeError("labels must be a sequence of names, got one string")
    names = file.metadata.labels if labels is None else tuple(map(str, labels))
    if names is not None and len(names) != classes:
        raise ValueError(
            f"{len(names)} labels {'in the file' if labels is None else 'given'}, but "
            f"{file.what} has {classes} outputs; they must be one name per output, in its order"
        )
    if file.metadata.score_calibration is not None:
        rows = len(file.metadata.score_calibration.parameters)
        if rows != classes:
            raise ValueError(f"{file.what} calibrates {rows} scores, but has {classes} outputs")
    return names
