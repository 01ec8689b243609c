"""Embeddings: vectors whose direction is compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_dlcourse.edge.tflite.metadata import EMBEDDING as NAME
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
)
from keras_dlcourse.export.writing.flatbuffer_writer import Table
from keras_dlcourse.export.writing.output import Output
from keras_dlcourse.export.writing.tables import describe_tensor
from keras_dlcourse.graph.head import is_embedding

_VECTORS = {
    FLOAT: {"min_cosine": 0.9999},
    HALF: {"min_cosine": 0.98, "min_mean_cosine": 0.99},
    INTEGER: {"min_cosine": 0.9, "min_mean_cosine": 0.97},
}


def _recognize(output: ModelOutput) -> bool:
    """Recognize the head of an embedder; with class names, the values are scores."""
    return output.is_only and not output.has_labels and is_embedding(output.model)


def _compare_vectors(given: Compared) -> Figures:
    """Compare the directions of vectors."""
    found = measure_errors(given, np.abs(given.ours).max())
    between = _cosines(given.ours, given.theirs)
    found.values.update(min_cosine=float(between.min()), mean_cosine=float(between.mean()))
    return found


def _cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the cosine between the two vectors of each example; two zero vectors agree."""
    ours, theirs = (values.reshape(len(values), -1).astype("float64") for values in (ours, theirs))
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    both_zero = ~ours.any(axis=1) & ~theirs.any(axis=1)
    products = np.einsum("nd,nd->n", ours, theirs)
    return np.where(both_zero, 1.0, products / np.where(lengths == 0, 1, lengths))


def _describe(output: Output) -> Table:
    return describe_tensor(NAME, "The embedding: like images, vectors close by.")


def _rows(figures: Mapping[str, float]) -> list[list[str]]:
    return [
        ["smallest cosine", "", f"{figures['min_cosine']:.5f}"],
        ["mean cosine", "", f"{figures['mean_cosine']:.5f}"],
        *error_rows(figures),
    ]


EMBEDDING = Kind(_recognize, _compare_vectors, _VECTORS, _describe, _rows)
