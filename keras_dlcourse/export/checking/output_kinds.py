"""How the outputs of two models are compared, and how far apart they may be: one row per kind.

A kind is the meaning of one value, or of the values along the last axis. The kinds are the same for
images, sequences and masks; sequences and masks have an answer at every position instead of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_dlcourse.edge.tflite.model_file import ModelFile

# How a file stores numbers, as far as the limits depend on it.
FLOAT, HALF, INTEGER = "float32", "float16, dynamic", "int8, int16x8"

# Default limits for fractions allow for random error: of files exactly at the limit, one in a
# hundred fails (2.33 standard errors of a normal distribution).
_CHANCE = 2.33
_SPREAD = 0.22  # sqrt(p (1 - p)) for a fraction p of 0.95

# Each limit with its figure, and 1 if the limit is a maximum, -1 if it is a minimum.
LIMITS = {
    "max_error": ("max_error", 1),
    "max_error_steps": ("max_error_steps", 1),
    "max_relative_error": ("max_relative_error", 1),
    "max_mean_relative_error": ("mean_relative_error", 1),
    "min_agreement": ("agreement", -1),
    "min_class_agreement": ("class_agreement", -1),
    "max_accuracy_loss": ("accuracy_loss", 1),
    "min_cosine": ("min_cosine", -1),
    "min_mean_cosine": ("mean_cosine", -1),
}


@dataclass(frozen=True)
class Compared:
    """One output of both models for the same examples.

    Attributes:
        ours: The output of Keras, `(n, ...)`.
        theirs: The output of the file, of the same shape.
        step: Scale of the file's output tensor, None for floats.
        labels: The true labels, if known: class indices of shape `ours.shape[:-1]`, or values of
            the same shape as `ours`.
        thresholds: The minimum score at which each class counts as present, if the file has it.
    """

    ours: np.ndarray
    theirs: np.ndarray
    step: float | None = None
    labels: np.ndarray | None = None
    thresholds: tuple[float, ...] | None = None

    def take_first(self, n: int) -> Compared:
        """Return the comparison for the first `n` examples."""
        labels = None if self.labels is None else self.labels[:n]
        return Compared(self.ours[:n], self.theirs[:n], self.step, labels, self.thresholds)

    def with_theirs(self, theirs: np.ndarray) -> Compared:
        """Return the same comparison with other outputs of the file."""
        return Compared(self.ours, theirs, self.step, self.labels, self.thresholds)


@dataclass(frozen=True)
class Figures:
    """Measured figures.

    Attributes:
        values: Each figure by its name; those that could not be measured are missing.
        chance: The standard error of the figures that depend on the choice of examples.
    """

    values: dict[str, float]
    chance: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """The meaning of an output's values.

    Attributes:
        measure: Compares the outputs.
        limits: The default limits, for each way of storing numbers.
        same: Name of the row for equal answers in the table; empty for a kind without answers.
    """

    measure: Callable[[Compared], Figures]
    limits: Mapping[str, Mapping[str, float]]
    same: str = ""


def _compare_classes(given: Compared) -> Figures:
    """Compare the classes of the highest scores, at each position."""
    ours, theirs = given.ours.argmax(-1), given.theirs.argmax(-1)
    truth = given.labels
    if truth is not None and truth.shape == given.ours.shape:
        truth = truth.argmax(-1)
    best = np.partition(given.ours, -2, axis=-1)
    return _compare_answers(given, ours, theirs, best[..., -1] - best[..., -2], truth)


def _compare_labels(given: Compared) -> Figures:
    """Compare which values reach their threshold."""
    least: Any = np.float32(0.5)
    if given.thresholds is not None:
        least = np.array(given.thresholds, "float32")
    elif not _are_shares(given.ours):
        least = np.float32(0)  # logits
    ours, theirs = given.ours >= least, given.theirs >= least
    return _compare_answers(given, ours, theirs, np.abs(given.ours - least), given.labels)


def _compare_answers(
    given: Compared, ours: np.ndarray, theirs: np.ndarray, margin: np.ndarray, truth: Any
) -> Figures:
    """Compare answers; those with a margin below the step of the output tensor do not count."""
    same = ours == theirs
    found = _measure_errors(given, np.abs(given.ours).max())
    values, chance = found.values, found.chance
    values["agreement"] = float(same.mean())
    shares, examples = [], []
    clear = margin > (given.step or 0)
    for answer in np.unique(ours[clear]):
        where = clear & (ours == answer)
        shares.append(same[where].mean())
        examples.append(where.reshape(len(where), -1).any(axis=1).sum())
    if shares:
        values["class_agreement"] = float(np.mean(shares))
        chance["class_agreement"] = _SPREAD * float(np.sum(1 / np.array(examples))) ** 0.5
        chance["class_agreement"] /= len(shares)
    known = None if truth is None else truth >= 0  # which NaN is not
    if known is None or not known.any():
        return found
    right = [
        ((answer == truth) & known).reshape(len(known), -1).sum(1) for answer in (ours, theirs)
    ]
    values["keras_accuracy"], values["accuracy"] = (float(r.sum() / known.sum()) for r in right)
    values["accuracy_loss"] = values["keras_accuracy"] - values["accuracy"]
    lost = (right[0] - right[1]) * (len(known) / known.sum())
    chance["accuracy_loss"] = float(lost.std() / len(lost) ** 0.5)
    return found


def _compare_vectors(given: Compared) -> Figures:
    """Compare the directions of vectors."""
    found = _measure_errors(given, np.abs(given.ours).max())
    between = _cosines(given.ours, given.theirs)
    found.values.update(min_cosine=float(between.min()), mean_cosine=float(between.mean()))
    return found


def _compare_numbers(given: Compared) -> Figures:
    """Compare values relative to their range: per value, or over a whole map or sequence."""
    ours = given.ours
    of_all = tuple(range(ours.ndim if ours.ndim > 2 else 1))
    spread = np.ptp(ours, axis=of_all)
    return _measure_errors(given, np.where(spread > 0, spread, np.abs(ours).max(axis=of_all)))


def _measure_errors(given: Compared, unit: Any) -> Figures:
    """Return the errors, absolute and as fractions of `unit`."""
    error = np.abs(given.ours - given.theirs)
    relative = error / np.where(np.asarray(unit) > 0, unit, 1)
    values = {
        "max_error": float(error.max()),
        "mean_error": float(error.mean()),
        "max_relative_error": float(relative.max()),
        # of the worst value, if each has its own unit
        "mean_relative_error": float(relative.reshape(-1, np.size(unit)).mean(axis=0).max()),
    }
    if given.step is not None:
        values["max_error_steps"] = values["max_error"] / given.step
        values["mean_error_steps"] = values["mean_error"] / given.step
    return Figures(values)


def _cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the cosine between the two vectors of each example; two zero vectors agree."""
    ours, theirs = (values.reshape(len(values), -1).astype("float64") for values in (ours, theirs))
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    both_zero = ~ours.any(axis=1) & ~theirs.any(axis=1)
    products = np.einsum("nd,nd->n", ours, theirs)
    return np.where(both_zero, 1.0, products / np.where(lengths == 0, 1, lengths))


