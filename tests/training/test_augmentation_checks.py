"""Invariance counted by hand, and traces that are there or not."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_dlcourse as kd

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(70, 9, 8, 2)).astype("float32")
LABELS = RANDOM.integers(0, 3, 70)


@pytest.fixture(scope="module")
def model():
    """Its class is the argmax of three fixed projections."""
    network = keras.Sequential(
        [keras.Input((9, 8, 2)), keras.layers.Flatten(), keras.layers.Dense(3, use_bias=False)]
    )
    network.layers[1].set_weights([RANDOM.normal(size=(144, 3))])
    return network


def _by_hand(model, images):
    return (images.reshape(len(images), -1) @ model.get_weights()[0]).argmax(1)


@pytest.mark.parametrize("form", ["array", "numbers", "one-hot", "pipeline"])
def test_invariance_is_what_counting_gives(model, form):
    data = {
        "array": IMAGES,
        "numbers": (IMAGES, LABELS),
        "one-hot": (IMAGES, np.eye(3)[LABELS]),
        "pipeline": kd.data.pipeline(IMAGES, LABELS, shuffle=True),
    }[form]
    found = kd.training.invariance(model, data, lambda batch: batch[:, ::-1])
    before, after = _by_hand(model, IMAGES), _by_hand(model, IMAGES[:, ::-1])
    np.testing.assert_array_equal(found.before, before)
    np.testing.assert_array_equal(found.changed, np.flatnonzero(before != after))
    assert found.share == (before == after).mean() and 0.1 < found.share < 0.7
    if form == "array":
        assert found.accuracies is None and "correct" not in str(found)
    else:
        assert found.accuracies == ((before == LABELS).mean(), (after == LABELS).mean())
        assert f"{found.share:.1%} of 70 predictions stay" in str(found)


def test_a_layer_is_called_as_in_training(model):
    still = kd.training.invariance(model, IMAGES, kd.layers.RandomAffine())
    assert still.share == 1 and not len(still.changed)
    moved = kd.training.invariance(model, IMAGES, kd.layers.RandomAffine(degrees=180, seed=1))
    assert moved.share < 0.7


def test_one_score_has_a_threshold():
    x = keras.Input((9, 8, 2))
    model = keras.Model(x, keras.layers.GlobalAveragePooling2D()(x)[:, :1])
    means = IMAGES[..., 0].mean((1, 2))
    found = kd.training.invariance(model, IMAGES, lambda batch: batch + 0.1, threshold=0.0)
    np.testing.assert_array_equal(found.before, means > 0)
    np.testing.assert_array_equal(found.after, means > -0.1)


@pytest.mark.parametrize(
    "transform, has_trace",
    [
        (lambda batch: np.flip(batch, axis=2), False),
        (lambda batch: 0.3 * batch, True),
    ],
    ids=["mirrored-noise", "dimmed"],
)
def test_a_trace_is_found_where_there_is_one(transform, has_trace):
    images = RANDOM.normal(size=(300, 9, 8, 1)).astype("float32")
    found = kd.training.hidden_trace(images, transform, limit=300, folds=2, epochs=8)
    assert bool(found) == has_trace
    assert (found.auc > 0.9) == has_trace and len(found.by_fold) == 2
    assert str(found).startswith("A trace" if has_trace else "No trace")
    assert 0.5 < found.limit < 0.62
    if has_trace:
        again = kd.training.hidden_trace(images, transform, limit=300, folds=2, epochs=8)
        assert again == found


@pytest.mark.release
def test_corners_of_a_turn_are_a_trace_and_a_mirror_is_none():
    data = kd.data.load("fashion_mnist_small").train
    turn = kd.layers.RandomAffine(degrees=30, fill_value=3.0, seed=1)
    assert kd.training.hidden_trace(data, turn).auc > 0.9
    mirrored = np.concatenate([data.x[:1000], data.x[:1000, :, ::-1]])
    flip = kd.layers.RandomAffine(horizontal_flip=True, seed=1)
    assert not kd.training.hidden_trace(mirrored / 255.0, flip)


def test_errors(model):
    with pytest.raises(TypeError, match="model must be a keras.Model. Received: str"):
        kd.training.invariance("model", IMAGES, lambda batch: batch)
    with pytest.raises(TypeError, match="transform must be a layer or a function. Received: 90"):
        kd.training.invariance(model, IMAGES, 90)
    with pytest.raises(ValueError, match=r"keep the shape of a batch, \(32, 9, 8, 2\)"):
        kd.training.invariance(model, IMAGES, lambda batch: batch[:, 1:])
    x = keras.Input((9, 8, 2))
    with pytest.raises(ValueError, match="model must have one output"):
        kd.training.invariance(keras.Model(x, x + 1), IMAGES, lambda batch: batch)
    with pytest.raises(ValueError, match="images of at least 7 pixels"):
        kd.training.hidden_trace(IMAGES[:, :6], lambda batch: batch)
    with pytest.raises(ValueError, match="epochs must be an integer of at least 1"):
        kd.training.hidden_trace(IMAGES, lambda batch: batch, epochs=0)
    with pytest.raises(ValueError, match="folds must be an integer of at least 2"):
        kd.training.hidden_trace(IMAGES, lambda batch: batch, folds=1)
