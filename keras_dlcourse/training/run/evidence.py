"""Evaluation of the kept model on the test part: accuracy, confusion matrix, mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_dlcourse import report
from keras_dlcourse.data import Dataset, take
from keras_dlcourse.explain import class_mean_maps
from keras_dlcourse.explain.engine.scaling import resize_and_scale
from keras_dlcourse.explain.methods import mapper_for, method_for

MEANS = 500  # images of the test part whose maps are averaged


@dataclass(frozen=True)
class Evidence:
    """Evaluation of a model on images that it has not seen.

    Attributes:
        found: Accuracy with its interval, confusion matrix, measures per class, calibration error.
        loss: Mean cross-entropy.
        mistakes: PNG file of the most confident mistakes, with the maps of the true and the
            predicted class; None if there are no mistakes.
        class_means: PNG file of the mean map of each class.
        curves: PNG file of the ROC, precision-recall and reliability curves; None if all images
            belong to one class.
    """

    found: report.Evaluation
    loss: float
    mistakes: bytes | None
    class_means: bytes
    curves: bytes | None

    @property
    def accuracy(self) -> float:
        """Fraction of correct predictions."""
        return self.found.accuracy.value

    @classmethod
    def collect(cls, model: keras.Model, data: Dataset) -> Evidence:
        """Evaluate a model on the test part.

        Args:
            model: A classifier with softmax scores.
            data: The data set; only its test part is used.

        Returns:
            An `Evidence`.
        """
        scores = np.asarray(model.predict(data.test, verbose=0))
        labels = np.asarray(data.test.y)
        right = np.clip(scores[np.arange(len(labels)), labels], 1e-7, None)
        found = report.evaluation(labels, scores, data.class_names)
        several = np.count_nonzero(found.classes.support) > 1
        return cls(
            found=found,
            loss=float(-np.log(right).mean()),
            mistakes=_draw_mistakes(model, data, labels, scores),
            class_means=_draw_class_means(model, data),
            curves=report.png_bytes(report.draw_evaluation(found)) if several else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the measures as JSON-serializable values."""
        return {
            "test": {
                "examples": int(self.found.confusion.sum()),
                "loss": self.loss,
                **self.found.to_dict(),
            },
            "confusion_matrix": self.found.confusion.tolist(),
        }


def _draw_mistakes(
    model: keras.Model, data: Dataset, labels: NDArray, scores: NDArray
) -> bytes | None:
    """Draw the most confident mistakes, with maps of the true and the predicted class."""
    worst = report.confident_mistakes(labels, scores)
    if not len(worst):
        return None
    answers = scores[worst].argmax(axis=1)
    shown = np.stack([labels[worst], answers], axis=1)
    images = data.test.x[worst]
    inputs = data.test.prepare(images)
    mapper = mapper_for(model, method_for(model))
    raw, _ = mapper.maps(inputs, shown)
    figure = report.draw_class_activation_maps(
        _pixels(images),
        resize_and_scale(raw, mapper.image_size(inputs)),
        np.take_along_axis(scores[worst], shown, axis=1),
        answers,
        labels[worst],
        data.class_names,
        title="Most confident mistakes",
        count=False,
    )
    return report.png_bytes(figure)


def _draw_class_means(model: keras.Model, data: Dataset) -> bytes:
    """Draw where the network looks for each class on average."""
    examples = take(data.test, MEANS, seed=0)
    means = class_mean_maps(model, examples.inputs, examples.labels, method_for(model))
    figure = report.draw_class_means(
        _pixels(means.images), means.maps, means.counts, data.class_names
    )
    return report.png_bytes(figure)


def _pixels(images: NDArray) -> NDArray[np.uint8]:
    """Return images as pixels; floats of unknown range are stretched to 0..255."""
    if images.dtype == np.uint8:
        return images
    low, high = float(images.min()), float(images.max())
    return np.round((images - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