_SCORES = {
    FLOAT: {"max_relative_error": 1e-3},
    HALF: {"max_mean_relative_error": 0.02, "min_class_agreement": 0.97, "max_accuracy_loss": 0.01},
    INTEGER: {
        "max_mean_relative_error": 0.1,
        "min_class_agreement": 0.95,
        "max_accuracy_loss": 0.02,
    },
}
_VECTORS = {
    FLOAT: {"min_cosine": 0.9999},
    HALF: {"min_cosine": 0.98, "min_mean_cosine": 0.99},
    INTEGER: {"min_cosine": 0.9, "min_mean_cosine": 0.97},
}
_NUMBERS = {
    FLOAT: {"max_relative_error": 1e-3},
    HALF: {"max_mean_relative_error": 0.02},
    INTEGER: {"max_mean_relative_error": 0.05},
}

# classes: one of several classes. labels: each value is a yes or no. embedding: a vector to
# compare. numbers: anything else, e.g. a regression, a depth map, boxes, keypoints.
KINDS = {
    "classes": Kind(_compare_classes, _SCORES, "same top class"),
    "labels": Kind(_compare_labels, _SCORES, "same labels"),
    "embedding": Kind(_compare_vectors, _VECTORS),
    "numbers": Kind(_compare_numbers, _NUMBERS),
}


def storage_of(file: ModelFile) -> str:
    """Return how a file stores numbers, determined from its graph."""
    quantized = [tensor for tensor in file.tensors if tensor.scales]
    if any(not tensor.is_constant for tensor in quantized):
        return INTEGER
    small = any(tensor.dtype == "float16" for tensor in file.tensors)
    return HALF if small or quantized else FLOAT


def check_limits(limits: Mapping[str, float | None], figures: Figures) -> None:
    """Raise ValueError for an unknown limit, or one whose figure was not measured."""
    if strange := sorted(set(limits) - set(LIMITS)):
        raise ValueError(f"limits must be some of {', '.join(LIMITS)}. Received: {strange}")
    for name, limit in limits.items():
        if limit is not None and LIMITS[name][0] not in figures.values:
            raise ValueError(f"{name} cannot be checked: not measurable for this data and file")


def find_missed_limits(
    figures: Figures, defaults: Mapping[str, float], given: Mapping[str, float | None]
) -> tuple[str, ...]:
    """Return each limit that is not met, with the measured value.

    Args:
        figures: The measured figures; limits for other figures are skipped.
        defaults: The default limits, which allow for random error.
        given: Limits that replace these, applied exactly; None for no limit.
    """
    found = []
    limits: dict[str, float | None] = {**defaults, **given}
    for name, limit in limits.items():
        figure, sign = LIMITS[name]
        value = figures.values.get(figure)
        if limit is None or value is None:
            continue
        allowed = 0.0 if name in given else _CHANCE * figures.chance.get(figure, 0.0)
        if not sign * value <= sign * limit + allowed:  # which NaN is not
            chance = f" ({allowed:.3g} allowed for random error)" if allowed else ""
            found.append(f"{name}={limit:g}{chance}, measured {value:.6g}")
    return tuple(found)


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


def _are_shares(values: np.ndarray) -> bool:
    return bool((values >= 0).all() and (values <= 1).all())


def _are_shares_of_one(values: np.ndarray) -> bool:
    """Whether the values along the last axis are fractions that add up to one."""
    return bool((values >= 0).all() and np.allclose(values.sum(-1), 1, atol=1e-3))
