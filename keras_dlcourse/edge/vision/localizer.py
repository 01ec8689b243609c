"""Image in, object out: what it is, where it is, and where its keypoints are."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_dlcourse.edge.description.layouts import BOX, KEYPOINTS
from keras_dlcourse.edge.results import Category, Detection, NormalizedKeypoint
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.classifier import ImageClassifier, listed
from keras_dlcourse.edge.vision.image_model import ImageModel
from keras_dlcourse.edge.vision.images import centre_box
from keras_dlcourse.edge.vision.window import Window


class ObjectLocalizer(ImageClassifier):
    """Says what the one object in an image is and where, with a `.tflite` file.

    The file has an output with the scores of classes, one with a box, and maybe one with keypoints,
    and its metadata say which is which and what the numbers are: `kd.export.to_tflite` of a
    `kd.models.localizer` writes such files. As an `ImageClassifier` it also classifies.

    Args:
        model: Path or bytes of a `.tflite` file, or a `ModelFile`.
        labels: Names of the classes, instead of the file's.
        mean: What is subtracted from pixels, instead of the file's; given together with `std`.
        std: What they are divided by then.
        threads: Threads to compute on; None leaves it to the runtime.
        crop: Whether images of other sizes are cropped to their centre instead of stretched. Boxes
            are in pixels of the whole image either way.
        bits: How many bits the values of grey images have that are stored in 16, see `read_image`.
        untrusted: Whether to run the model in a process of its own, so that one that crashes, or
            takes too much time or memory, does not end this one: True, or the `Limits`.

    Raises:
        InvalidModel: If the file is damaged, or its outputs are not what it says of them.
        ValueError: If it does not say which output is a box.
        OSError: If the file cannot be read.
        ImportError: If no interpreter is installed.

    Example:
        >>> localizer = ObjectLocalizer("localizer.int8.tflite")  # doctest: +SKIP
        >>> localizer.locate("photo.jpg", max_results=1)  # doctest: +SKIP
        Detection(bounding_box=BoundingBox(origin_x=52, origin_y=31, width=170, height=141),
                  categories=[Category(index=0, label='bird', score=0.98)], keypoints=[])
    """

    _kind = "an object localizer"

    def __init__(self, model: Any, **options: Any) -> None:
        super().__init__(model, **options)
        self._places = _Places(self._file)
        if self._places.box is None:
            raise ValueError(
                f"{self._file.what} has no box: its metadata name the outputs "
                f"{', '.join(self._file.metadata.outputs) or 'nothing'}. Export a "
                "kd.models.localizer, or classify with ImageClassifier"
            )
        if self._places.is_first:
            raise ValueError(
                f"{self._file.what} has no scores of classes, only places: open it with "
                "KeypointDetector"
            )

    def locate(
        self, image: Any, max_results: int | None = None, score_threshold: float | None = None
    ) -> Detection:
        """Return what the object in an image is and where.

        Args:
            image: What `classify` takes.
            max_results: How many categories at most; None for all.
            score_threshold: As for `classify`.

        Raises:
            InvalidImage: If the image cannot be read.
            ValueError: If the array has another shape, or the classes' names are not known.
        """
        labels, least = self._known_labels(), self._least(max_results, score_threshold)
        size, outputs = self._seen(image)
        scores = self._calibrated(outputs[0])[0]
        categories = listed(scores, labels, max_results, least)
        return self._places.detection(outputs, size, self._crop, categories)


class KeypointDetector(ImageModel):
    """Finds the keypoints of the one object in an image, with a `.tflite` file.

    The network sees the whole image. Where its points are relative to the box of the object, which
    is another output then, they are placed in the image by it.

    Args:
        model: Path or bytes of a `.tflite` file, or a `ModelFile`.
        mean: What is subtracted from pixels, instead of the file's; given together with `std`.
        std: What they are divided by then.
        threads: Threads to compute on; None leaves it to the runtime.
        crop: Whether images of other sizes are cropped to their centre instead of stretched.
        bits: How many bits the values of grey images have that are stored in 16, see `read_image`.
        untrusted: Whether to run the model in a process of its own, so that one that crashes, or
            takes too much time or memory, does not end this one: True, or the `Limits`.

    Raises:
        InvalidModel: If the file is damaged, or its outputs are not what it says of them.
        ValueError: If it does not say which output holds keypoints.
        OSError: If the file cannot be read.
        ImportError: If no interpreter is installed.

    Example:
        >>> detector = KeypointDetector("pose.int8.tflite")  # doctest: +SKIP
        >>> detector.detect("photo.jpg").keypoints[0]  # doctest: +SKIP
        NormalizedKeypoint(x=0.41, y=0.27, label='left eye')
    """

    _kind = "a keypoint detector"
    _for_one = "detect"

    def __init__(self, model: Any, **options: Any) -> None:
        super().__init__(model, **options)
        self._places = _Places(self._file)
        if self._places.keypoints is None:
            raise ValueError(
                f"{self._file.what} has no keypoints: its metadata name the outputs "
                f"{', '.join(self._file.metadata.outputs) or 'nothing'}. Export a "
                "kd.models.keypoint_regressor"
            )

    def detect(self, image: Any) -> Detection:
        """Return the keypoints in an image, and the box that they belong to, if the model says it.

        Args:
            image: Path, bytes of an image file, PIL image, or uint8 array.

        Raises:
            InvalidImage: If the image cannot be read.
            ValueError: If the array has another shape.
        """
        size, outputs = self._seen(image)
        return self._places.detection(outputs, size, self._crop, [])


class _Places:
    """The outputs of a file that hold places, checked."""

    def __init__(self, file: ModelFile) -> None:
        metadata = file.metadata
        self._size = file.inputs[0].shape[1:3]
        self.box = self._numbered(file, BOX, metadata.boxes, 4)
        self.keypoints = self._numbered(file, KEYPOINTS, metadata.keypoints, 2)
        if self.keypoints is not None:
            layout = self.keypoints[1]
            count = file.outputs[self.keypoints[0]].shape[-1] // 2
            if layout.names is not None and len(layout.names) != count:
                raise InvalidModel(
                    f"{file.what} is damaged: it names {len(layout.names)} keypoints and gives "
                    f"{count}"
                )
            if layout.relative_to == "box" and self.box is None:
                raise InvalidModel(
                    f"{file.what} is damaged: its keypoints are relative to a box, which it lacks"
                )

    @property
    def is_first(self) -> bool:
        """Whether a place is the first output, where a classifier has its scores."""
        return any(one is not None and one[0] == 0 for one in (self.box, self.keypoints))

    @staticmethod
    def _numbered(file: ModelFile, what: str, layouts: Any, unit: int) -> tuple[int, Any] | None:
        """Return the number of the first output of a kind, and its layout."""
        names = file.metadata.outputs
        found = [name for name in names if name in layouts]
        if not found:
            return None
        number = names.index(found[0])
        shape = file.outputs[number].shape if number < len(file.outputs) else ()
        batch = file.inputs[0].shape[0]
        fits = len(shape) == 2 and shape[0] == batch and shape[1] > 0
        if not fits or (shape[1] != unit if what == BOX else shape[1] % unit):
            raise InvalidModel(
                f"{file.what} is damaged: its {what} has the shape {shape or 'of no output'}"
            )
        return number, layouts[found[0]]

    def detection(
        self,
        outputs: list[np.ndarray],
        size: tuple[int, int],
        crop: bool,
        categories: list[Category],
    ) -> Detection:
        """Return an object, given what the network said of one image of a size."""
        window, edges, box = self._window(size, crop), None, None
        if self.box is not None:
            number, layout = self.box
            edges = layout.edges(outputs[number], self._size)
            box = window.box(edges[0])
        points: list[NormalizedKeypoint] = []
        if self.keypoints is not None:
            number, layout = self.keypoints
            places = layout.places(outputs[number], edges)[0]
            points = window.keypoints(places, layout.names, size)
        return Detection(box, categories, points)

    def _window(self, size: tuple[int, int], crop: bool) -> Window:
        """Return the part of an image that the network saw."""
        if not crop:
            return Window(0, 0, size[1], size[0])
        left, top, right, bottom = centre_box(*size, self._size[0] / self._size[1])
        return Window(left, top, right - left, bottom - top)
