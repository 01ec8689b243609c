"""When the loss is no number any more: which batch, which layer, and what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_dlcourse as kd
from keras_dlcourse.callbacks import TerminateOnNaN

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.normal(size=(40, 4, 4, 1)).astype("float32"), np.arange(40) % 3


@keras.saving.register_keras_serializable("tests")
class Breaks(keras.layers.Layer):
    """Answers infinity once it has seen a mean above a limit."""

    def call(self, inputs: Any) -> Any:
        return keras.ops.where(keras.ops.max(inputs) > 50, inputs / 0.0, inputs)


def network(*layers: keras.layers.Layer, rate: float = 0.01) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Flatten(),
            *layers,
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3, activation="softmax", name="head"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.5),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def data(x: np.ndarray, y: np.ndarray = LABELS) -> kd.data.Pipeline:
    made = kd.data.pipeline(np.zeros_like(x), y, batch_size=4, shuffle=True, seed=2)
    made.x = x  # past the check that refuses NaN, as a damaged file would be
    return made


def batch_of(pipeline: kd.data.Pipeline, example: int, epoch: int) -> int:
    return int(np.flatnonzero(pipeline.order(epoch) == example)[0]) // 4


@pytest.mark.parametrize("every", [1, 3, 20])
def test_a_batch_with_nan_in_it(every: int, tmp_path: Path) -> None:
    x = IMAGES.copy()
    x[7] = np.nan  # all of it: dropout may take one pixel out
    pipeline, guard = data(x), TerminateOnNaN(tmp_path, every)
    number = batch_of(pipeline, 7, 0)
    model = network()
    with pytest.warns(UserWarning, match="remove those examples") as warned:
        history = model.fit(pipeline, epochs=3, verbose=0, callbacks=[guard])
    assert len(history.epoch) == 1
    assert guard.finding is not None and guard.finding.batch == number
    assert guard.finding.where == "the data: 1 of 4 inputs"
    message = str(warned[-1].message)
    assert f"epoch 1: NaN or infinity first appeared in batch {number + 1}, in the data" in message
    with np.load(tmp_path / f"nan-epoch-1-batch-{number + 1}.npz") as kept:
        np.testing.assert_array_equal(
            kept["inputs/0"], pipeline.prepare(x[pipeline.order(0)[4 * number : 4 * number + 4]])
        )
    # Without an epoch that was through, the weights are those before the batch.
    other = network()
    other.fit(data(IMAGES), epochs=1, steps_per_epoch=number, verbose=0) if number else None
    for kept_weight, expected in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(kept_weight, expected, rtol=1e-6)


def test_the_layer_that_made_it(tmp_path: Path) -> None:
    x = IMAGES.copy()
    x[11] = 100.0
    inner = keras.Sequential(
        [keras.Input((16,)), Breaks(name="breaks"), keras.layers.ReLU()], name="inner"
    )
    pipeline, guard = data(x), TerminateOnNaN(tmp_path, 4)
    with pytest.warns(UserWarning, match="lower learning rate .it was 0.01; try 0.001"):
        network(inner).fit(pipeline, epochs=1, verbose=0, callbacks=[guard])
    assert guard.finding is not None
    assert guard.finding.batch == batch_of(pipeline, 11, 0)
    assert guard.finding.where == "the output of inner/breaks (Breaks)"


def test_weights_of_the_best_epoch_come_back() -> None:
    x = IMAGES.copy()

    def poison(epoch: int, logs: Any) -> None:
        if epoch == 2:
            x[:] = np.inf

    losses: list[float] = []
    kept: list[list[np.ndarray]] = []
    model = network()

    def keep(epoch: int, logs: Any) -> None:
        losses.append(logs["loss"])
        kept.append(model.get_weights())

    watch = keras.callbacks.LambdaCallback(on_epoch_begin=poison, on_epoch_end=keep)
    guard = TerminateOnNaN()
    with pytest.warns(UserWarning, match="those of epoch [12], the best"):
        model.fit(data(x), epochs=5, verbose=0, callbacks=[watch, guard])
    best = int(np.argmin(losses[:2]))
    assert guard.best == losses[best]
    for weight, expected in zip(model.get_weights(), kept[best], strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_rate_that_is_too_high_breaks_the_step_or_the_loss() -> None:
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(8),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.SGD(1e18), "mse")
    guard = TerminateOnNaN(every=2)
    with pytest.warns(UserWarning, match="Try a lower learning rate .it was 1e.18"):
        model.fit(data(IMAGES), epochs=2, verbose=0, callbacks=[guard])
    assert guard.finding is not None and not guard.finding.in_data
    assert np.isfinite(np.concatenate([w.ravel() for w in model.get_weights()])).all()


def test_other_data_gives_the_range_of_batches() -> None:
    x = IMAGES.copy()
    x[22] = np.nan
    guard = TerminateOnNaN(every=2)
    with pytest.warns(UserWarning, match="in batches 5 to 6; with data from kd.data.pipeline"):
        network().fit(x, LABELS, batch_size=4, shuffle=False, verbose=0, callbacks=[guard])
    assert guard.finding is None


def behind_relu(rate: float = 0.01) -> keras.Model:
    """A network whose loss stays finite when its first kernel is NaN: ReLU makes 0 of that."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation=zero_of_nan, name="first"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
    return model


