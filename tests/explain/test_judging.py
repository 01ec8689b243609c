"""Judging maps against loops over single pixels, and closed forms for linear models."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from scipy.ndimage import gaussian_filter

from keras_dlcourse.explain import average_drop, deletion, insertion

IMAGES = np.random.default_rng(0).uniform(0.1, 1, (3, 5, 4, 2)).astype("float32")
MAPS = np.random.default_rng(1).random((3, 5, 4)).astype("float32")


def _model() -> keras.Model:
    inputs = keras.Input((5, 4, 2))
    x = layers.Conv2D(3, 3, activation="tanh")(inputs)
    model = keras.Model(inputs, layers.Dense(4, activation="softmax")(layers.Flatten()(x)))
    rng = np.random.default_rng(10)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    return model


def _linear(weights: np.ndarray) -> keras.Model:
    inputs = keras.Input(weights.shape)
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(layers.Flatten()(inputs)))
    model.set_weights([weights.reshape(-1, 1)])
    return model


def _loop(model, start, end, classes, steps):
    """Replace one pixel after the other and look at every `20 / steps` of them."""
    scores = np.empty((3, steps + 1))
    for number in range(3):
        order = sorted(np.ndindex(5, 4), key=lambda at: -MAPS[number][at])
        image, seen = start[number].copy(), []
        for replaced in range(21):
            if replaced % (20 // steps) == 0:
                seen.append(model.predict(image[None], verbose=0)[0, classes[number]])
            if replaced < 20:
                image[order[replaced]] = end[number][order[replaced]]
        scores[number] = seen
    return scores


@pytest.mark.parametrize("baseline", ["zero", "mean", "blur"])
@pytest.mark.parametrize("judge", [deletion, insertion])
def test_curves_are_those_of_a_loop(judge, baseline):
    model = _model()
    other = {
        "zero": np.zeros_like(IMAGES),
        "mean": np.ones_like(IMAGES) * IMAGES.mean((1, 2), keepdims=True),
        "blur": np.stack(
            [
                np.stack([gaussian_filter(image[..., c], 0.25) for c in range(2)], axis=-1)
                for image in IMAGES
            ]
        ),
    }[baseline]
    start, end = (IMAGES, other) if judge is deletion else (other, IMAGES)
    classes = [2, 0, 1]
    curves = judge(model, IMAGES, MAPS, classes, steps=5, baseline=baseline, batch_size=2)
    expected = _loop(model, start, end, classes, steps=5)
    np.testing.assert_allclose(curves.scores, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(curves.areas, np.trapezoid(expected, dx=0.2, axis=1), rtol=1e-4)
    np.testing.assert_allclose(curves.shares, [0, 0.2, 0.4, 0.6, 0.8, 1])
    assert curves.mean == curves.areas.mean()


def test_defaults_are_those_of_the_paper_and_the_top_class():
    model = _model()
    top = model.predict(IMAGES, verbose=0).argmax(1)
    assert len(set(top)) > 1
    for judge, baseline in ((deletion, "zero"), (insertion, "blur")):
        default = judge(model, IMAGES, MAPS, steps=4)
        named = judge(model, IMAGES, MAPS, top, steps=4, baseline=baseline)
        np.testing.assert_array_equal(default.scores, named.scores)


def test_a_linear_model_has_a_closed_form():
    """With contributions c in falling order, k pixels deleted leave the sum of c_k, c_k+1, ..."""
    weights = np.random.default_rng(5).normal(size=(5, 4, 2)).astype("float32")
    contributions = (IMAGES * weights).sum(-1)
    low, high = contributions.min(), contributions.max()
    curves = deletion(_linear(weights), IMAGES, (contributions - low) / (high - low), 0, steps=20)
    falling = -np.sort(-contributions.reshape(3, -1), axis=1)
    left = falling.sum(1, keepdims=True) - np.cumsum(np.pad(falling, ((0, 0), (1, 0))), axis=1)
    np.testing.assert_allclose(curves.scores, left, atol=1e-5)
    # Pixel number k counts fully in k steps and half in the one in which it goes.
    areas = (falling * (np.arange(20) + 0.5) / 20).sum(1)
    np.testing.assert_allclose(curves.areas, areas, atol=1e-5)
    # No map does better than the contributions themselves.
    for seed in range(5):
        others = np.random.default_rng(seed).random((3, 5, 4))
        assert (deletion(_linear(weights), IMAGES, others, 0, steps=20).areas > areas).all()


def test_of_equal_pixels_those_further_up_go_first():
    weights = np.ones((5, 4, 2), "float32")
    curves = deletion(_linear(weights), IMAGES, np.ones((3, 5, 4)), 0, steps=5)
    left = [IMAGES[:, row:].sum((1, 2, 3)) for row in range(6)]
    np.testing.assert_allclose(curves.scores, np.transpose(left), atol=1e-5)


def test_average_drop_is_its_definition():
    model = _model()
    classes = np.array([3, 1, 2])
    result = average_drop(model, IMAGES, MAPS, classes, batch_size=2)
    drops, rises = [], []
    for image, plane, number in zip(IMAGES, MAPS, classes, strict=True):
        before = model.predict(image[None], verbose=0)[0, number]
        after = model.predict((image * plane[..., None])[None], verbose=0)[0, number]
        drops.append(max(0, before - after) / before)
        rises.append(after > before)
    np.testing.assert_allclose(result.drops, drops, rtol=1e-4, atol=1e-6)
    assert result.increases.tolist() == rises and 0 < np.sum(rises) < 3
    np.testing.assert_allclose(result.average_drop, np.mean(drops), rtol=1e-4)
    np.testing.assert_allclose(result.increase_in_confidence, np.mean(rises))


def test_a_score_of_zero_loses_nothing():
    model = _linear(np.zeros((5, 4, 2), "float32"))
    assert average_drop(model, IMAGES, MAPS, 0).drops.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"maps": MAPS[:, :3]}, r"maps must have the shape \(3, 5, 4\).*\(3, 3, 4\)"),
        ({"maps": MAPS * 2}, "values from 0 to 1. Received: .* to 1.9"),
        ({"maps": MAPS * np.nan}, "values from 0 to 1"),
        ({"images": IMAGES[..., :1]}, r"images must have the shape \(n, 5, 4, 2\)"),
        ({"classes": 4}, "classes must be between 0 and 3"),
        ({"classes": [[0, 1]] * 3}, "one per image"),
        ({"steps": 0}, "steps must be an integer of at least 1"),
        ({"steps": 21}, "steps must be at most the 20 pixels"),
        ({"baseline": "grey"}, "baseline must be one of 'blur', 'mean', 'zero'. Received: 'grey'"),
        ({"baseline": "mean", "sigma": 3}, "sigma requires baseline='blur'"),
        ({"baseline": "blur", "sigma": -1}, "sigma must be a finite number above 0"),
    ],
)
@pytest.mark.parametrize("judge", [deletion, insertion])
def test_errors(judge, arguments, message):
    given = {"images": IMAGES, "maps": MAPS, **arguments}
    with pytest.raises(ValueError, match=message):
        judge(_model(), **given)


def test_models_that_cannot_be_judged():
    inputs = keras.Input((5, 4, 2))
    maps = keras.Model(inputs, layers.Conv2D(2, 3)(inputs))
    with pytest.raises(ValueError, match="one image input and one output of scores"):
        deletion(maps, IMAGES, MAPS)
    with pytest.raises(TypeError, match="model must be a keras.Model"):
        deletion("model", IMAGES, MAPS)
    with pytest.raises(ValueError, match="needs scores of at least 0.*Add a softmax"):
        average_drop(_linear(-np.ones((5, 4, 2), "float32")), IMAGES, MAPS, 0)
