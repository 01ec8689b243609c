"""The course's five steps to a gamma."""

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
    """Choose how much weights decay, by cross-validation, and fit all the data with the choice.

    1. The data are split into training and validation parts, k times.
    2. For each gamma the sum of the losses plus `gamma * sum(w**2)` is minimised on the training
       parts.
    3. Each network is measured on the validation part, without the penalty.
    4. The gamma with the best mean is chosen.
    5. The same is minimised on all the data.

    Gamma multiplies a sum over examples, so it is divided by their number beside Keras's mean: it
    means the same on a fold and on all the data. `kd.training.decay_weights` does that.

    Args:
        build: Returns a compiled and built model without weight decay, a new one each time: layers
            that an earlier fit has trained are an error, a frozen base may be shared.
        data: A `kd.data.Pipeline`, `(x, y)` or `(x, y, sample_weight)`.
        gammas: What to try, 0 or more each.
        k: Folds, as in `select`.
        kind: `"l2"`, `"l1"` or `"decoupled"`, as in `decay_weights`.
        decays: Which variables: `"kernels"` (no bias, no normalization), `"all"`, or a function
            that says so of a variable.
        fit: How to train, as in `select`.
        monitor: What to choose by: `"loss"` or a metric.
        mode: `"min"`, `"max"` or `"auto"`.
        groups: `(n,)`: examples of one group stay in one fold.
        refit: Whether to fit all the data with the choice.
        test: Data to measure that model on, once, at the end.
        folder: Where finished fits are kept: the same call goes on where it was broken off.
        n_jobs: Fits at a time; -1 for one for each core. joblib's backends hold; see `select`.
        seed: Of folds, weights and order.
        say: Called with a line at each step; by default the lines are printed.

    Returns:
        A `Selection`, whose `value` is the gamma.

    Raises:
        FileExistsError: If the folder holds something else.
        RuntimeError: If another search is using the folder.
        TypeError: If an argument is of a wrong kind.
        ValueError: If an argument is out of range, the model has a decay of its own, the folder
            holds another search or has used another test part, or all gammas diverge.

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
