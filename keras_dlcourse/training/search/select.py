"""Choose a hyperparameter by cross-validation, and fit it on all the data."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_dlcourse.training.search.one_fit import Fit
from keras_dlcourse.training.search.searching import Say, prepare
from keras_dlcourse.training.search.selection import Selection


def select(
    build: Callable[[Any], keras.Model],
    data: Any,
    values: Sequence[Any],
    k: Any = 5,
    *,
    fit: Fit | None = None,
    monitor: str = "loss",
    mode: str = "auto",
    groups: Any = None,
    refit: bool = True,
    test: Any = None,
    folder: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    seed: int = 0,
    say: Say | None = None,
) -> Selection:
    """Choose a value by cross-validation, and fit it on all the data.

    Each value is fitted on each training part and evaluated on the examples left out; the value
    with the best mean is fitted on all the data. All values use the same folds, and within a fold
    the same random numbers. The measured loss does not include penalties on weights.

    Fits run in parallel as set by `n_jobs` or joblib's `parallel_config`, including its backends
    for other machines (Dask, Ray); the result does not depend on the number of workers. `build` and
    `fit` are sent to other processes: they may be functions of your script, including lambdas.

    Args:
        build: Returns a compiled model for a value, a new one on each call: layers that an earlier
            fit has trained are an error; a frozen base may be shared.
        data: A `kd.data.Pipeline`, `(x, y)` or `(x, y, sample_weight)`.
        values: Values to try: numbers, strings, dictionaries of several hyperparameters, ...
        k: Number of folds, stratified by integer labels; or a splitter, such as those of
            scikit-learn and `kd.data.Bootstrap`; or pairs of indices.
        fit: Arguments of `Model.fit`, with `callbacks` as a function that returns a list of new
            callbacks. Or a function `fit(model, train, value)` that trains the model on a part of
            the data.
        monitor: The measure to choose by: `"loss"` or a metric of the model.
        mode: `"min"`, `"max"` or `"auto"`, which infers it from the loss or metric.
        groups: `(n,)`: examples of the same group stay in the same fold, e.g. photos of one person.
        refit: Whether to fit the chosen value on all the data.
        test: Data to evaluate the refit model on, once, at the end; it is not used to choose.
        folder: Folder for finished fits: the same call continues where it was interrupted.
        n_jobs: Number of fits at a time; -1 for one per core.
        seed: Seed for folds, weights and order.
        say: Called with one line of text at each step; by default the lines are printed.

    Returns:
        A `Selection`. In case of a tie the first value is chosen; a value that diverged never is.

    Raises:
        FileExistsError: If the folder contains something else.
        RuntimeError: If another search is using the folder.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, the folder belongs to another search or has used
            another test part, or all values diverge.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(60, 2)).astype("float32")
        >>> def build(units):
        ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units, "relu"),
        ...                               keras.layers.Dense(1)])
        ...     model.compile(keras.optimizers.Adam(0.1), "mse")
        ...     return model
        >>> found = select(build, (x, x[:, 0] * x[:, 1]), [1, 8], k=3, fit={"epochs": 10},
        ...                say=lambda line: None)
        >>> found.value, found.scores["loss"].shape
        (8, (2, 3))

    Reference:
        Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", section 7.10
    """
    search = prepare(build, data, values, k, fit, monitor, mode, groups, seed, say)
    return search.run(refit, test, folder, n_jobs)
