"""The boxes that the outputs of a detector stand for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_dlcourse.edge.description.layouts import BoxLayout, DetectionLayout
from keras_dlcourse.edge.description.suppression import NonMaxSuppression
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel
from keras_dlcourse.edge.tflite.graph import Tensor
from keras_dlcourse.edge.tflite.metadata import CATEGORY, COUNT, LOCATION, SCORE
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.non_max_suppression import non_max_suppression


class Boxes(NamedTuple):
    """The boxes in an image, best first.

    Attributes:
        edges: Left, top, right and bottom in fractions of the network's input, `(n, 4)` float32.
        classes: The class of each, `(n,)` int.
        scores: The score of each, `(n,)` float32.
    """

    edges: np.ndarray
    classes: np.ndarray
    scores: np.ndarray

    def take(self, chosen: np.ndarray | slice) -> Boxes:
        """Return some of the boxes."""
        return Boxes(*(values[chosen] for values in self))


def choose_boxes(
    values: np.ndarray,
    scores: np.ndarray,
    layout: DetectionLayout,
    nms: NonMaxSuppression,
    least: np.ndarray | float | None = None,
    allowed: np.ndarray | None = None,
) -> Boxes:
    """Decode the boxes of all anchors, and choose among those that overlap.

    Args:
        values: The boxes as the network gives them, `(anchors, 4)`.
        scores: The scores, `(anchors, classes)`.
        layout: Their meaning.
        nms: How to choose.
        least: The minimum score of each class, or of all, instead of that of `nms`.
        allowed: Whether each class may be found; None allows all.
    """
    confidences = layout.confidences(scores)
    if allowed is not None:
        confidences = np.where(allowed, confidences, -1)
    classes = confidences.argmax(1)
    best = confidences[np.arange(len(classes)), classes]
    limits = np.asarray(nms.score_threshold if least is None else least, np.float32)
    found = np.flatnonzero((best >= (limits[classes] if limits.ndim else limits)) & (best >= 0))
    boxes = Boxes(layout.edges(values[found], found), classes[found], best[found])
    kept = non_max_suppression(
        boxes.edges,
        boxes.scores,
        iou_threshold=nms.iou_threshold,
        max_results=nms.max_results,
        classes=None if nms.class_agnostic else boxes.classes,
    )
    return boxes.take(kept)


class DetectionReader:
    """Finds the outputs of a detector in its file, and reads the boxes from them.

    Args:
        file: The file.

    Raises:
        InvalidModel: If its outputs do not have the shapes that its metadata describe.
        ValueError: If it is not a detector.
    """

    def __init__(self, file: ModelFile) -> None:
        names = file.metadata.outputs
        if not file.metadata.is_detector or len(names) != len(file.outputs):
            other = "Open a mask with ImageSegmenter. " if file.metadata.mask is not None else ""
            raise ValueError(
                f"an object detector must have the outputs {LOCATION!r} and {SCORE!r} in its "
                f"metadata; {file.what} has {', '.join(filter(None, names)) or 'nothing'}. {other}"
                "Export a detector with kd.export.to_tflite, which writes them."
            )
        self._file = file
        self._numbers = {name: number for number, name in enumerate(names)}
        self.has_nms = file.metadata.has_nms
        self.layout = file.metadata.detection
        location, score = self._tensor(LOCATION), self._tensor(SCORE)
        if self.has_nms:
            self.boxes, self.classes = location.shape[1] if len(location.shape) > 1 else 0, None
            shapes = {SCORE: (1, self.boxes), CATEGORY: (1, self.boxes), COUNT: (1,)}
            layout = file.metadata.boxes.get(LOCATION)
            # As in files of TFLite_Detection_PostProcess without metadata: y, x, y, x.
            self._box = layout or BoxLayout("boundaries", (1, 0, 3, 2))
        else:
            if self.layout is None:
                raise ValueError(
                    f"an object detector without its own suppression must have anchors in its "
                    f"metadata, and boxes of four values that are decoded as in SSD; {file.what} "
                    "has none. Export it with kd.export.to_tflite."
                )
            self.boxes, self.classes = len(self.layout.anchors), score.shape[-1]
            shapes = {SCORE: (1, self.boxes, self.classes)}
        for name, shape in {LOCATION: (1, self.boxes, 4), **shapes}.items():
            found = self._tensor(name).shape_signature
            if found != shape:
                raise InvalidModel(
                    f"the output {name!r} of {file.what} must have the shape {shape}. Received: "
                    f"{found}"
                )

    @property
    def location(self) -> int:
        """The index of the output with the boxes."""
        return self._numbers[LOCATION]

    def _tensor(self, name: str) -> Tensor:
        if name not in self._numbers:
            raise InvalidModel(f"{self._file.what} must have an output {name!r}, as it has others")
        return self._file.outputs[self._numbers[name]]

    def read(
        self,
        outputs: list[np.ndarray],
        nms: NonMaxSuppression,
        least: np.ndarray | float | None = None,
        allowed: np.ndarray | None = None,
    ) -> Boxes:
        """Return the boxes in an image.

        Args:
            outputs: The outputs of the file, dequantized.
            nms: How to choose among boxes that overlap, unless the file does it.
            least: The minimum score of each class, or of all; None takes that of `nms`.
            allowed: Whether each class may be found; None allows all.

        Raises:
            ValueError: If outputs are NaN.
        """
        scores, values = (outputs[self._numbers[name]][0] for name in (SCORE, LOCATION))
        if np.isnan(scores).any() or np.isnan(values).any():
            raise ValueError(
                f"the outputs of {self._file.what} must be numbers. Received: NaN. Check the "
                "weights of the model, and its normalization."
            )
        if self.layout is not None and not self.has_nms:
            return choose_boxes(values, scores, self.layout, nms, least, allowed)
        count = int(outputs[self._numbers[COUNT]].item())
        numbers = outputs[self._numbers[CATEGORY]][0, :count]
        classes = np.round(numbers).astype(int)
        if (classes != numbers).any():
            raise ValueError(
                f"the class numbers of {self._file.what} must be whole. Received: "
                f"{numbers[classes != numbers][0]:.4f}: they were quantized. Export the model with "
                "kd.export.to_tflite and nms='inside', which keeps them in float."
            )
        limits = np.asarray(nms.score_threshold if least is None else least, np.float32)
        lists = [*([limits] if limits.ndim else []), *([] if allowed is None else [allowed])]
        if count and (classes.min() < 0 or any(classes.max() >= len(one) for one in lists)):
            raise InvalidModel(
                f"{self._file.what} is damaged: it found class {classes.max()}, which it does not "
                "name"
            )
        height, width = self._file.inputs[0].shape[1:3]
        boxes = Boxes(self._box.edges(values[:count], (height, width)), classes, scores[:count])
        found = boxes.scores >= (limits[classes] if limits.ndim else limits)
        if allowed is not None:
            found &= allowed[classes]
        return boxes.take(np.flatnonzero(found)[: nms.max_results])
