"""Choose a hyperparameter on validation folds, and fit all the data with the choice."""

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
    """Choose a value by cross-validation, and fit all the data with it.

    Each value is fitted on each training part and measured on the examples left out; the value with
    the best mean is fitted on all the data. All values see the same folds, and in one fold start
    from the same random numbers. Penalties on weights are no part of the loss that is measured.

    Fits run side by side where `n_jobs` or joblib's `parallel_config` says so, with its backends
    for other machines (Dask, Ray) too; the result does not depend on how many. `build` and `fit`
    travel to other processes: they may be functions of your script, even unnamed ones.

    Args:
        build: Returns a compiled model for a value, a new one each time: layers that an earlier fit
            has trained are an error, a frozen base may be shared.
        data: A `kd.data.Pipeline`, `(x, y)` or `(x, y, sample_weight)`.
        values: What to try: numbers, texts, dictionaries of several hyperparameters, ...
        k: How many folds, stratified by whole-number labels; or a splitter, such as
            scikit-learn's and `kd.data.Bootstrap`; or pairs of indices.
        fit: Arguments of `Model.fit`; `callbacks` is a function that returns a list of new ones. Or
            a function `fit(model, train, value)` that trains it on a part of the data.
        monitor: What to choose by: `"loss"` or a metric of the model.
        mode: `"min"`, `"max"` or `"auto"`, which asks loss and metric.
        groups: `(n,)`: examples of one group stay in one fold, e.g. photos of one person.
        refit: Whether to fit all the data with the choice.
        test: Data to measure that model on, once, at the end: it chooses nothing.
        folder: Where finished fits are kept: the same call goes on where it was broken off.
        n_jobs: Fits at a time; -1 for one for each core.
        seed: Of folds, weights and order.
        say: Called with a line at each step; by default the lines are printed.

    Returns:
        A `Selection`. Of equal values the first is chosen, one that diverged never.

    Raises:
        FileExistsError: If the folder holds something else.
        RuntimeError: If another search is using the folder.
        TypeError: If an argument is of a wrong kind.
        ValueError: If an argument is out of range, the folder holds another search or has used
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
