"""What the kept model answers on the test part: accuracy, confusion, mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_dlcourse import report
from keras_dlcourse.data import Dataset


@dataclass(frozen=True)
class Evidence:
    """Answers of a model on images that it has not seen.

    Attributes:
        accuracy: Share of right answers.
        loss: Mean cross-entropy.
        confusion: Counts, shape `(classes, classes)`, row = true class.
        mistakes: PNG file of the wrong answers with the highest scores; None if all are right.
    """

    accuracy: float
    loss: float
    confusion: NDArray[np.int64]
    mistakes: bytes | None

    @classmethod
    def collect(cls, model: keras.Model, data: Dataset) -> Evidence:
        """Let a model answer the test part.

        Args:
            model: A classifier with softmax scores.
            data: The data set; only its test part is used.

        Returns:
            The evidence.
        """
        scores = np.asarray(model.predict(data.test, verbose=0))
        labels = np.asarray(data.test.y)
        answers = scores.argmax(axis=1)
        right = np.clip(scores[np.arange(len(labels)), labels], 1e-7, None)
        return cls(
            accuracy=float(np.mean(answers == labels)),
            loss=float(-np.log(right).mean()),
            confusion=report.confusion_counts(labels, answers, len(data.class_names)),
            mistakes=_draw_mistakes(data, labels, scores),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-able values."""
        return {
            "test": {
                "examples": int(self.confusion.sum()),
                "accuracy": self.accuracy,
                "loss": self.loss,
            },
            "confusion_matrix": self.confusion.tolist(),
        }


def _draw_mistakes(data: Dataset, labels: NDArray, scores: NDArray) -> bytes | None:
    """Draw the images that were answered wrongly with the highest scores."""
    worst = report.confident_mistakes(labels, scores)
    if not len(worst):
        return None
    figure = report.draw_mistakes(
        _pixels(data.test.x[worst]),
        labels[worst],
        scores[worst].argmax(axis=1),
        scores[worst].max(axis=1),
        data.class_names,
    )
    return report.png_bytes(figure)


def _pixels(images: NDArray) -> NDArray[np.uint8]:
    """Return images as pixels; floats of an unknown range are stretched to black and white."""
    if images.dtype == np.uint8:
        return images
    low, high = float(images.min()), float(images.max())
    return np.round((images - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
