"""Choose the weight decay gamma in the five steps of the course."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_dlcourse.training.search.cross_validate import WithoutValue
from keras_dlcourse.training.search.one_fit import Fit
from keras_dlcourse.training.search.searching import Say, prepare
from keras_dlcourse.training.search.selection import Selection
from keras_dlcourse.training.search.weight_decay import Decay, check_gamma


def select_weight_decay(
    build: Callable[[], keras.Model],
    data: Any,
    gammas: Sequence[float],
    k: Any = 5,
    *,
    kind: str = "l2",
    decays: str | Callable[[Any], bool] = "kernels",
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
    """Choose the strength of weight decay by cross-validation, and fit it on all the data.

    1. The data is split into training and validation parts, k times.
    2. For each gamma, the sum of the losses plus `gamma * sum(w**2)` is minimized on the training
       parts.
    3. Each network is evaluated on the validation part, without the penalty.
    4. The gamma with the best mean is chosen.
    5. The same sum is minimized on all the data.

    Gamma is relative to a sum over examples, but Keras takes the mean, so gamma is divided by the
    number of examples: it means the same on a fold and on all the data. See
    `kd.training.decay_weights`.

    Args:
        build: Returns a compiled and built model without weight decay, a new one on each call:
            layers that an earlier fit has trained are an error; a frozen base may be shared.
        data: A `kd.data.Pipeline`, `(x, y)` or `(x, y, sample_weight)`.
        gammas: Values to try, each 0 or more.
        k: Folds, as in `select`.
        kind: `"l2"`, `"l1"` or `"decoupled"`, as in `decay_weights`.
        decays: The variables that decay: `"kernels"` (no biases, no normalization), `"all"`, or a
            function that returns whether a variable decays.
        fit: How to train, as in `select`.
        monitor: The measure to choose by: `"loss"` or a metric.
        mode: `"min"`, `"max"` or `"auto"`.
        groups: `(n,)`: examples of the same group stay in the same fold.
        refit: Whether to fit the chosen gamma on all the data.
        test: Data to evaluate the refit model on, once, at the end.
        folder: Folder for finished fits: the same call continues where it was interrupted.
        n_jobs: Number of fits at a time; -1 for one per core. joblib's backends apply; see
            `select`.
        seed: Seed for folds, weights and order.
        say: Called with one line of text at each step; by default the lines are printed.

    Returns:
        A `Selection`, whose `value` is the gamma.

    Raises:
        FileExistsError: If the folder contains something else.
        RuntimeError: If another search is using the folder.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, the model already has weight decay, the folder
            belongs to another search or has used another test part, or all gammas diverge.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(40, 8)).astype("float32")
        >>> def build():
        ...     model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        ...     model.compile(keras.optimizers.SGD(0.1), "mse")
        ...     return model
        >>> found = select_weight_decay(build, (x, x[:, 0]), [0.0, 100.0], k=2,
        ...                             fit={"epochs": 20}, say=lambda line: None)
        >>> found.value
        0.0

    Reference:
        Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", sections 3.4, 7.10
    """
    gammas = [check_gamma(gamma) for gamma in gammas]
    decay = Decay(kind, decays)
    search = prepare(
        WithoutValue(build), data, gammas, k, fit, monitor, mode, groups, seed, say, decay
    )  # fmt: skip
    return search.run(refit, test, folder, n_jobs)
