"""The perceptron against scikit-learn's, Novikoff's bound, and gradients by Keras."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import linear_model
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator

from keras_dlcourse.models import Perceptron
from keras_dlcourse.models.dense.perceptron import is_separable, run_pass

XOR = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def separable(seed, count=60, features=3, margin=0.05):
    """Return points at least a margin away from a plane, their side, and the plane of length 1."""
    rng = np.random.default_rng(seed)
    plane = rng.normal(size=features + 1)
    plane /= np.linalg.norm(plane)
    points = rng.normal(size=(4 * count, features)) * rng.uniform(0.2, 3)
    distance = points @ plane[:-1] + plane[-1]
    kept = np.abs(distance) >= margin
    return points[kept][:count], np.sign(distance[kept][:count]), plane


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_takes_it_for_an_estimator():
    check_estimator(Perceptron())


@given(seed=st.integers(0, 2**32 - 1), features=st.integers(1, 6), shuffle=st.booleans(),
       margin=st.floats(0.02, 0.5))  # fmt: skip
def test_mistakes_stay_below_novikoffs_bound(seed, features, shuffle, margin):
    x, t, plane = separable(seed, features=features, margin=margin)
    if len(np.unique(t)) < 2:
        return
    model = Perceptron(10**6, 0.3, shuffle, random_state=seed % 1000).fit(x, t)
    homogeneous = np.column_stack([x, np.ones(len(x))])
    radius = np.linalg.norm(homogeneous, axis=1).max()
    least = (t * (homogeneous @ plane)).min()
    assert len(model.mistakes_[0]) <= (radius / least) ** 2
    assert (model.predict(x) == t).all() and model.separable_ == [True]
    assert model.mistakes_by_pass_[0][-1] == 0
    assert sum(model.mistakes_by_pass_[0]) == len(model.mistakes_[0])


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_it_is_scikit_learns_rule(rate):
    x, t, _ = separable(3)
    ours = Perceptron(learning_rate=rate, shuffle=False).fit(x, t)
    theirs = linear_model.Perceptron(shuffle=False, tol=None, eta0=rate, max_iter=ours.n_iter_)
    theirs.fit(x, t)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-9)


def test_one_pass_is_a_loop_over_the_examples():
    x, t, _ = separable(5, count=200)
    signed = t[:, None] * np.column_stack([x, np.ones(len(x))])
    order = np.random.default_rng(0).permutation(len(x))
    weights, mistakes = np.zeros(4), []
    for example in order:
        if signed[example] @ weights <= 0:
            weights = weights + 0.5 * signed[example]
            mistakes.append(example)
    found, wrong = run_pass(signed, order, np.zeros(4), 0.5)
    np.testing.assert_allclose(found, weights, rtol=1e-12)
    assert wrong.tolist() == mistakes and len(mistakes) > 10


def test_an_update_is_a_step_of_sgd_on_the_distance_of_mistakes():
    """D(w, w0) = -t (w x + w0) of one mistake, by Keras; the intercept moves, too."""
    layer = keras.layers.Dense(1)
    model = keras.Sequential([keras.Input((3,)), layer])
    start = np.array([0.3, -0.2, 0.1, 0.4])
    layer.set_weights([start[:3, None], start[3:]])
    model.compile(keras.optimizers.SGD(0.7), lambda t, y: -t * y)
    x, t = np.array([[1.0, 2.0, -1.0]]), np.array([[-1.0]])
    assert (t * (x @ start[:3] + start[3])).item() < 0
    model.train_on_batch(x, t)
    signed = t * np.column_stack([x, [1.0]])
    found, mistakes = run_pass(signed, np.array([0]), start, 0.7)
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(found, [*kernel[:, 0], *bias], rtol=1e-6)
    assert mistakes.tolist() == [0] and found[3] != start[3]


def test_decisions_are_signed_distances():
    x, t, _ = separable(1)
    model = Perceptron().fit(x, t)
    w, w0 = model.coef_[0], model.intercept_[0]
    for point, distance in zip(x[:5], model.decision_function(x)[:5], strict=True):
        foot = point - distance * w / np.linalg.norm(w)  # on the plane
        assert w @ foot + w0 == pytest.approx(0, abs=1e-9)
        assert np.linalg.norm(point - foot) == pytest.approx(abs(distance))


def test_xor_gets_a_clear_answer_and_the_other_gates_are_learned():
    with pytest.warns(ConvergenceWarning, match=r"No hyperplane separates.*hidden layer"):
        model = Perceptron().fit(XOR, [0, 1, 1, 0])
    assert model.separable_ == [False] and model.n_iter_ == 20  # and not 1,000
    for gate in ([0, 0, 0, 1], [0, 1, 1, 1], [1, 1, 1, 0]):
        assert Perceptron().fit(XOR, gate).score(XOR, gate) == 1
    squared = np.column_stack([XOR, XOR.prod(1)])
    assert Perceptron().fit(squared, [0, 1, 1, 0]).score(squared, [0, 1, 1, 0]) == 1


def test_too_few_passes_are_told_from_what_cannot_be():
    x, t, _ = separable(0, count=200, margin=0.005)
    with pytest.warns(ConvergenceWarning, match="3 passes were not enough"):
        model = Perceptron(max_iter=3).fit(x, t)
    assert model.separable_ == [True] and model.mistakes_by_pass_[0][-1] > 0


def test_the_linear_program_against_planted_answers():
    for seed in range(20):
        x, t, _ = separable(seed)
        signed = t[:, None] * np.column_stack([x, np.ones(len(x))])
        assert is_separable(signed) is (True if len(np.unique(t)) == 2 else True)
        middle = (x[t > 0].mean(0) if (t > 0).any() else x.mean(0))[None]
        wrong = -np.column_stack([middle, [1.0]])  # of the other class, amid the first
        if (t > 0).sum() > 1:
            assert is_separable(np.vstack([signed, wrong])) is False


def test_several_classes_have_a_perceptron_each():
    rng = np.random.default_rng(0)
    middles = np.array([[0, 6], [6, -4], [-6, -4]])
    y = np.repeat(["a", "b", "c"], 30)
    x = np.repeat(middles, 30, 0) + rng.normal(size=(90, 2))
    model = Perceptron().fit(x, y)
    assert model.coef_.shape == (3, 2) and model.score(x, y) == 1
    alone = Perceptron(shuffle=False).fit(x, y == "b")
    together = Perceptron(shuffle=False).fit(x, y)
    np.testing.assert_array_equal(together.coef_[1], alone.coef_[0])
    middle = np.vstack([x, np.zeros((1, 2))])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Perceptron().fit(np.vstack([middle, [[0, 6.0]]]), [*y, "d", "d"])
    assert "separates class" in str(caught[0].message) and "from others" in str(caught[0].message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"max_iter": 0}, "max_iter.*0"), ({"learning_rate": 0}, "learning_rate.*0")],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        Perceptron(**arguments).fit(XOR, [0, 0, 0, 1])
    with pytest.raises(ValueError, match="at least 2 classes"):
        Perceptron().fit(XOR, [1, 1, 1, 1])
