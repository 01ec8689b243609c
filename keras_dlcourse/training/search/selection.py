"""The result of a search."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from keras_dlcourse.report import text_table


@dataclass(frozen=True)
class Selection:
    """The result of a search.

    Attributes:
        value: The chosen value.
        monitor: The measure used to choose.
        values: All values tried.
        scores: Each measure on the validation folds, `(values, folds)`, by name.
        training_scores: Each measure on the training examples, likewise.
        model: The model with the chosen value, fitted on all the data; None without a refit.
        test: Each measure of that model on the test part; None if there was none.
        seconds: Total duration of all fits.
    """

    value: Any
    monitor: str
    values: tuple[Any, ...]
    scores: dict[str, np.ndarray] = field(repr=False)
    training_scores: dict[str, np.ndarray] = field(repr=False)
    model: keras.Model | None = field(repr=False)
    test: dict[str, float] | None
    seconds: float

    @property
    def means(self) -> np.ndarray:
        """The mean of the monitored measure over folds, for each value."""
        return np.asarray(self.scores[self.monitor].mean(axis=1))

    def without_model(self) -> Selection:
        """Return a copy without the model, to save memory."""
        return replace(self, model=None)

    def __str__(self) -> str:
        rows = [
            [
                f"{value}",
                f"{mean:.4g}",
                f"{validation.std():.2g}",
                f"{training.mean():.4g}",
                "chosen" if value is self.value else "",
            ]
            for value, mean, validation, training in zip(
                self.values,
                self.means,
                self.scores[self.monitor],
                self.training_scores[self.monitor],
                strict=True,
            )
        ]
        return text_table(["value", f"validation {self.monitor}", "±", "training", ""], rows)
