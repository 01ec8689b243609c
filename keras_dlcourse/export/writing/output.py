"""An output of a file, as everything along the way to the file describes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_dlcourse.edge.description.layouts import Layout, MaskLayout

# The names of `export.outputs.KINDS`, which takes Keras to import.
KIND_NAMES = (
    "embedding",
    "segmentation",
    "detection",
    "detection_scores",
    "detection_classes",
    "detection_count",
    "scores",
    "classes",
    "labels",
    "box",
    "keypoints",
    "class_map",
    "numbers",
)


@dataclass(frozen=True)
class Output:
    """An output of a file.

    Attributes:
        name: Its name; empty if the model has only this one.
        kind: Its kind, a key of `KINDS`.
        shape: Its shape, without the batch.
        layout: The meaning of its values, if it is a box, keypoints, a mask or the boxes of a
            detector.
        labels: Class names, if it has scores of classes.
        labels_file: The name of the attached file that has them.
        score_thresholds: For each class, the score from which it is listed, if the file has them.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]
    layout: Layout | None = None
    labels: tuple[str, ...] | None = None
    labels_file: str = "labels.txt"
    score_thresholds: tuple[float, ...] | None = None

    def read(self, values: np.ndarray) -> np.ndarray:
        """Return the values of the file as Keras has them: a mask's with their activation."""
        if isinstance(self.layout, MaskLayout):
            return self.layout.confidences(values)
        return values
