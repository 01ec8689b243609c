"""Estimate how long a search will take, before it starts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_dlcourse.data import Pipeline
from keras_dlcourse.training.search import parts
from keras_dlcourse.training.search.one_fit import Recipe, Task
from keras_dlcourse.training.search.untrained import record_trained

_BATCHES = 8  # in the trial
_WORTH_A_TRIAL = 5  # fits; with fewer, the trial itself would take a large part of the time


def estimate_seconds(
    recipe: Recipe,
    data: Any,
    tasks: Sequence[Task],
    done: Sequence[float],
    refit: bool,
    workers: int,
) -> float | None:
    """Estimate the seconds that the remaining fits will take.

    The estimate is based on the fits already done, or else on a trial of a few batches.

    Args:
        recipe: How to fit.
        data: All data.
        tasks: The remaining fits.
        done: Durations of the fits already done, in seconds.
        refit: Whether a fit on all data follows.
        workers: Number of fits at a time.

    Returns:
        Seconds; None if there is no estimate before the first fit, because a function does the
        fitting or there are too few fits for a trial.
    """
    if not tasks and not refit:
        return 0.0
    if done:
        return float(np.mean(done)) * (len(tasks) / workers + refit)
    if callable(recipe.fit) or len(tasks) < _WORTH_A_TRIAL:
        return None
    start, batch = _trial(recipe, data, tasks[0])
    fit = dict(recipe.fit)
    epochs = fit.get("epochs", 1)

    def one(examples: int) -> float:
        batches = fit.get("steps_per_epoch") or -(-examples // _batch_size(recipe, data))
        return start + epochs * batches * batch

    whole = one(parts.check_data("data", data)) if refit else 0.0
    return sum(one(len(task.train)) for task in tasks) / workers + whole


def _batch_size(recipe: Recipe, data: Any) -> int:
    if isinstance(data, Pipeline):
        return data.batch_size
    given = None if callable(recipe.fit) else recipe.fit.get("batch_size")
    return int(given or 32)


def _trial(recipe: Recipe, data: Any, task: Task) -> tuple[float, float]:
    """Return the startup time of a fit and the time per batch, in seconds."""
    some = task.train[: _BATCHES * _batch_size(recipe, data)]
    model = recipe.build_model(task.value, task.seed)
    clock = _Clock()
    # The first epoch includes compilation, the second one shows the speed.
    trial = parts.fit_arguments(parts.part(data, some))
    with record_trained(recipe.search, model):
        model.fit(**trial, epochs=2, verbose=0, callbacks=[clock])
    first, second = clock.epochs
    return max(0.0, first - second), second / (-(-len(some) // _batch_size(recipe, data)))


class _Clock(keras.callbacks.Callback):
    """Measure the duration of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[float] = []
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epochs.append(time.monotonic() - self._began)
