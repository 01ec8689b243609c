"""The kind of an output that neither model nor file describes, determined from its values."""

from __future__ import annotations

from typing import Any

import numpy as np


def kind_of_scores(
    scores: np.ndarray,
    labels: Any,
    *,
    thresholds: tuple[float, ...] | None = None,
    class_names: tuple[str, ...] | None = None,
    activation: str = "linear",
) -> tuple[str, np.ndarray | None, str | None]:
    """Determine the kind of an output that the file does not describe, from all that is known.

    Args:
        scores: The output of Keras, `(n, ...)`.
        labels: The labels of the data, if any.
        thresholds: The file's score thresholds, if any.
        class_names: The file's class names, if any.
        activation: The model's last activation.

    Returns:
        The name of the kind, the labels in the shape that it compares, and a note if the labels do
        not fit; they are then dropped.
    """
    labels, note = _fit_labels(labels, scores.shape)
    if _are_yes_or_no(scores, labels, thresholds, activation):
        return "labels", labels, note
    several = scores.ndim > 1 and scores.shape[-1] > 1
    softmax = activation == "softmax" or (several and _are_shares_of_one(scores))
    if labels is not None and labels.shape == scores.shape and not _are_shares_of_one(labels):
        # The targets are real numbers, but the output of a softmax is scores whatever the labels.
        if not (several and softmax):
            return "numbers", None, note
        labels, note = None, "labels are neither class indices nor one-hot: accuracy not measured"
    if several and (softmax or labels is not None or class_names is not None):
        return "classes", labels, note
    return "numbers", None, note


def _fit_labels(labels: Any, shape: tuple[int, ...]) -> tuple[np.ndarray | None, str | None]:
    """Return labels as class indices or in the shape of the outputs, or why they are neither."""
    if labels is None:
        return None, None
    labels = np.asarray(labels)
    given = _drop_ones(labels.shape)
    if given == _drop_ones(shape):
        return labels.reshape(shape), None
    if len(shape) > 1 and shape[-1] > 1 and given == _drop_ones(shape[:-1]):
        numbers = labels.reshape(shape[:-1])
        known = numbers[numbers >= 0]
        if (known == known.astype(int)).all() and (known < shape[-1]).all():
            return numbers, None
        why = f"labels up to {known.max():g} are not indices of {shape[-1]} classes"
        return None, f"{why}: accuracy not measured"
    return None, (
        f"labels of shape {labels.shape} do not fit outputs of shape {shape}: accuracy not measured"
    )


def _drop_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *(size for size in shape[1:] if size != 1))


def _are_yes_or_no(
    scores: np.ndarray, labels: np.ndarray | None, thresholds: Any, activation: str
) -> bool:
    """Whether each value is a yes or no of its own."""
    if labels is None:
        return thresholds is not None or activation == "sigmoid"
    if labels.shape != scores.shape:
        return False
    if thresholds is None and labels.shape[-1] > 1 and _are_shares_of_one(labels):
        return False
    return bool(((labels == 0) | (labels == 1) | ~(labels >= 0)).all())  # not class fractions


def _are_shares_of_one(values: np.ndarray) -> bool:
    """Whether the values along the last axis are fractions that add up to one."""
    return bool((values >= 0).all() and np.allclose(values.sum(-1), 1, atol=1e-3))
