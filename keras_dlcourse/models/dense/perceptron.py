"""Rosenblatt's perceptron, with scikit-learn's interface and a record of its mistakes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from keras_dlcourse._checks import check_integer, check_number

_ASKED_AFTER = 20  # passes without convergence before separability is computed
_LARGEST = 2_000_000  # values in the data for which that takes seconds


class Perceptron(ClassifierMixin, BaseEstimator):
    """Linear classifier that learns a hyperplane from its mistakes, one example at a time.

        y = sign(w x + w0);   where t (w x + w0) <= 0:   w <- w + rate t x,   w0 <- w0 + rate t

    This is Hebb's rule applied to mistakes only, and one step of stochastic gradient descent on
    D(w, w0) = -sum over the mistakes of t (w x + w0). Weights start at zero. If a hyperplane
    separates the classes, the rule finds one after at most (R / margin)^2 mistakes (Novikoff),
    where R is the largest length of (x, 1) and the margin is the smallest distance t (u, b) (x, 1)
    for some (u, b) of length 1. Otherwise, it would never end; a linear program detects this after
    20 passes.

    `sklearn.linear_model.Perceptron` uses the same rule. This class also records the mistakes and
    tells whether the classes are separable at all, and its `decision_function` is a distance.
    With more than two classes, one perceptron per class separates that class from all others.

    Args:
        max_iter: Maximum number of passes over the data.
        learning_rate: As weights start at zero, it only scales w and does not affect predictions.
        shuffle: Whether to shuffle the examples before each pass.
        random_state: Seed of the shuffling, or a NumPy RandomState.

    Attributes:
        classes_: The classes, in order.
        coef_: w, `(1, features)` for two classes and `(classes, features)` for more: the template
            of each class (`kd.report.draw_templates`).
        intercept_: w0, `(1,)` or `(classes,)`.
        mistakes_: For each row of `coef_`, an int array of its mistakes: indices of examples, in
            the order in which the mistakes were made.
        mistakes_by_pass_: For each row, the number of mistakes in each pass. The last one is 0 if
            training converged.
        separable_: For each row, True, False, or None if unknown: `max_iter` passes were not
            enough, and the data has over two million values.
        n_iter_: Number of passes, the maximum over all rows.
        n_features_in_: Number of features.

    Raises:
        ValueError: From `fit`, if an argument is out of range, the data is not finite, or there is
            only one class.

    Warns:
        ConvergenceWarning: If no hyperplane separates a class from the others, or none was found
            within `max_iter` passes. The weights are then those of the best pass.

    Example:
        >>> points = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> conjunction = Perceptron().fit(points, [0, 0, 0, 1])
        >>> conjunction.predict(points).tolist(), conjunction.separable_
        ([0, 0, 0, 1], [True])
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     Perceptron().fit(points, [0, 1, 1, 0]).separable_  # XOR
        [False]

    Reference:
        Rosenblatt, "The perceptron", Psychological Review 1958; Novikoff, "On convergence proofs on
        perceptrons", 1962
    """

    def __init__(
        self,
        max_iter: int = 1000,
        learning_rate: float = 1.0,
        shuffle: bool = True,
        random_state: Any = 0,
    ) -> None:
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.shuffle = shuffle
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Perceptron:
        """Fit the perceptron.

        Args:
            X: Features, `(n, features)`.
            y: Class of each example, of any type that scikit-learn accepts.
        """
        check_integer("max_iter", self.max_iter)
        check_number("learning_rate", self.learning_rate, above=0)
        X, y = validate_data(self, X, y, dtype="float64")
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"Perceptron needs at least 2 classes. Received 1 class: {self.classes_.tolist()}"
            )
        positives = [1] if len(self.classes_) == 2 else range(len(self.classes_))
        random = check_random_state(self.random_state)
        rows = [self._learn(X, np.where(codes == one, 1.0, -1.0), random) for one in positives]
        self.coef_ = np.array([weights[:-1] for weights, *_ in rows])
        self.intercept_ = np.array([weights[-1] for weights, *_ in rows])
        self.mistakes_ = [np.concatenate(passes) for _, passes, _ in rows]
        self.mistakes_by_pass_ = [[len(each) for each in passes] for _, passes, _ in rows]
        self.separable_ = [separable for *_, separable in rows]
        self.n_iter_ = max(map(len, self.mistakes_by_pass_))
        self._warn()
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return the signed distance of each point from the hyperplane, `(n,)` or `(n, classes)`.

        It has the unit of the features, and is positive on the side of the (second) class. If all
        weights are 0, it is the intercept.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype="float64", reset=False)
        lengths = np.linalg.norm(self.coef_, axis=1)
        distances = (X @ self.coef_.T + self.intercept_) / np.where(lengths > 0, lengths, 1.0)
        return distances[:, 0] if len(self.classes_) == 2 else distances

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of each point, `(n,)`.

        With more than two classes, this is the class with the largest decision function. With two,
        points on the hyperplane itself belong to the first class.
        """
        distances = self.decision_function(X)
        chosen = (distances > 0).astype(int) if distances.ndim == 1 else distances.argmax(axis=1)
        return self.classes_[chosen]

    def _learn(
        self, X: NDArray[np.float64], t: NDArray[np.float64], random: np.random.RandomState
    ) -> tuple[NDArray[np.float64], list[NDArray[np.int64]], bool | None]:
        """Return the weights (intercept last), the mistakes of each pass, and separability."""
        signed = t[:, None] * np.column_stack([X, np.ones(len(X))])
        weights = best = np.zeros(signed.shape[1])
        fewest, separable = len(X) + 1, None
        passes: list[NDArray[np.int64]] = []
        for number in range(1, self.max_iter + 1):
            order = random.permutation(len(X)) if self.shuffle else np.arange(len(X))
            weights, mistakes = run_pass(signed, order, weights, self.learning_rate)
            passes.append(mistakes)
            if not len(mistakes):
                return weights, passes, True
            wrong = int((signed @ weights <= 0).sum())
            if wrong < fewest:
                fewest, best = wrong, weights
            if number == min(_ASKED_AFTER, self.max_iter) and signed.size <= _LARGEST:
                separable = is_separable(signed)
                if separable is False:
                    break
        return best, passes, separable

    def _warn(self) -> None:
        """Warn about classes that are not separated from the others."""
        two = len(self.classes_) == 2
        names = [f"{self.classes_.tolist()}"] if two else list(map(str, self.classes_))
        what = "the classes" if two else "class"
        never = [n for n, able in zip(names, self.separable_, strict=True) if able is False]
        open_ = [
            name
            for name, able, passes in zip(
                names, self.separable_, self.mistakes_by_pass_, strict=True
            )
            if able is not False and passes[-1]
        ]
        if never:
            warnings.warn(
                f"No hyperplane separates {what} {', '.join(never)}{'' if two else ' from others'},"
                " as a linear program shows, and more passes will not help. The weights are the "
                "best seen. Add features (squares, products), or use a network with a hidden "
                "layer (kd.models.MLP).",
                ConvergenceWarning,
                stacklevel=3,
            )
        if open_:
            warnings.warn(
                f"{self.max_iter} passes were not enough for {what} {', '.join(open_)}. The "
                "weights are the best seen. Increase max_iter, or scale the features.",
                ConvergenceWarning,
                stacklevel=3,
            )


