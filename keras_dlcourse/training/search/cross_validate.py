"""Cross-validation: each example is evaluated by a model that was not trained on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_dlcourse.report import text_table
from keras_dlcourse.training.search.one_fit import Fit
from keras_dlcourse.training.search.searching import Say, check_build, prepare


@dataclass(frozen=True)
class CrossValidation:
    """The result of `cross_validate`.

    Attributes:
        scores: Each measure on the held-out examples, `(folds,)`, by name.
        training_scores: Each measure on the training examples, likewise.
        seconds: Total duration of all fits.
    """

    scores: dict[str, np.ndarray] = field(repr=False)
    training_scores: dict[str, np.ndarray] = field(repr=False)
    seconds: float

    @property
    def means(self) -> dict[str, float]:
        """The mean of each measure over the folds."""
        return {name: float(values.mean()) for name, values in self.scores.items()}

    @property
    def deviations(self) -> dict[str, float]:
        """The standard deviation of each measure over the folds."""
        return {name: float(values.std()) for name, values in self.scores.items()}

    def __str__(self) -> str:
        rows = [
            [
                name,
                f"{mean:.4g}",
                f"{self.deviations[name]:.2g}",
                f"{self.training_scores[name].mean():.4g}",
            ]
            for name, mean in self.means.items()
        ]
        return text_table(["measure", "validation", "±", "training"], rows)


def cross_validate(
    build: Callable[[], keras.Model],
    data: Any,
    k: Any = 5,
    *,
    fit: Fit | None = None,
    groups: Any = None,
    folder: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    seed: int = 0,
    say: Say | None = None,
) -> CrossValidation:
    """Fit a model on k training parts of the data, and evaluate it on the examples left out.

    Use it to estimate how well a model will do, not to choose one: the best of several mean scores
    is too optimistic. Use `kd.training.select` to choose, and `nested` to evaluate the choice.

    Args:
        build: Returns a compiled model, a new one on each call: layers that an earlier fit has
            trained are an error; a frozen base may be shared.
        data: A `kd.data.Pipeline`, `(x, y)` or `(x, y, sample_weight)`.
        k: Number of folds, stratified by integer labels; or a splitter, such as
            `sklearn.model_selection.LeaveOneOut()` or `kd.data.Bootstrap`; or pairs of indices.
        fit: Arguments of `Model.fit`, or a function `fit(model, train, None)`; see `select`.
        groups: `(n,)`: examples of the same group stay in the same fold.
        folder: Folder for finished fits: the same call continues where it was interrupted.
        n_jobs: Number of fits at a time; -1 for one per core. joblib's backends apply; see
            `select`.
        seed: Seed for folds, weights and order.
        say: Called with one line of text at each step; by default the lines are printed.

    Returns:
        A `CrossValidation`.

    Raises:
        FileExistsError: If the folder contains something else.
        RuntimeError: If another search is using the folder.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or the folder belongs to another search.

    Example:
        >>> def build():
        ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax")])
        ...     model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        ...     return model
        >>> x = np.random.default_rng(0).normal(size=(30, 2))
        >>> found = cross_validate(build, (x, (x[:, 0] > 0).astype(int)), 3, say=lambda line: None)
        >>> sorted(found.means), found.scores["accuracy"].shape
        (['accuracy', 'loss'], (3,))

    Reference:
        Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", section 7.10
    """
    search = prepare(WithoutValue(build), data, [None], k, fit, "loss", "min", groups, seed, say)
    found = search.run(False, None, folder, n_jobs)
    return CrossValidation(
        {name: values[0] for name, values in found.scores.items()},
        {name: values[0] for name, values in found.training_scores.items()},
        found.seconds,
    )


@dataclass(frozen=True)
class WithoutValue:
    """Adapt a `build` function without arguments to one that takes a value."""

    build: Callable[[], keras.Model]

    def __post_init__(self) -> None:
        check_build(self.build)

    def __call__(self, value: Any) -> keras.Model:
        """Return the model; the value is ignored."""
        return self.build()
