"""Image in, labels out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import repeat
from typing import Any, Literal, overload

import numpy as np

from keras_dlcourse._checks import check_integer, check_number, check_one_of, is_whole
from keras_dlcourse.edge.description.labels import Labels, order_labels
from keras_dlcourse.edge.results import Category, Classification
from keras_dlcourse.edge.runtime.sandbox import Limits
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.class_map import enlarge, map_output
from keras_dlcourse.edge.vision.image_model import ImageModel
from keras_dlcourse.edge.vision.score_calibration import calibrate


class ImageClassifier(ImageModel):
    """Classifies images with a `.tflite` file, on any device with a LiteRT interpreter.

    The normalization and the class names come from the file's standard TFLite metadata, which our
    files and many others have. For files without it, pass `labels`, `mean` and `std`. The file is
    read into memory and checked before the interpreter sees it. One classifier can be shared
    between threads; calls run one at a time.

    Args:
        model: Path or bytes of a `.tflite` file, or a `ModelFile`.
        labels: Class names in the order of the outputs, instead of the file's: a list, a
            dictionary of numbers to names or of names to numbers, or an open text file.
        mean: Value to subtract from pixels (0 to 255), one number or one per channel, instead of
            the file's. Must be passed together with `std`.
        std: Value to divide by afterwards.
        threads: Number of threads; None leaves it to the runtime, which uses one.
        crop: How to fit images of other sizes: False stretches them, True center-crops them. Use
            the same setting as in training.
        bits: Number of significant bits in 16-bit grayscale images, see `read_image`.
        untrusted: Whether to run the model in a separate process, so that this process survives if
            the model crashes or takes too much time or memory: True, or the `Limits`.

    Raises:
        InvalidModel: If the file is damaged or not a `.tflite` file, or the runtime rejects it;
            `ModelStopped` if it is untrusted and crashed or was stopped.
        TypeError: If an argument has the wrong type.
        ValueError: If it is not an image classifier, the normalization of its pixels is unknown, or
            `labels` does not match its outputs.
        OSError: If the file cannot be read.
        ImportError: If no interpreter is installed.

    Example:
        >>> classifier = ImageClassifier("model.int8.tflite")  # doctest: +SKIP
        >>> classifier.classify("shirt.png", max_results=1)  # doctest: +SKIP
        [Category(index=6, label='Shirt', score=0.91796875)]
    """

    _kind = "an image classifier"
    _gives = "one score per class, shape (batch, classes)"
    _values = "scores"
    _for_one = "classify"

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | ModelFile,
        *,
        labels: Labels | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        threads: int | None = None,
        crop: bool = False,
        bits: int | None = None,
        untrusted: bool | Limits = False,
    ) -> None:
        super().__init__(
            model, mean=mean, std=std, threads=threads, crop=crop, bits=bits, untrusted=untrusted
        )
        self._labels = _labels(self._file, labels, self._width)
        self._options["labels"] = None if labels is None else self._labels
        self._calibration = self._file.metadata.score_calibration

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names in the order of the outputs, or None if unknown."""
        return self._labels

    @property
    def score_thresholds(self) -> tuple[float, ...] | None:
        """The minimum score of each class to count as present, or None if the file has none.

        Files of multi-label networks have thresholds, and files of networks that may reject an
        image as unknown, for which `classify` returns an empty list.
        """
        return self._file.metadata.score_thresholds

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
        """Return the categories of an image, most likely first.

        Args:
            image: Path, bytes of an image file, PIL image, or uint8 array of shape (height, width)
                or (height, width, 1, 3 or 4). Images of other sizes than the model's are resized.
            max_results: Maximum number of categories; None returns all.
            score_threshold: Minimum score to list; None uses the file's threshold or per-class
                thresholds, if it has any.
            with_map: Whether to also return the maps of all classes, from the same run; only for
                files with class maps.

        Returns:
            The categories; if `with_map`, a `Classification` with categories and class_maps.

        Raises:
            InvalidImage: If the image cannot be read.
            TypeError: If the image or another argument has an unsupported type or dtype.
            ValueError: If the array has an unsupported shape, the class names are unknown,
                `max_results` is below 1, or the file has no class map.
        """
        labels, least = self._require_labels(), self._minimum_score(max_results, score_threshold)
        number = map_output(self._file, self._width) if with_map else None
        outputs = self.run(self._load(image)[None])
        categories = list_categories(self._calibrate(outputs[0])[0], labels, max_results, least)
        return categories if number is None else Classification(categories, outputs[number][0])

    def class_map(
        self, image: Any, category: int | str | None = None, full_size: bool = False
    ) -> np.ndarray:
        """Return a map of the evidence for one class in an image.

        Args:
            image: An image as in `classify`.
            category: Index or label of the class; None uses the class with the highest score.
            full_size: Whether to enlarge the map to the size of the image with bilinear
                interpolation; NaN outside the center crop of a classifier with `crop=True`.

        Returns:
            float32 array of shape (height, width): `M_c = sum_k w_k^c f_k`, see `Classification`.

        Raises:
            InvalidImage: If the image cannot be read.
            InvalidModel: If the shape of the file's class map is wrong.
            TypeError: If `category` is neither a label nor an integer.
            ValueError: If the file has no class map or no such class.

        Example:
            >>> classifier = ImageClassifier("mapped.tflite")  # doctest: +SKIP
            >>> classifier.class_map("shirt.png", "Shirt").shape  # doctest: +SKIP
            (7, 7)
        """
        number = map_output(self._file, self._width)
        chosen = None if category is None else self._index(category)
        size, outputs = self._run_on_image(image)
        if chosen is None:
            chosen = int(self._calibrate(outputs[0])[0].argmax())
        plane = outputs[number][0, :, :, chosen]
        if not full_size:
            return plane
        height, width, _ = self.input_shape
        return enlarge(plane, size, height / width if self._crop else None)

    def classify_batch(
        self,
        images: Any,
        max_results: int | None = None,
        score_threshold: float | None = None,
    ) -> list[list[Category]]:
        """Return the categories of each image: `classify` for several images.

        Args:
            images: Sequence of images as in `classify`, or uint8 array of shape
                (n, height, width, channels).
            max_results: See `classify`.
            score_threshold: See `classify`.
        """
        labels, least = self._require_labels(), self._minimum_score(max_results, score_threshold)
        return [
            list_categories(scores, labels, max_results, least) for scores in self.scores(images)
        ]

    def scores(self, images: Any) -> np.ndarray:
        """Return the score of every class for each image.

        Args:
            images: See `classify_batch`.

        Returns:
            float32 array of shape (n, classes), calibrated if the file has a score calibration.
        """
        return self._calibrate(self._vectors(images))

    def _calibrate(self, scores: np.ndarray) -> np.ndarray:
        """Return the first output as scores of shape (n, classes)."""
        scores = scores.reshape(-1, self._width)
        return scores if self._calibration is None else calibrate(scores, self._calibration)

    def _minimum_score(self, max_results: int | None, score_threshold: float | None) -> Any:
        """Return the minimum score to list, for all or per class, after checking both limits."""
        if max_results is not None:
            check_integer("max_results", max_results)
        if score_threshold is not None:
            return check_number("score_threshold", score_threshold)
        if self.score_thresholds is not None:
            return np.array(self.score_thresholds, np.float32)
        return self._file.metadata.score_threshold

    def _index(self, category: int | str) -> int:
        """Return the index of a class given by index or label."""
        if isinstance(category, str):
            labels = self._require_labels()
            return labels.index(check_one_of("category", category, labels))
        if is_whole(category) and 0 <= category < self._width:
            return int(category)
        error = ValueError if is_whole(category) else TypeError
        raise error(
            f"category must be a label, or an index from 0 to {self._width - 1}. "
            f"Received: {category!r}"
        )

    def _require_labels(self) -> tuple[str, ...]:
        if self._labels is None:
            raise ValueError(
                f"{self._file.what} does not name its {self._width} classes. Pass labels=, or "
                "use scores()."
            )
        return self._labels


