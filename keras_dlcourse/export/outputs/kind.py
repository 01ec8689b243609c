"""What a kind of output is: how it is recognized, described, compared and printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from keras_dlcourse.edge.description.layouts import Layout
from keras_dlcourse.export.writing.flatbuffer_writer import Table
from keras_dlcourse.export.writing.output import Output

# How a file stores numbers, as far as limits differ.
FLOAT, HALF, INTEGER = "float32", "float16, dynamic", "int8, int16x8"


@dataclass(frozen=True)
class ModelOutput:
    """An output of a Keras model, as kinds see it to recognize their own.

    Attributes:
        model: The model.
        name: Name of the output.
        shape: Its shape, without the batch.
        layout: What an `OutputDescription` layer declares of it, or the layout of a mask; or None.
        is_only: Whether the model has no other output.
        is_first: Whether it is the first one without a layout.
        has_labels: Whether class names were given for the model.
        in_detector: Whether the model is an object detector.
    """

    model: keras.Model
    name: str
    shape: tuple[int | None, ...]
    layout: Layout | None
    is_only: bool
    is_first: bool
    has_labels: bool
    in_detector: bool = False


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
        class_names: The names of the classes, if the file has them.
    """

    ours: np.ndarray
    theirs: np.ndarray
    step: float | None = None
    labels: np.ndarray | None = None
    thresholds: tuple[float, ...] | None = None
    class_names: tuple[str, ...] | None = None

    def take_first(self, n: int) -> Compared:
        """Return the comparison for the first `n` examples."""
        labels = None if self.labels is None else self.labels[:n]
        return replace(self, ours=self.ours[:n], theirs=self.theirs[:n], labels=labels)

    def with_theirs(self, theirs: np.ndarray) -> Compared:
        """Return the same comparison with other outputs of the file."""
        return replace(self, theirs=theirs)


@dataclass(frozen=True)
class Figures:
    """Measured figures.

    Attributes:
        values: Each figure by its name; those that could not be measured are missing.
        chance: The standard error of the figures that depend on the choice of examples.
        by_class: Further figures of single classes, by the name of the class.
    """

    values: dict[str, float]
    chance: dict[str, float] = field(default_factory=dict)
    by_class: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """A kind of output: one row of `KINDS`.

    Attributes:
        recognize: Whether an output of a model is of this kind.
        measure: Compares the outputs of Keras and of the file.
        limits: The default limits of `verify`, for each way to store numbers.
        describe: Returns the standard TFLite metadata of an output.
        rows: Returns the rows of the table of `verify`: what it is, Keras's value, the file's.
        class_rows: Returns further rows for the figures of single classes.
    """

    recognize: Callable[[ModelOutput], bool]
    measure: Callable[[Compared], Figures]
    limits: Mapping[str, Mapping[str, float]]
    describe: Callable[[Output], Table]
    rows: Callable[[Mapping[str, float]], list[list[str]]]
    class_rows: Callable[[Mapping[str, Mapping[str, float]]], list[list[str]]] = lambda by_class: []


def recognize_nothing(output: ModelOutput) -> bool:
    """Recognize no output of a model: the kind is found in another way."""
    return False


def measure_errors(given: Compared, unit: Any) -> Figures:
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


def show_percent(share: float | None) -> str:
    """Return a fraction as a percentage; a dash if it was not measured."""
    return "–" if share is None else f"{share:.2%}"


def show_error(error: float, steps: float | None, share: float | None = None) -> str:
    """Return an error in its own unit, in quantization steps and as a fraction of the range."""
    more = [] if steps is None else [f"{steps:.2f} steps"]
    more += [] if share is None else [f"{share:.2g} of the range"]
    return f"{error:.3g}" + (f" ({', '.join(more)})" if more else "")


def error_rows(figures: Mapping[str, float]) -> list[list[str]]:
    """Return the rows of the table for the errors of an output."""
    return [
        [
            f"{which} error",
            "",
            show_error(
                figures[f"{key}_error"],
                figures.get(f"{key}_error_steps"),
                figures.get(f"{key}_relative_error"),
            ),
        ]
        for which, key in (("largest", "max"), ("mean", "mean"))
    ]
