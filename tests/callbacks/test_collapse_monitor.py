"""A collapsed network is named, one that only learns slowly is not."""

from __future__ import annotations

import math
import warnings

import keras
import numpy as np
import pytest

from keras_dlcourse.callbacks import CollapseMonitor
from keras_dlcourse.losses import NTXent, SupervisedContrastive, TripletLoss

# Tracing takes longer than a few steps, and JAX is fast at neither.
EAGERLY = keras.backend.backend() == "tensorflow"
X = np.random.default_rng(0).normal(size=(24, 6)).astype("float32")
Y = np.arange(24) % 4


def model(loss, kernel: np.ndarray, bias: float = 0.7) -> keras.Model:
    """Return a linear network that stays as it is, since nothing is learned at rate 0."""
    made = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    made.set_weights([kernel, np.full(3, bias)])
    made.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=EAGERLY)
    return made


def warned(made: keras.Model, monitor: CollapseMonitor, epochs: int = 2) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = made.fit(X, Y, epochs=epochs, verbose=0, callbacks=[monitor]).history
    assert history["embedding_variance"] == monitor.variances
    return [str(w.message) for w in caught if "collapsed" in str(w.message)]


DEAD = np.full((6, 3), 1e-5)
ALIVE = np.random.default_rng(1).normal(size=(6, 3))


@pytest.mark.parametrize(
    ("loss", "at_collapse"),
    [
        (TripletLoss(0.5), 0.5),
        (TripletLoss(0.3, "hard", "squared"), 0.3),
        (TripletLoss(0.2, "all", "cosine", over="active"), 0.2),
        (TripletLoss(soft=True), math.log(2)),
        (TripletLoss(0.4, soft=True), math.log(1 + math.exp(0.4))),
        (NTXent(0.5), math.log(1 + 18)),
        (SupervisedContrastive(0.5), math.log(23)),
    ],
    ids=lambda value: getattr(value, "name", f"{value:.3g}" if isinstance(value, float) else ""),
)
def test_collapse_is_said_once_with_figures_and_advice(loss, at_collapse: float) -> None:
    monitor = CollapseMonitor((X, Y))
    (message,) = warned(model(loss, DEAD), monitor)
    assert monitor.collapsed
    assert monitor.losses == pytest.approx([at_collapse] * 2, rel=0.01)
    assert f"would have {at_collapse:.4g}" in message and "after epoch 1" in message
    assert "learning rate" in message
    assert ("semi_hard" in message) == (getattr(loss, "mining", None) == "hard")
    assert len(warned(model(loss, DEAD), monitor)) == 1  # anew in another fit


@pytest.mark.parametrize("loss", [TripletLoss(0.5), TripletLoss(soft=True), NTXent(0.5)])
def test_embeddings_that_differ_are_no_collapse(loss) -> None:
    monitor = CollapseMonitor((X, Y))
    assert not warned(model(loss, ALIVE), monitor) and not monitor.collapsed
    compared = X @ ALIVE + 0.7
    if isinstance(loss, NTXent):
        compared /= np.linalg.norm(compared, axis=1, keepdims=True)
    assert monitor.variances[0] == pytest.approx(compared.var(axis=0).sum(), rel=1e-4)


def test_close_embeddings_in_good_order_are_no_collapse() -> None:
    """Small variance alone is no collapse: beside a margin as small, the loss is low."""
    one_hot = np.eye(4)[Y].astype("float32")
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, use_bias=False)])
    made.set_weights([np.eye(4) * 0.01])
    made.compile(keras.optimizers.SGD(0.0), TripletLoss(0.005))
    monitor = CollapseMonitor((one_hot, Y))
    made.fit(one_hot, Y, verbose=0, callbacks=[monitor])
    assert monitor.variances[0] < 1e-3 and monitor.losses[0] < 1e-4 and not monitor.collapsed


def test_a_model_without_such_a_loss_is_refused() -> None:
    made = model("mse", ALIVE)
    with pytest.raises(ValueError, match="the model has 'mse'.*loss="):
        made.fit(X, np.zeros((24, 3)), verbose=0, callbacks=[CollapseMonitor((X, Y))])


def test_diverged_training_is_left_to_others() -> None:
    monitor = CollapseMonitor((X, Y))
    made = model(TripletLoss(0.5), np.full((6, 3), np.nan))
    made.run_eagerly = False  # eagerly the loss itself says so
    made.fit(X, Y, verbose=0, callbacks=[monitor])
    assert not monitor.losses
