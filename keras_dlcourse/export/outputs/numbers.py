"""Other numbers, such as those of a regression or a depth map, compared by their range."""

from __future__ import annotations

import numpy as np

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

LIMITS = {
    FLOAT: {"max_relative_error": 1e-3},
    HALF: {"max_mean_relative_error": 0.02},
    INTEGER: {"max_mean_relative_error": 0.05},
}


def _recognize(output: ModelOutput) -> bool:
    """Recognize anything: the last kind that is asked."""
    return True


def compare_numbers(given: Compared) -> Figures:
    """Compare values relative to their range: per value, or over a whole map or sequence."""
    ours = given.ours
    of_all = tuple(range(ours.ndim if ours.ndim > 2 else 1))
    spread = np.ptp(ours, axis=of_all)
    return measure_errors(given, np.where(spread > 0, spread, np.abs(ours).max(axis=of_all)))


def _describe(output: Output) -> Table:
    return describe_tensor(output.name, "Values.")


NUMBERS = Kind(_recognize, compare_numbers, LIMITS, _describe, error_rows)
