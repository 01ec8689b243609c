"""How many epochs fit into a given time."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import keras

from keras_dlcourse.training.run.augment import add_augmentation
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
        raise ValueError(
            f"time must be at least {describe_time(epoch / TRAINING_SHARE)}, for one epoch. "
            f"Received: {describe_time(seconds)}. Use smaller images, a smaller network or fewer "
            "images."
        )
    if fit >= wanted:
        why = f"all {wanted} take about {describe_time(wanted * epoch)}"
        return recipe, f"epochs={wanted}: {why} of the {describe_time(seconds)}"
    short = replace(recipe, epochs=fit)
    return short, (
        f"epochs={fit}: what fits into {describe_time(seconds)}. With {wanted}, which take about "
        f"{describe_time(wanted * epoch / TRAINING_SHARE)}, the network would be better"
    )


def describe_time(seconds: float) -> str:
    """Return a time in words.

    Example:
        >>> describe_time(45), describe_time(200), describe_time(7_200)
        ('45 s', '4 min', '2.0 h')
    """
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 5_400 else f"{seconds / 3600:.1f} h"


def _measure_epoch(model: keras.Model, data: Any, recipe: Recipe, task: Task) -> float:
    """Return the seconds that an epoch takes, from a few steps of a copy of the model."""
    train = task.fit_data(data, recipe)
    copy = add_augmentation(keras.models.clone_model(model), task.augmentation(data, recipe))
    copy.compile("adamw", **task.compile_options(data, recipe))
    batch = train[0]
    for _ in range(_WARM_UP):  # the first compiles
        copy.train_on_batch(*batch)
    began = time.monotonic()
    for _ in range(_TIMED):
        copy.train_on_batch(*batch)
    step = (time.monotonic() - began) / _TIMED
    return step * (len(train) + _VALIDATION_COST * len(data.validation))
