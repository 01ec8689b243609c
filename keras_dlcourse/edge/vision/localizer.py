"""Image in, object out: its class, bounding box and keypoints."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_dlcourse.edge.description.layouts import BOX, KEYPOINTS
from keras_dlcourse.edge.results import Category, Detection, NormalizedKeypoint
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.classifier import ImageClassifier, list_categories
from keras_dlcourse.edge.vision.image_model import ImageModel
from keras_dlcourse.edge.vision.window import Window


class ObjectLocalizer(ImageClassifier):
    """Classifies and locates the single object in an image with a `.tflite` file.

    The file has an output with class scores, one with a box, and optionally one with keypoints.
    Its metadata identifies the outputs and their formats; `kd.export.to_tflite` writes such files
    from a `kd.models.localizer`. All methods of `ImageClassifier` are available as well.

    Args:
        model: Path or bytes of a `.tflite` file, or a `ModelFile`.
        labels: Class names, instead of the file's.
        mean: Value to subtract from pixels, instead of the file's. Must be passed together with
            `std`.
        std: Value to divide by afterwards.
        threads: Number of threads; None leaves it to the runtime.
        crop: Whether to center-crop images of other sizes instead of stretching them. Boxes are in
            pixels of the whole image either way.
        bits: Number of significant bits in 16-bit grayscale images, see `read_image`.
        untrusted: Whether to run the model in a separate process, so that this process survives if
            the model crashes or takes too much time or memory: True, or the `Limits`.

    Raises:
        InvalidModel: If the file is damaged, or its outputs do not match its metadata.
        ValueError: If its metadata does not identify a box output.
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
                f"{self._file.what} has no box output. Outputs in its metadata: "
                f"{', '.join(self._file.metadata.outputs) or 'nothing'}. Export a "
                "kd.models.localizer, or classify with ImageClassifier."
            )
        if self._places.is_first:
            raise ValueError(
                f"{self._file.what} has no class scores, only boxes or keypoints. Open it with "
                "KeypointDetector."
            )

    def locate(
        self, image: Any, max_results: int | None = None, score_threshold: float | None = None
    ) -> Detection:
        """Return the categories, box and keypoints of the object in an image.

        Args:
            image: An image as in `classify`.
            max_results: Maximum number of categories; None returns all.
            score_threshold: See `classify`.

        Raises:
            InvalidImage: If the image cannot be read.
            ValueError: If the array has an unsupported shape, or the class names are unknown.
        """
        labels, least = self._require_labels(), self._minimum_score(max_results, score_threshold)
        size, outputs = self._run_on_image(image)
        scores = self._calibrate(outputs[0])[0]
        categories = list_categories(scores, labels, max_results, least)
        return self._places.detection(outputs, size, self._crop, categories)


class KeypointDetector(ImageModel):
    """Finds the keypoints of the single object in an image with a `.tflite` file.

    The network sees the whole image. If keypoints are relative to the object's box, the file has
    the box as another output, and keypoints are converted to image coordinates with it.

    Args:
        model: Path or bytes of a `.tflite` file, or a `ModelFile`.
        mean: Value to subtract from pixels, instead of the file's. Must be passed together with
            `std`.
        std: Value to divide by afterwards.
        threads: Number of threads; None leaves it to the runtime.
        crop: Whether to center-crop images of other sizes instead of stretching them.
        bits: Number of significant bits in 16-bit grayscale images, see `read_image`.
        untrusted: Whether to run the model in a separate process, so that this process survives if
            the model crashes or takes too much time or memory: True, or the `Limits`.

    Raises:
        InvalidModel: If the file is damaged, or its outputs do not match its metadata.
        ValueError: If its metadata does not identify a keypoint output.
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
                f"{self._file.what} has no keypoint output. Outputs in its metadata: "
                f"{', '.join(self._file.metadata.outputs) or 'nothing'}. Export a "
                "kd.models.keypoint_regressor."
            )

    def detect(self, image: Any) -> Detection:
        """Return the keypoints in an image, and their box if the model predicts one.

        Args:
            image: Path, bytes of an image file, PIL image, or uint8 array.

        Raises:
            InvalidImage: If the image cannot be read.
            ValueError: If the array has an unsupported shape.
        """
        size, outputs = self._run_on_image(image)
        return self._places.detection(outputs, size, self._crop, [])


class _Places:
    """The box and keypoint outputs of a file, after validation."""

    def __init__(self, file: ModelFile) -> None:
        metadata = file.metadata
        height, width = file.inputs[0].shape[1:3]
        self._size = (height, width)
        self.box = self._find_output(file, BOX, metadata.boxes, 4)
        self.keypoints = self._find_output(file, KEYPOINTS, metadata.keypoints, 2)
        if self.keypoints is not None:
            layout = self.keypoints[1]
            count = file.outputs[self.keypoints[0]].shape[-1] // 2
            if layout.names is not None and len(layout.names) != count:
                raise InvalidModel(
                    f"{file.what} is damaged: it names {len(layout.names)} keypoints but outputs "
                    f"{count}"
                )
            if layout.relative_to == "box" and self.box is None:
                raise InvalidModel(
                    f"{file.what} is damaged: its keypoints are relative to a box, which it lacks"
                )

    @property
    def is_first(self) -> bool:
        """Whether a box or keypoints are the first output, where classifiers have their scores."""
        return any(one is not None and one[0] == 0 for one in (self.box, self.keypoints))

    @staticmethod
    def _find_output(file: ModelFile, what: str, layouts: Any, unit: int) -> tuple[int, Any] | None:
        """Return the index of the first output of a kind, and its layout."""
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
        """Return a detection from the network's outputs for one image of the given size."""
        window, edges, box = Window.find(size, self._size, crop), None, None
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
