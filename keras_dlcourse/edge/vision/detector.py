"""Image in, objects out: the box and class of each."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer, check_number, check_one_of
from keras_dlcourse.edge.description.labels import Labels, order_labels
from keras_dlcourse.edge.description.suppression import NonMaxSuppression
from keras_dlcourse.edge.results import Category, Detection
from keras_dlcourse.edge.runtime.sandbox import Limits
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.detection_reader import DetectionReader
from keras_dlcourse.edge.vision.image_model import ImageModel
from keras_dlcourse.edge.vision.window import Window

# The score from which objects are listed, if neither the file nor the caller has one.
SCORE_THRESHOLD = 0.3


class ObjectDetector(ImageModel):
    """Finds the objects in an image with a `.tflite` file: the box and class of each.

    Files have the boxes and scores of all anchors, from which this class chooses with
    `NonMaxSuppression`; or they do that themselves (`kd.export.to_tflite(..., nms="inside")`).
    MediaPipe's ObjectDetector opens both. With the first kind, it drops every box that overlaps a
    better one by more than 0.3, of whatever class, as this class does with
    `NonMaxSuppression(0.3, class_agnostic=True)`. Its edges of boxes are cut down to whole pixels,
    where these are rounded, and may be outside the image.

    Args:
        model: Path or bytes of a `.tflite` file, or a `ModelFile`.
        labels: Class names in the order of the scores, instead of the file's: a list, a dictionary
            of numbers to names or of names to numbers, or an open text file.
        mean: Value to subtract from pixels (0 to 255), instead of the file's. Must be passed
            together with `std`.
        std: Value to divide by afterwards.
        threads: Number of threads; None leaves it to the runtime, which uses one.
        crop: How to fit images of other sizes: False stretches them, True center-crops them. Use
            the same setting as in training. Boxes are in pixels of the whole image either way.
        bits: Number of significant bits in 16-bit grayscale images, see `read_image`.
        untrusted: Whether to run the model in a separate process, so that this process survives if
            the model crashes or takes too much time or memory: True, or the `Limits`.
        nms: How to choose among boxes that overlap; None takes the default of
            `NonMaxSuppression`. Not for files that do it themselves.

    Raises:
        InvalidModel: If the file is damaged or not a `.tflite` file, or the runtime rejects it;
            `ModelStopped` if it is untrusted and crashed or was stopped.
        TypeError: If an argument has the wrong type.
        ValueError: If it is not an object detector, the normalization of its pixels is unknown,
            `labels` does not match its scores, or `nms` is not for this file.
        OSError: If the file cannot be read.
        ImportError: If no interpreter is installed.

    Example:
        >>> detector = ObjectDetector("detector.int8.tflite")  # doctest: +SKIP
        >>> detector.detect("photo.jpg", max_results=1)  # doctest: +SKIP
        [Detection(bounding_box=BoundingBox(origin_x=52, origin_y=31, width=170, height=141),
                   categories=[Category(index=0, label='bird', score=0.98)], keypoints=[])]
    """

    _kind = "an object detector"
    _gives = "a box and scores for each anchor, or the boxes that are left of them"
    _values = "boxes"
    _for_one = "detect"

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
        nms: NonMaxSuppression | None = None,
    ) -> None:
        if not isinstance(nms, NonMaxSuppression | None):
            raise TypeError(f"nms must be a NonMaxSuppression. Received: {nms!r}")
        super().__init__(
            model, mean=mean, std=std, threads=threads, crop=crop, bits=bits, untrusted=untrusted
        )
        if nms is not None and self._reader.has_nms:
            raise ValueError(
                f"nms must be None for {self._file.what}, which chooses among boxes itself. Pass "
                "score_threshold and max_results to detect, or export with nms='outside'."
            )
        self._nms = nms or NonMaxSuppression()
        self._labels = self._find_labels(labels)
        self._options |= {"labels": None if labels is None else self._labels, "nms": nms}

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names in the order of their numbers, or None if unknown."""
        return self._labels

    def detect(
        self,
        image: Any,
        max_results: int | None = None,
        score_threshold: float | None = None,
        category_allowlist: Sequence[str] | None = None,
        category_denylist: Sequence[str] | None = None,
    ) -> list[Detection]:
        """Return the objects in an image, those with the highest scores first.

        Args:
            image: Path, bytes of an image file, PIL image, or uint8 array of shape (height, width)
                or (height, width, 1, 3 or 4). Images of other sizes than the model's are resized.
            max_results: Maximum number of objects; None takes that of `nms` or of the file.
            score_threshold: Minimum score to list, for all classes; None uses the thresholds of the
                file, else 0.3.
            category_allowlist: Names of the only classes to find.
            category_denylist: Names of classes not to find; not together with
                `category_allowlist`.

        Returns:
            A `Detection` for each object, with its box in pixels of the image and one category.
            Boxes end at the edge of the image.

        Raises:
            InvalidImage: If the image cannot be read.
            TypeError: If the image or another argument has an unsupported type or dtype.
            ValueError: If the array has an unsupported shape, `max_results` is below 1, a class is
                unknown, or the outputs are NaN.
        """
        least = self._minimum_score(score_threshold)
        allowed = self._find_allowed(category_allowlist, category_denylist)
        most = None if max_results is None else check_integer("max_results", max_results)
        size, outputs = self._run_on_image(image)
        found = self._reader.read(outputs, self._nms, least, allowed).take(slice(most))
        height, width, _ = self.input_shape
        window = Window.find(size, (height, width), self._crop)
        edges = found.edges.clip(0, 1)
        return [
            Detection(window.box(box), [Category(index, self._name(index), score)])
            for box, index, score in zip(
                edges, found.classes.tolist(), found.scores.tolist(), strict=True
            )
        ]

    def _numbers(self, file: ModelFile) -> int:
        """Return the number of values in the first output, after checking all of them."""
        self._reader = DetectionReader(file)
        return math.prod(file.outputs[0].shape[1:])

    def _minimum_score(self, given: float | None) -> np.ndarray | float:
        """Return the minimum score to list, for all classes or for each."""
        metadata = self._file.metadata
        if given is not None:
            return check_number("score_threshold", given)
        if metadata.score_thresholds is not None:
            return np.array(metadata.score_thresholds, np.float32)
        return SCORE_THRESHOLD if metadata.score_threshold is None else metadata.score_threshold

    def _find_allowed(self, allow: Any, deny: Any) -> np.ndarray | None:
        """Return whether each class may be found, None if all may be."""
        if allow is not None and deny is not None:
            raise ValueError(
                "category_allowlist and category_denylist must not be given together. Received: "
                f"{allow!r} and {deny!r}"
            )
        given = allow if allow is not None else deny
        if given is None:
            return None
        name = "category_allowlist" if allow is not None else "category_denylist"
        if isinstance(given, str):
            raise TypeError(f"{name} must be a list of names. Received: {given!r}")
        if self._labels is None:
            raise ValueError(f"{name} needs class names: {self._file.what} has none. Pass labels=.")
        chosen = {check_one_of(name, one, self._labels) for one in given}
        return np.array([(label in chosen) == (allow is not None) for label in self._labels])

    def _name(self, index: int) -> str:
        """Return the name of a class, after checking that there is one."""
        if self._labels is None:
            return f"class {index}"
        if not 0 <= index < len(self._labels):
            raise InvalidModel(
                f"{self._file.what} is damaged: it found class {index}, but has "
                f"{len(self._labels)} class names"
            )
        return self._labels[index]

    def _find_labels(self, labels: Labels | None) -> tuple[str, ...] | None:
        """Return the caller's class names, or else the file's, after checking their number."""
        metadata, classes = self._file.metadata, self._reader.classes
        names = metadata.labels if labels is None else order_labels(labels)
        if classes is None and metadata.labels is not None:
            classes = len(metadata.labels)
        if names is not None and classes is not None and len(names) != classes:
            raise ValueError(
                f"there are {len(names)} labels {'in the file' if labels is None else 'given'}, "
                f"but {self._file.what} has {classes} classes. Pass one label per class, in the "
                "same order."
            )
        thresholds = metadata.score_thresholds
        if thresholds is not None and classes is not None and len(thresholds) != classes:
            raise InvalidModel(
                f"{self._file.what} is damaged: it has {len(thresholds)} score thresholds, but "
                f"{classes} classes"
            )
        return names
