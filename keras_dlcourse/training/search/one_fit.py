"""One fit of a search, in whatever process it runs."""

from __future__ import annotations

import gc
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_dlcourse.callbacks._monitor import infer_direction
from keras_dlcourse.callbacks._weights import first_broken
from keras_dlcourse.training.search import parts
from keras_dlcourse.training.search.untrained import check_untrained, noting_what_is_trained
from keras_dlcourse.training.search.weight_decay import Decay

Fit = Mapping[str, Any] | Callable[[keras.Model, Any, Any], object]

# Keras's random state is one a process: fits that share a process go one after the other.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Task:
    """What to fit.

    Attributes:
        value_number: Number of the value tried.
        fold: Number of the split.
        value: The value.
        train: Indices to train on.
        validation: Indices to measure on.
        seed: Of weights, dropout and order: the same for each value.
    """

    value_number: int
    fold: int
    value: Any
    train: np.ndarray
    validation: np.ndarray
    seed: int


def _of_this_process() -> dict[str, str]:
    return {
        "backend": keras.backend.backend(),
        "dtype_policy": keras.config.dtype_policy().name,
        "floatx": keras.config.floatx(),
        "image_data_format": keras.config.image_data_format(),
    }


@dataclass(frozen=True)
class Recipe:
    """How to fit any value: the same for all fits of a search.

    Attributes:
        build: Returns a compiled model for a value.
        fit: Arguments of `Model.fit`, or a function of the model, the training part and the value.
        decay: How the value decays weights, None if it does something else.
        settings: Keras's settings in the process that searches.
        search: What tells the fits of this search from those of others.
    """

    build: Callable[[Any], keras.Model]
    fit: Fit
    decay: Decay | None
    settings: dict[str, str]
    search: str

    @staticmethod
    def here(build: Any, fit: Any, decay: Decay | None) -> Recipe:
        """Return a recipe with the settings of this process."""
        return Recipe(build, fit, decay, _of_this_process(), uuid.uuid4().hex)

    def model(self, value: Any, seed: int) -> keras.Model:
        """Build the model of a value, from the same random numbers each time."""
        keras.utils.set_random_seed(seed)
        model = self.build(value)
        if not isinstance(model, keras.Model):
            raise TypeError(f"build must return a compiled Keras model. Received: {model!r}")
        if not model.compiled:
            raise ValueError("build must return a compiled model: call model.compile in it.")
        check_untrained(self.search, model)
        return model

    def train(self, model: keras.Model, data: Any, value: Any) -> None:
        """Minimise the loss, and the penalty of the value, on some data."""
        examples = parts.check_data("the training part", data)
        if self.decay is not None:
            self.decay.put_on(model, value, examples)
        with noting_what_is_trained(self.search, model):
            if callable(self.fit):
                self.fit(model, data, value)
            else:
                model.fit(**parts.fit_arguments(data), **_with_new_callbacks(self.fit))
        if self.decay is not None:
            self.decay.take_off(model)


def _with_new_callbacks(fit: Mapping[str, Any]) -> dict[str, Any]:
    made = {"callbacks": fit["callbacks"]()} if "callbacks" in fit else {}
    return {"verbose": 0, **fit, **made}


def run_task(recipe: Recipe, data: Any, task: Task) -> dict[str, Any]:
    """Fit one value on one fold, and measure it.

    Returns:
        `validation` and `training`, the measures by name; `better`, whether "min" or "max" of each
        is; and `seconds`.
    """
    with _ONE_AT_A_TIME, _same_settings(recipe.settings), _own_random_numbers(task.seed):
        began = time.monotonic()
        model = recipe.model(task.value, task.seed)
        train = parts.part(data, task.train)
        recipe.train(model, train, task.value)
        validation = measure(model, parts.part(data, task.validation))
        found = {
            "validation": validation,
            "training": measure(model, train),
            "better": {name: infer_direction(model, name) for name in validation},
            "seconds": round(time.monotonic() - began, 3),
        }
        del model
        gc.collect()  # a Keras model holds itself in a circle
        return found


def measure(model: keras.Model, data: Any) -> dict[str, float]:
    """Return the loss and metrics on some data; penalties on weights are no part of the loss.

    All are NaN if a weight is, whatever comes out of the network: it has diverged.
    """
    variables = [one for one in model.trainable_variables if one.regularizer is not None]
    penalties = [one.regularizer for one in variables]
    compiled, model.test_function = model.test_function, None if variables else model.test_function
    try:
        for variable in variables:
            variable.regularizer = None
        found = model.evaluate(**parts.fit_arguments(data), verbose=0, return_dict=True)
    finally:
        for variable, penalty in zip(variables, penalties, strict=True):
            variable.regularizer = penalty
        if variables:  # what was compiled just now is without the penalties
            model.test_function = compiled
    broken = first_broken(model) is not None
    return {name: float("nan") if broken else float(value) for name, value in found.items()}


@contextmanager
def _own_random_numbers(seed: int) -> Iterator[None]:
    """Let Keras draw the seeds of weights and dropout from a generator that nobody else uses.

    It draws them from Python's, and so do the timers in the other threads of a Dask worker: a fit
    among them would begin with other weights. The numbers are those of `set_random_seed`.
    """
    module = sys.modules[keras.random.SeedGenerator.__module__]
    before = getattr(module, "python_random", None)
    if before is None:  # another Keras
        yield
        return
    try:
        module.python_random = random.Random(seed)  # type: ignore[attr-defined]
        yield
    finally:
        module.python_random = before  # type: ignore[attr-defined]


@contextmanager
def _same_settings(wanted: dict[str, str]) -> Iterator[None]:
    """Give Keras the settings of the process that searches, as long as a fit takes."""
    before = _of_this_process()
    if before["backend"] != wanted["backend"]:
        raise RuntimeError(
            f"a worker runs Keras on {before['backend']}, the search on {wanted['backend']}: start "
            f"the workers with KERAS_BACKEND={wanted['backend']}."
        )
    try:
        _set(wanted)
        yield
    finally:
        _set(before)


def _set(settings: dict[str, str]) -> None:
    if _of_this_process() == settings:
        return
    keras.config.set_floatx(settings["floatx"])
    keras.config.set_image_data_format(settings["image_data_format"])
    keras.config.set_dtype_policy(settings["dtype_policy"])
