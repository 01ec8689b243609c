"""Image in, labels out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import repeat
from typing import Any, Literal, overload

import numpy as np

from keras_dlcourse.edge.description.labels import Labels, ordered_labels
from keras_dlcourse.edge.results import Category, Classification
from keras_dlcourse.edge.runtime.sandbox import Limits
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.class_map import enlarge, map_output
from keras_dlcourse.edge.vision.image_model import ImageModel
from keras_dlcourse.edge.vision.score_calibration import calibrate


class ImageClassifier(ImageModel):
    """Classifies images with a `.tflite` file, on any device that has a LiteRT interpreter.

    The file says by itself what its pixels go through and what its classes are called, in standard
    TFLite metadata, as ours and many others do. Files that do not say it work with `labels`,
    `mean` and `std`. The file is read into memory and checked before the interpreter sees it.
    One classifier can be called from several threads; it serves one after the other.

    Args:
        model: Path or bytes of a `.tflite` file, or a `ModelFile`.
        labels: Names of the classes in the order of the outputs, instead of the file's: a list, a
            dictionary of numbers to names or of names to numbers, or an open text file.
        mean: What is subtracted from pixels (0 to 255): one number or one per channel, instead of
            the file's. Given together with `std`.
        std: What they are divided by then.
        threads: Threads to compute on; None leaves it to the runtime, which takes one.
        crop: How images of other sizes are made to fit: False stretches them, True crops their
            centre. Take what training took.
        bits: How many bits the values of grey images have that are stored in 16, see `read_image`.
        untrusted: Whether to run the model in a process of its own, so that one that crashes, or
            takes too much time or memory, does not end this one: True, or the `Limits`.

    Raises:
        InvalidModel: If the file is damaged or no `.tflite` file, or the runtime refuses it;
            `ModelStopped` if it is untrusted and crashed or was stopped.
        ValueError: If it is no image classifier, its pixels' normalisation is not known, or
            `labels` does not fit its outputs.
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
        """Names of the classes in the order of the outputs, None if not known."""
        return self._labels

    @property
    def score_thresholds(self) -> tuple[float, ...] | None:
        """For each class the score from which on it counts as there, None if the file has none.

        A file of a network for images with any number of labels has them, or one that may answer
        that it does not know: then `classify` lists nothing.
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
        """Return what an image shows, the likeliest first.

        Args:
            image: Path, bytes of an image file, PIL image, or uint8 array of shape (height, width)
                or (height, width, 1, 3 or 4). Other sizes than the model's are resized.
            max_results: How many categories at most; None for all.
            score_threshold: The least score to list; None for the file's own, if it has one, or one
                for each class.
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
        number = map_output(self._file, self._width) if with_map else None
        outputs = self.run(self._load(image)[None])
        categories = listed(self._calibrated(outputs[0])[0], labels, max_results, least)
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
        number = map_output(self._file, self._width)
        chosen = None if category is None else self._index(category)
        size, outputs = self._seen(image)
        if chosen is None:
            chosen = int(self._calibrated(outputs[0])[0].argmax())
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
        """Return what each image shows: `classify` for several.

        Args:
            images: Sequence of what `classify` takes, or uint8 array of shape
                (n, height, width, channels).
            max_results: As for `classify`.
            score_threshold: As for `classify`.
        """
        labels, least = self._known_labels(), self._least(max_results, score_threshold)
        return [listed(scores, labels, max_results, least) for scores in self.scores(images)]

    def scores(self, images: Any) -> np.ndarray:
        """Return the score of every class for each image.

        Args:
            images: As for `classify_batch`.

        Returns:
            float32 array of shape (n, classes), calibrated where the file says how.
        """
        return self._calibrated(self._vectors(images))

    def _calibrated(self, scores: np.ndarray) -> np.ndarray:
        """Return the first output as scores of shape (n, classes)."""
        scores = scores.reshape(-1, self._width)
        return scores if self._calibration is None else calibrate(scores, self._calibration)

    def _least(self, max_results: int | None, score_threshold: float | None) -> Any:
        """Return the least score to list, of all or of each class, after a check of both limits."""
        if max_results is not None and (not isinstance(max_results, int) or max_results < 1):
            raise ValueError(
                f"max_results must be a whole number above 0, or None, got {max_results!r}"
            )
        if score_threshold is not None:
            return score_threshold
        if self.score_thresholds is not None:
            return np.array(self.score_thresholds, np.float32)
        return self._file.metadata.score_threshold

    def _index(self, category: int | str) -> int:
        """Return the number of a class given by number or label."""
        if isinstance(category, str):
            labels = self._known_labels()
            if category not in labels:
                raise ValueError(f"there is no class {category!r}; there are: {', '.join(labels)}")
            return labels.index(category)
        if not isinstance(category, int | np.integer) or not 0 <= category < self._width:
            raise ValueError(
                f"category must be a label, or an index from 0 to {self._width - 1}, "
                f"got {category!r}"
            )
        return int(category)

    def _known_labels(self) -> tuple[str, ...]:
        if self._labels is None:
            raise ValueError(
                f"{self._file.what} does not say what its {self._width} classes are called: pass "
                "labels=, or use scores"
            )
        return self._labels


def listed(
    scores: np.ndarray, labels: tuple[str, ...], most: int | None, least: Any
) -> list[Category]:
    """Return the categories of one image, the likeliest first."""
    order = np.argsort(-scores, kind="stable")
    if least is not None:
        order = order[(scores >= least)[order]]
    order = order[:most]
    indices = order.tolist()
    rows = zip(indices, map(labels.__getitem__, indices), scores[order].tolist(), strict=True)
    # A thousand classes take longer to make by name than the rest of this module takes.
    return list(map(tuple.__new__, repeat(Category), rows))


def _labels(file: ModelFile, labels: Labels | None, classes: int) -> tuple[str, ...] | None:
    """Return the caller's labels, or else the file's, as many as classes."""
    names = file.metadata.labels if labels is None else ordered_labels(labels)
    if names is not None and len(names) != classes:
        raise ValueError(
            f"{len(names)} labels {'in the file' if labels is None else 'given'}, but "
            f"{file.what} has {classes} outputs; they must be one name per output, in its order"
        )
    thresholds = file.metadata.score_thresholds
    if thresholds is not None and len(thresholds) != classes:
        raise ValueError(
            f"{file.what} has {len(thresholds)} thresholds of scores, but {classes} outputs"
        )
    if file.metadata.score_calibration is not None:
        rows = len(file.metadata.score_calibration.parameters)
        if rows != classes:
            raise ValueError(f"{file.what} calibrates {rows} scores, but has {classes} outputs")
    return names
