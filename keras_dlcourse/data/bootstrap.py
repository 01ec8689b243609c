"""Train on a sample drawn with replacement, and evaluate on the examples that were not drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer
from keras_dlcourse._moved import renamed_arguments


class Bootstrap:
    """Splitter that draws with replacement; the examples that were not drawn are the other part.

    A draw of n examples out of n contains about 63.2 % of them, some several times; the rest are
    "out of bag". It has the interface of scikit-learn's splitters and can be used in their place.

    Args:
        samples: Number of samples, each of which gives a split, 1 or more.
        seed: Seed of the draws, 0 or more.

    Raises:
        TypeError: If an argument is not an integer.
        ValueError: If an argument is out of range, or there are too few examples to split.

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

    @renamed_arguments(draws="samples")
    def __init__(self, samples: int, seed: int = 0) -> None:
        self.samples = check_integer("samples", samples)
        self.seed = check_integer("seed", seed, least=0)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of splits."""
        return self.samples

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the sorted indices of the drawn examples, with repetitions, and of the others.

        Args:
            X: Anything that has a length.
            y: Ignored.
            groups: Ignored.
        """
        n = len(X)
        if n < 2:
            raise ValueError(f"X must have 2 examples or more to draw from. Received: {n}")
        for draw in range(self.samples):
            random = np.random.default_rng((self.seed, draw))
            missed = np.array([], int)
            while not len(missed):  # a draw from few examples may contain all of them
                drawn = np.sort(random.integers(0, n, n))
                missed = np.setdiff1d(np.arange(n), drawn)
            yield drawn, missed
