"""How many epochs fit into a given time."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import keras

from keras_dlcourse._durations import format_duration
from keras_dlcourse.training.run.recipe import Recipe, chosen
from keras_dlcourse.training.run.task import Task

TRAINING_SHARE = 0.7  # of the time; export, verification and report take the rest
_WARM_UP, _TIMED = 2, 5  # steps
_VALIDATION_COST = 0.4  # of an example, beside one in training


def limit_epochs(
    recipe: Recipe, model: keras.Model, data: Any, task: Task, seconds: float
) -> tuple[Recipe, str]:
    """Shorten a recipe to the epochs that fit into a time.

    Args:
        recipe: A recipe with its number of epochs.
        model: The model; it is not changed.
        data: The data.
        task: The task.
        seconds: The time that is left for the whole run.

    Returns:
        The recipe, and a sentence that says what fits.

    Raises:
        ValueError: If not even one epoch fits.
    """
    epoch = _measure_epoch(model, data, recipe, task)
    wanted, fit = chosen(recipe.epochs), math.floor(TRAINING_SHARE * seconds / epoch)
    if fit < 1:
        least = math.ceil(epoch / TRAINING_SHARE)
        raise ValueError(
            f"time must be at least {format_duration(least)}, for one epoch. Received: "
            f"{format_duration(seconds)}. Use smaller images, a smaller network or fewer images."
        )
    if fit >= wanted:
        why = f"all {wanted} take about {format_duration(wanted * epoch)}"
        return recipe, f"epochs={wanted}: {why} of the {format_duration(seconds)}"
    short = replace(recipe, epochs=fit)
    return short, (
        f"epochs={fit}: what fits into {format_duration(seconds)}. With {wanted}, which take about "
        f"{format_duration(wanted * epoch / TRAINING_SHARE)}, the network would be better"
    )


def _measure_epoch(model: keras.Model, data: Any, recipe: Recipe, task: Task) -> float:
    """Return the seconds that an epoch takes, from a few steps of a copy of the model."""
    train = task.fit_data(data, recipe)
    copy = task.add_augmentation(keras.models.clone_model(model), task.augmentation(data, recipe))
    copy.compile("adamw", **task.compile_options(data, recipe))
    batch = train[0]
    for _ in range(_WARM_UP):  # the first compiles
        copy.train_on_batch(*batch)
    began = time.monotonic()
    for _ in range(_TIMED):
        copy.train_on_batch(*batch)
    step = (time.monotonic() - began) / _TIMED
    return step * (len(train) + _VALIDATION_COST * len(data.validation))
