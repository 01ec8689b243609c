"""The kinds of outputs, one module per kind: how each is recognized, described and compared.

A kind is what one value, or the values along the last axis, mean. Outputs of sequences and images
that give an answer at every position have the same kinds; the masks of a segmenter are their own.
"""

from keras_dlcourse.export.outputs.class_map import CLASS_MAP
from keras_dlcourse.export.outputs.coordinates import BOX, KEYPOINTS
from keras_dlcourse.export.outputs.detection import (
    DETECTION,
    DETECTION_CLASSES,
    DETECTION_COUNT,
    DETECTION_SCORES,
)
from keras_dlcourse.export.outputs.embedding import EMBEDDING
from keras_dlcourse.export.outputs.kind import Kind
from keras_dlcourse.export.outputs.numbers import NUMBERS
from keras_dlcourse.export.outputs.scores import CLASSES, LABELS, SCORES
from keras_dlcourse.export.outputs.segmentation import SEGMENTATION

KINDS: dict[str, Kind] = {
    "embedding": EMBEDDING,
    "segmentation": SEGMENTATION,
    "detection": DETECTION,
    "detection_scores": DETECTION_SCORES,
    "detection_classes": DETECTION_CLASSES,
    "detection_count": DETECTION_COUNT,
    "scores": SCORES,
    "classes": CLASSES,
    "labels": LABELS,
    "box": BOX,
    "keypoints": KEYPOINTS,
    "class_map": CLASS_MAP,
    "numbers": NUMBERS,
}
"""The kinds by name: the first that recognizes an output is its kind."""

__all__ = ["KINDS"]
