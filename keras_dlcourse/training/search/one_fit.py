"""One fit of a search, which may run in any process."""

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
from keras_dlcourse.callbacks._weights import find_first_broken
from keras_dlcourse.training.search import parts
from keras_dlcourse.training.search.untrained import check_untrained, record_trained
from keras_dlcourse.training.search.weight_decay import Decay

Fit = Mapping[str, Any] | Callable[[keras.Model, Any, Any], object]

# Keras has one random state per process, so fits in the same process run one at a time.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Task:
    """One fit to do.

    Attributes:
        value_number: Index of the value.
        fold: Index of the split.
        value: The value.
        train: Indices of the training examples.
        validation: Indices of the validation examples.
        seed: Seed for weights, dropout and order; the same for each value.
    """

    value_number: int
    fold: int
    value: Any
    train: np.ndarray
    validation: np.ndarray
    seed: int


def _read_settings() -> dict[str, str]:
    return {
        "backend": keras.backend.backend(),
        "dtype_policy": keras.config.dtype_policy().name,
        "floatx": keras.config.floatx(),
        "image_data_format": keras.config.image_data_format(),
    }


@dataclass(frozen=True)
class Recipe:
    """How to fit any value, the same for all fits of a search.

    Attributes:
        build: Returns a compiled model for a value.
        fit: Arguments of `Model.fit`, or a function of the model, the training part and the value.
        decay: How the value decays weights; None if it is not a weight decay.
        settings: Keras settings of the main process.
        search: Unique identifier of this search.
    """

    build: Callable[[Any], keras.Model]
    fit: Fit
    decay: Decay | None
    settings: dict[str, str]
    search: str

    @staticmethod
    def capture(build: Any, fit: Any, decay: Decay | None) -> Recipe:
        """Return a recipe with the settings of this process."""
        return Recipe(build, fit, decay, _read_settings(), uuid.uuid4().hex)

    def build_model(self, value: Any, seed: int) -> keras.Model:
        """Build the model for a value, with the same random numbers each time."""
        keras.utils.set_random_seed(seed)
        model = self.build(value)
        if not isinstance(model, keras.Model):
            raise TypeError(f"build must return a compiled Keras model. Received: {model!r}")
        if not model.compiled:
            raise ValueError("build must return a compiled model. Call model.compile in it.")
        check_untrained(self.search, model)
        return model

    def train(self, model: keras.Model, data: Any, value: Any) -> None:
        """Minimize the loss, plus the penalty given by the value, on some data."""
        examples = parts.check_data("the training part", data)
        if self.decay is not None:
            self.decay.put_on(model, value, examples)
        with record_trained(self.search, model):
            if callable(self.fit):
                self.fit(model, data, value)
            else:
                model.fit(**parts.fit_arguments(data), **_renew_callbacks(self.fit))
        if self.decay is not None:
            self.decay.take_off(model)


def _renew_callbacks(fit: Mapping[str, Any]) -> dict[str, Any]:
    made = {"callbacks": fit["callbacks"]()} if "callbacks" in fit else {}
    return {"verbose": 0, **fit, **made}


def run_task(recipe: Recipe, data: Any, task: Task) -> dict[str, Any]:
    """Fit one value on one fold, and evaluate it.

    Returns:
        A dictionary with the measures by name in `validation` and `training`; `better`, whether
        "min" or "max" is better for each; and `seconds`.
    """
    with _ONE_AT_A_TIME, _use_settings(recipe.settings), _isolate_random_numbers(task.seed):
        began = time.monotonic()
        model = recipe.build_model(task.value, task.seed)
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
        gc.collect()  # Keras models contain reference cycles
        return found


def measure(model: keras.Model, data: Any) -> dict[str, float]:
    """Return the loss and metrics on some data, without penalties on weights.

    All values are NaN if a weight is NaN or infinite, whatever the network outputs: training has
    diverged.
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
        if variables:  # discard the function compiled without the penalties
            model.test_function = compiled
    broken = find_first_broken(model) is not None
    return {name: float("nan") if broken else float(value) for name, value in found.items()}


@contextmanager
def _isolate_random_numbers(seed: int) -> Iterator[None]:
    """Make Keras draw the seeds of weights and dropout from a private generator.

    By default Keras draws them from Python's global one, which timers in other threads of a Dask
    worker also use, so a fit there would start from other weights. The numbers are the same as with
    `set_random_seed`.
    """
    module = sys.modules[keras.random.SeedGenerator.__module__]
    before = getattr(module, "python_random", None)
    if before is None:  # a Keras version without this attribute
        yield
        return
    try:
        module.python_random = random.Random(seed)  # type: ignore[attr-defined]
        yield
    finally:
        module.python_random = before  # type: ignore[attr-defined]


@contextmanager
def _use_settings(wanted: dict[str, str]) -> Iterator[None]:
    """Use the Keras settings of the main process for the duration of a fit."""
    before = _read_settings()
    if before["backend"] != wanted["backend"]:
        raise RuntimeError(
            f"a worker runs Keras on {before['backend']}, but the search on {wanted['backend']}. "
            f"Start the workers with KERAS_BACKEND={wanted['backend']}."
        )
    try:
        _set(wanted)
        yield
    finally:
        _set(before)


def _set(settings: dict[str, str]) -> None:
    if _read_settings() == settings:
        return
    keras.config.set_floatx(settings["floatx"])
    keras.config.set_image_data_format(settings["image_data_format"])
    keras.config.set_dtype_policy(settings["dtype_policy"])
