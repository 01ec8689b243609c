"""Scores: of one of several classes, or of labels that are each a yes or no."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.export.outputs.kind import (
    FLOAT,
    HALF,
    INTEGER,
    Compared,
    Figures,
    Kind,
    ModelOutput,
    error_rows,
    measure_errors,
    recognize_nothing,
    show_percent,
)
from keras_dlcourse.export.writing.flatbuffer_writer import Table
from keras_dlcourse.export.writing.output import Output
from keras_dlcourse.export.writing.tables import describe_labels, describe_tensor, process_unit

_SPREAD = 0.22  # sqrt(p (1 - p)) of a share p of 0.95

_SCORES = {
    FLOAT: {"max_relative_error": 1e-3},
    HALF: {"max_mean_relative_error": 0.02, "min_class_agreement": 0.97, "max_accuracy_loss": 0.01},
    INTEGER: {
        "max_mean_relative_error": 0.1,
        "min_class_agreement": 0.95,
        "max_accuracy_loss": 0.02,
    },
}


def _recognize(output: ModelOutput) -> bool:
    """Recognize the output to which class names belong."""
    return output.layout is None and output.is_first


def _compare_classes(given: Compared) -> Figures:
    """Compare the classes of the highest scores, at each position."""
    ours, theirs = given.ours.argmax(-1), given.theirs.argmax(-1)
    truth = given.labels
    if truth is not None and truth.shape == given.ours.shape:
        truth = truth.argmax(-1)
    best = np.partition(given.ours, -2, axis=-1)
    return compare_answers(given, ours, theirs, best[..., -1] - best[..., -2], truth)


def _compare_labels(given: Compared) -> Figures:
    """Compare which values reach their threshold."""
    least: Any = np.float32(0.5)
    if given.thresholds is not None:
        least = np.array(given.thresholds, "float32")
    elif not are_shares(given.ours):
        least = np.float32(0)  # logits
    ours, theirs = given.ours >= least, given.theirs >= least
    return compare_answers(given, ours, theirs, np.abs(given.ours - least), given.labels)


def compare_answers(
    given: Compared, ours: np.ndarray, theirs: np.ndarray, margin: np.ndarray, truth: Any
) -> Figures:
    """Compare answers; those with a margin below the step of the output tensor do not count."""
    same = ours == theirs
    found = measure_errors(given, np.abs(given.ours).max())
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


def are_shares(values: np.ndarray) -> bool:
    """Whether all values are fractions."""
    return bool((values >= 0).all() and (values <= 1).all())


def describe_scores(output: Output, name: str = "") -> Table:
    """Describe scores in standard metadata, with their labels and thresholds, under a name."""
    units = None
    if output.score_thresholds is not None:
        # The standard has one threshold: below the smallest, no class counts.
        least = min(output.score_thresholds)
        options = Table({schema.ScoreThresholdingOptions.GLOBAL_SCORE_THRESHOLD: np.float32(least)})
        units = [process_unit(schema.ProcessUnitOptions.SCORE_THRESHOLDING, options)]
    return describe_tensor(
        name or output.name or "scores",
        "One score for each class.",
        {schema.TensorMetadata.PROCESS_UNITS: units, **describe_labels(output)},
    )


def _rows_of(same: str) -> Any:
    def rows(figures: Mapping[str, float]) -> list[list[str]]:
        keras_accuracy, accuracy = (
            show_percent(figures.get(name)) for name in ("keras_accuracy", "accuracy")
        )
        return [
            ["accuracy", keras_accuracy, accuracy],
            [same, "", show_percent(figures["agreement"])],
            ["the same, mean over classes", "", show_percent(figures.get("class_agreement"))],
            *error_rows(figures),
        ]

    return rows


SCORES = Kind(_recognize, _compare_classes, _SCORES, describe_scores, _rows_of("same top class"))
# The values show whether scores are those of classes or of labels.
CLASSES = replace(SCORES, recognize=recognize_nothing)
LABELS = replace(CLASSES, measure=_compare_labels, rows=_rows_of("same labels"))
