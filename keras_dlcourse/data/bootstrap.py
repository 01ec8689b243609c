"""Train on a sample drawn with replacement, and measure on the examples that it missed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_dlcourse.data import checks


class Bootstrap:
    """Splits by drawing with replacement; the examples that were not drawn are the other part.

    A draw of n examples out of n holds about 63.2 % of them, some several times; the rest are "out
    of bag". It has the interface of scikit-learn's splitters, so that it goes where these do.

    Args:
        draws: How many splits, 1 or more.
        seed: Seed of the draws, 0 or more.

    Raises:
        TypeError: If an argument is no whole number.
        ValueError: If it is too small, or there is nothing to split.

    Example:
        >>> import keras_dlcourse as kd
        >>> for drawn, missed in kd.data.Bootstrap(2, seed=1).split(np.zeros(6)):
        ...     print(drawn.tolist(), missed.tolist())
        [0, 0, 2, 3, 4, 5] [1]
        [1, 2, 3, 3, 3, 3] [0, 4, 5]

    Reference:
        Efron and Tibshirani, "Improvements on Cross-Validation: The .632+ Bootstrap Method",
        JASA 1997, https://doi.org/10.1080/01621459.1997.10474007
    """

    def __init__(self, draws: int, seed: int = 0) -> None:
        self.draws = checks.whole_number("draws", draws, least=1)
        self.seed = checks.whole_number("seed", seed, least=0)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return how many splits there are."""
        return self.draws

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield sorted indices of a draw, with repetitions, and of what it missed.

        Args:
            X: Anything that has a length.
            y: Not looked at.
            groups: Not looked at.
        """
        n = len(X)
        if n < 2:
            raise ValueError(f"there must be 2 examples or more to draw from. Received: {n}")
        for draw in range(self.draws):
            random = np.random.default_rng((self.seed, draw))
            missed = np.array([], int)
            while not len(missed):  # of few examples a draw may miss none: draw again
                drawn = np.sort(random.integers(0, n, n))
                missed = np.setdiff1d(np.arange(n), drawn)
            yield drawn, missed