def zero_of_nan(x: Any) -> Any:
    """ReLU as TensorFlow computes it on some processors; others hand NaN on."""
    return keras.ops.where(x > 0, x, 0.0)


def test_nan_weights_under_a_finite_loss(tmp_path: Path) -> None:
    x = IMAGES.copy()
    x[7] = np.nan
    pipeline, model = data(x), behind_relu()
    before = model.get_weights()
    number = batch_of(pipeline, 7, 0)
    guard = TerminateOnNaN(every=1)
    stop = kd.callbacks.EarlyStopping("loss", patience=9, verbose=0)
    losses: list[float] = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append(float(logs["loss"]))
    )
    with pytest.warns(UserWarning, match=f"in batch {number + 1}, in the data: 1 of 4 inputs"):
        model.fit(pipeline, epochs=3, verbose=0, callbacks=[watch, guard, stop])
    assert np.isfinite(losses).all(), "the loss says nothing"
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    if number == 0:
        np.testing.assert_array_equal(model.get_weights()[0], before[0])


def test_nan_weights_of_other_data_are_named() -> None:
    x = IMAGES.copy()
    x[22] = np.nan
    guard = TerminateOnNaN(every=2)
    with pytest.warns(UserWarning, match="the weight .*first/kernel became NaN .* batches 5 to 6"):
        behind_relu().fit(x, LABELS, batch_size=4, shuffle=False, verbose=0, callbacks=[guard])


def test_weights_that_are_nan_before_training() -> None:
    model = behind_relu()
    model.layers[1].set_weights([np.full((16, 8), np.inf), np.zeros(8)])
    with pytest.raises(ValueError, match="finite before epoch 1, but '.*first/kernel' holds NaN"):
        model.fit(IMAGES, LABELS, verbose=0, callbacks=[TerminateOnNaN()])


@pytest.mark.parametrize(
    "loss", [kd.losses.ArcFace(), kd.losses.CosFace(), kd.losses.ProxyAnchor()]
)
@pytest.mark.parametrize("kind", ["pipeline", "arrays"])
def test_labels_that_the_loss_has_no_class_for(loss: keras.losses.Loss, kind: str) -> None:
    model = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Flatten(), kd.layers.CosineDense(3)]
    )
    model.compile(keras.optimizers.SGD(0.01), loss)
    given = (data(IMAGES, LABELS + 1),) if kind == "pipeline" else (IMAGES, LABELS + 1)
    said = (
        "the labels: [0-9]+ of [0-9]+ are not class numbers from 0 to 2, the first is 3"
        ".*classes from 0,"
    )
    with pytest.warns(UserWarning, match=said) as warned:
        model.fit(*given, verbose=0, callbacks=[TerminateOnNaN(every=1)])
    assert "learning rate" not in str(warned[-1].message)


def test_a_training_that_is_well_is_left_alone() -> None:
    guard, plain, watched = TerminateOnNaN(every=3), network(), network()
    plain.fit(data(IMAGES), epochs=2, verbose=0)
    watched.fit(data(IMAGES), epochs=2, verbose=0, callbacks=[guard])
    assert guard.finding is None
    for expected, weight in zip(plain.get_weights(), watched.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