def list_categories(
    scores: np.ndarray, labels: tuple[str, ...], most: int | None, least: Any
) -> list[Category]:
    """Return the categories of one image, most likely first."""
    order = np.argsort(-scores, kind="stable")
    if least is not None:
        order = order[(scores >= least)[order]]
    order = order[:most]
    indices = order.tolist()
    rows = zip(indices, map(labels.__getitem__, indices), scores[order].tolist(), strict=True)
    # Constructing a thousand categories by name would take longer than the rest of this module.
    return list(map(tuple.__new__, repeat(Category), rows))


def _labels(file: ModelFile, labels: Labels | None, classes: int) -> tuple[str, ...] | None:
    """Return the caller's labels, or else the file's, after checking their number."""
    names = file.metadata.labels if labels is None else order_labels(labels)
    if names is not None and len(names) != classes:
        raise ValueError(
            f"there are {len(names)} labels {'in the file' if labels is None else 'given'}, but "
            f"{file.what} has {classes} outputs. Pass one label per output, in the same order."
        )
    thresholds = file.metadata.score_thresholds
    if thresholds is not None and len(thresholds) != classes:
        raise ValueError(
            f"{file.what} has {len(thresholds)} score thresholds, but {classes} outputs"
        )
    if file.metadata.score_calibration is not None:
        rows = len(file.metadata.score_calibration.parameters)
        if rows != classes:
            raise ValueError(f"{file.what} calibrates {rows} scores, but has {classes} outputs")
    return names
