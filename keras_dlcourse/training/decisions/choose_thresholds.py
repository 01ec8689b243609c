"""Choose the score from which a class counts as present, on validation data."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np

from keras_dlcourse.data.multilabel import multi_hot
from keras_dlcourse.data.stream import stream_with_labels
from keras_dlcourse.training.decisions.threshold_for import place_threshold


def choose_thresholds(model: keras.Model, validation: Any, *, batch_size: int = 32) -> np.ndarray:
    """Return the threshold with the best F1 for each class, on validation data.

    For a network trained on rare classes, or with class weights, 0.5 is not the best threshold.
    Pass the result to `kd.export.to_tflite(score_thresholds=...)` for use on the device.

    Each threshold lies midway between two observed scores, so that rounding to integers changes as
    few decisions as possible. Use images that the network was not trained on.

    Args:
        model: A model that returns a probability for each class, `(n, classes)`.
        validation: Images and labels, as `kd.data.take` reads them: a `kd.data.Pipeline`, a tuple
            of arrays, or batches. Labels are `(n, classes)` of 0 and 1, with NaN or a negative
            value where unknown.
        batch_size: Number of images at a time.

    Returns:
        float32 `(classes,)`. A class without positives gets 0.5.

    Warns:
        UserWarning: If classes have no positives.

    Raises:
        TypeError: If `model` is not a Keras model, or `validation` has the wrong type.
        ValueError: If there are no labels, labels of another kind, or a different number of labels
            and outputs; if the model has several outputs, or scores that are not probabilities.

    Example:
        >>> inputs = keras.Input((2,))
        >>> model = keras.Model(inputs, keras.layers.Activation("sigmoid")(inputs))
        >>> x, y = np.array([[-3, 1], [-1, 2], [-2, -1.0]]), np.array([[0, 0], [1, 1], [0, 0]])
        >>> [round(one, 2) for one in choose_thresholds(model, (x, y)).tolist()]
        [0.19, 0.81]

    Reference:
        Lipton, Elkan and Narayanaswamy, "Optimal Thresholding of Classifiers to Maximize F1
        Measure", ECML PKDD 2014, https://arxiv.org/abs/1402.1892
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {model!r}")
    scores, labels = [], []
    for inputs, _, known in stream_with_labels(validation, batch_size):
        if known is None:
            raise ValueError("validation must have labels, which are needed to choose thresholds.")
        found = model.predict_on_batch(inputs)
        if not isinstance(found, np.ndarray):
            raise ValueError("model must have one output, (n, classes). Received: several outputs")
        scores.append(found.astype("float32"))
        labels.append(multi_hot(known, "the labels of validation"))
    return best_thresholds(np.concatenate(labels), np.concatenate(scores))


def best_thresholds(y_true: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the threshold with the best F1 for each class; see `choose_thresholds`."""
    if scores.shape != y_true.shape:
        raise ValueError(
            "model must return one score per label. Received: scores of shape "
            f"{scores.shape[1:]} and labels of shape {y_true.shape[1:]} per image"
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores must be from 0 to 1. End the model in a sigmoid.")
    chosen = [_find_best(*column) for column in zip(y_true.T, scores.T, strict=True)]
    empty = [number for number, threshold in enumerate(chosen) if threshold is None]
    if empty:
        warnings.warn(
            f"classes {empty} have no positives in validation; their threshold is 0.5.",
            stacklevel=3,
        )
    return np.array([0.5 if one is None else one for one in chosen], "float32")


def _find_best(y_true: np.ndarray, scores: np.ndarray) -> float | None:
    """Return the threshold of one class, or None if it has no positives."""
    from sklearn.metrics import precision_recall_curve

    known = ~np.isnan(y_true)
    y_true, scores = y_true[known], scores[known]
    if not (y_true == 1).any():
        return None
    precision, recall, at = precision_recall_curve(y_true, scores)
    both = precision[:-1] + recall[:-1]
    f1 = 2 * precision[:-1] * recall[:-1] / np.where(both > 0, both, 1)
    least = at[f1.argmax()]
    return place_threshold(least, np.append(scores[scores < least], np.float32(0)))