def run_pass(
    signed: NDArray[np.float64],
    order: NDArray[np.int64],
    weights: NDArray[np.float64],
    rate: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Present every example once, and learn from the misclassified ones.

    Args:
        signed: `(n, features + 1)`: t (x, 1).
        order: Order of the examples.
        weights: `(features + 1,)`; not modified.
        rate: Learning rate.

    Returns:
        New weights, and the indices of the examples that were misclassified when presented.
    """
    weights, mistakes, start, ahead = weights.copy(), [], 0, 8
    while start < len(order):
        # The weights do not change until the next mistake, so many examples are tested at once.
        wrong = np.flatnonzero(signed[order[start : start + ahead]] @ weights <= 0)
        if not len(wrong):
            start, ahead = start + ahead, 2 * ahead
            continue
        example = order[start + wrong[0]]
        weights += rate * signed[example]
        mistakes.append(example)
        start, ahead = start + int(wrong[0]) + 1, max(8, ahead // 2)
    return weights, np.array(mistakes, "int64")


def is_separable(signed: NDArray[np.float64]) -> bool | None:
    """Whether some weights make all of `signed @ weights` positive; None if undetermined.

    If so, scaled weights make all of them at least 1: a linear program without an objective.
    """
    lengths = np.linalg.norm(signed, axis=1, keepdims=True)  # of (x, 1), so at least 1
    rows = signed / lengths
    found = linprog(
        np.zeros(rows.shape[1]), A_ub=-rows, b_ub=-np.ones(len(rows)), bounds=(None, None)
    )
    return {0: True, 2: False}.get(found.status)
