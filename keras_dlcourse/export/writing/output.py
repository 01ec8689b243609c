"""An output of a file, as everything along the way to the file describes it."""

from __future__ import annotations

from dataclasses import dataclass

from keras_dlcourse.edge.description.layouts import BoxLayout, KeypointLayout

# The names of `export.outputs.KINDS`, which takes Keras to import.
KIND_NAMES = (
    "embedding",
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
        layout: The meaning of its values, if it is a box or keypoints.
        labels: Class names, if it has scores of classes.
        labels_file: The name of the attached file that has them.
        score_thresholds: For each class, the score from which it is listed, if the file has them.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]
    layout: BoxLayout | KeypointLayout | None = None
    labels: tuple[str, ...] | None = None
    labels_file: str = "labels.txt"
    score_thresholds: tuple[float, ...] | None = None
