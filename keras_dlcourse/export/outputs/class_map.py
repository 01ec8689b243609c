"""Class activation maps, the second output of a classifier."""

from __future__ import annotations

from collections.abc import Mapping

from keras_dlcourse.edge.tflite.metadata import CLASS_MAP as NAME
from keras_dlcourse.export.outputs.kind import Kind, recognize_nothing, show_error
from keras_dlcourse.export.outputs.numbers import LIMITS, compare_numbers
from keras_dlcourse.export.writing.flatbuffer_writer import Table
from keras_dlcourse.export.writing.output import Output
from keras_dlcourse.export.writing.tables import describe_tensor


def _describe(output: Output) -> Table:
    return describe_tensor(
        NAME, "Class activation maps: batch, height, width, classes in the order of the scores."
    )


def _rows(figures: Mapping[str, float]) -> list[list[str]]:
    error = show_error(figures["max_error"], figures.get("max_error_steps"))
    return [["largest error of the class map", "", error]]


# `add_class_map` adds it behind the model.
CLASS_MAP = Kind(recognize_nothing, compare_numbers, LIMITS, _describe, _rows)
