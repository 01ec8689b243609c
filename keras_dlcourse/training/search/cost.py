"""How long a search will take, told before it begins."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_dlcourse.data import Pipeline
from keras_dlcourse.training.search import parts
from keras_dlcourse.training.search.one_fit import Recipe, Task
from keras_dlcourse.training.search.untrained import noting_what_is_trained

_BATCHES = 8  # of the trial
_WORTH_A_TRIAL = 5  # fits; of fewer, the trial itself would be a good part


def estimate_seconds(
    recipe: Recipe,
    data: Any,
    tasks: Sequence[Task],
    done: Sequence[float],
    refit: bool,
    workers: int,
) -> float | None:
    """Return about how many seconds the fits take that are still to be done.

    Fits that are done already are what it goes by; without them, a trial of a few batches.

    Args:
        recipe: How to fit.
        data: All data.
        tasks: What is still to be fitted.
        done: Seconds that other fits of the search took.
        refit: Whether all data are fitted at last.
        workers: Fits at a time.

    Returns:
        Seconds; None where a function does the fitting, and nobody can tell before the first.
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
    """Return the seconds that a fit takes to get going, and those of a batch."""
    some = task.train[: _BATCHES * _batch_size(recipe, data)]
    model = recipe.model(task.value, task.seed)
    clock = _Clock()
    # The first epoch compiles, the second one shows the pace.
    trial = parts.fit_arguments(parts.part(data, some))
    with noting_what_is_trained(recipe.search, model):
        model.fit(**trial, epochs=2, verbose=0, callbacks=[clock])
    first, second = clock.epochs
    return max(0.0, first - second), second / (-(-len(some) // _batch_size(recipe, data)))


class _Clock(keras.callbacks.Callback):
    """Take the time of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[float] = []
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epochs.append(time.monotonic() - self._began)


def spoken(seconds: float | None) -> str:
    """Say how long something takes.

    Example:
        >>> spoken(75), spoken(7600), spoken(None)
        ('about 1 min', 'about 2.1 h', 'how long is known after the first')
    """
    if seconds is None:
        return "how long is known after the first"
    if seconds < 60:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
