"""Nested cross-validation: the selection is repeated in each fold, and tested on the rest."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer
from keras_dlcourse.report import text_table
from keras_dlcourse.training.narration import Narrator
from keras_dlcourse.training.search import parts
from keras_dlcourse.training.search.selection import Selection
from keras_dlcourse.training.search.splits import make_splits


@dataclass(frozen=True)
class NestedSelection:
    """The result of `nested`.

    Attributes:
        selections: The `Selection` of each outer fold, without its model.
        scores: Each measure on the outer test parts, `(folds,)`, by name.
    """

    selections: tuple[Selection, ...] = field(repr=False)
    scores: dict[str, np.ndarray]

    @property
    def values(self) -> tuple[Any, ...]:
        """The value chosen in each outer fold; similar values indicate a stable choice."""
        return tuple(selection.value for selection in self.selections)

    @property
    def means(self) -> dict[str, float]:
        """The mean of each measure: what to expect from selecting and fitting as a whole."""
        return {name: float(values.mean()) for name, values in self.scores.items()}

    def __str__(self) -> str:
        names = list(self.scores)
        rows = [
            [fold, f"{value}", *(f"{self.scores[name][fold]:.4g}" for name in names)]
            for fold, value in enumerate(self.values)
        ]
        return text_table(["fold", "chosen", *names], rows)


def nested(
    choose: Callable[[Any, Any, Path | None], Selection],
    data: Any,
    outer: Any = 5,
    *,
    groups: Any = None,
    folder: str | os.PathLike[str] | None = None,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> NestedSelection:
    """Evaluate a selection: it is done on the rest of each outer fold, and tested once on the fold.

    The best validation score of a search is too optimistic, because it was chosen for being the
    best. Here, no test example takes part in the choice.

    Args:
        choose: Called with the training part, the test part and a folder (or None); returns the
            result of `select` or `select_weight_decay` with these as `data`, `test` and `folder`.
        data: A `kd.data.Pipeline`, `(x, y)` or `(x, y, sample_weight)`.
        outer: Outer folds, as `k` in `select`.
        groups: `(n,)`: examples of the same group stay in the same fold.
        folder: Folder for finished fits, with a subfolder for each outer fold.
        seed: Seed for the folds.
        say: Called with one line of text for each fold; by default the lines are printed.

    Returns:
        A `NestedSelection`.

    Raises:
        TypeError: If `choose` does not return a `Selection`, or an argument has the wrong type.
        ValueError: If the selection was not tested, or an argument is out of range.

    Example:
        >>> import keras
        >>> x = np.random.default_rng(0).normal(size=(24, 2)).astype("float32")
        >>> def build(rate):
        ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        ...     model.compile(keras.optimizers.SGD(rate), "mse")
        ...     return model
        >>> def quiet(line):
        ...     pass
        >>> def choose(train, test, folder):
        ...     return kd.training.select(build, train, [0.001, 0.1], 2, fit={"epochs": 9},
        ...                               test=test, folder=folder, say=quiet)
        >>> import keras_dlcourse as kd
        >>> nested(choose, (x, x[:, 0]), 2, say=quiet).values
        (0.1, 0.1)

    Reference:
        Cawley and Talbot, "On Over-fitting in Model Selection and Subsequent Selection Bias in
        Performance Evaluation", JMLR 2010, https://jmlr.org/papers/v11/cawley10a.html
    """
    data = parts.convert_lists(data)
    splits = make_splits(data, outer, groups, check_integer("seed", seed, least=0))
    say = Narrator() if say is None else say
    found = []
    for number, (train, test) in enumerate(splits):
        say(f"Outer fold {number + 1} of {len(splits)}")
        inner = None if folder is None else Path(folder) / f"outer{number:03}"
        selection = choose(parts.part(data, train), parts.part(data, test), inner)
        if not isinstance(selection, Selection):
            raise TypeError(f"choose must return a Selection. Received: {selection!r}")
        if selection.test is None:
            raise ValueError("choose must pass on the test part: select(..., test=test).")
        found.append(selection.without_model())
    names = list(found[0].test or ())
    scores = {name: np.array([(one.test or {})[name] for one in found]) for name in names}
    return NestedSelection(tuple(found), scores)
