"""Crops contain the class that was drawn, at places that seed and epoch decide."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dlcourse as kd
from keras_dlcourse.data import ClassCrops


def _scenes(seed=0):
    """Return images of different sizes that show their masks; class 2 is in one corner of one."""
    rng = np.random.default_rng(seed)
    masks = [np.zeros(size, "uint8") for size in ((30, 40), (25, 33), (60, 20))]
    for mask in masks:
        row, column = rng.integers(0, 15, 2)
        mask[row : row + 4, column : column + 4] = 1
    masks[1][-1, -1] = 2
    masks[0][0, 0] = 255
    images = [np.repeat(mask[..., None], 3, axis=-1) for mask in masks]
    return images, masks


@settings(max_examples=30)
@given(st.integers(0, 2**16), st.integers(1, 25), st.integers(1, 20))
def test_crops_are_parts_of_images_with_their_masks(seed, height, width):
    crops = ClassCrops(_scenes(seed), (height, width), batch_size=6, batches=2, seed=seed)
    assert crops.classes.tolist() == [0, 1, 2] and len(crops) == 2 and crops.rows == 12
    for x, y in crops:
        assert x.shape == (6, height, width, 3) and (x.dtype, y.dtype) == ("float32", "int32")
        np.testing.assert_array_equal(x[..., 0], y)


def test_classes_are_equally_likely_however_rare():
    crops = ClassCrops(_scenes(), (5, 5), batch_size=100, batches=9, classes=[1, 2])
    y = np.concatenate([masks for _, masks in crops])
    shows_2 = (y == 2).any(axis=(1, 2))
    assert ((y == 1).any(axis=(1, 2)) | shows_2).all() and 0.44 < shows_2.mean() < 0.56
    # At the edge of the image, the pixel is at the edge of the crop.
    assert set(np.argwhere(y == 2)[:, 1:].ravel()) == {4}
    x_1 = np.argwhere((y == 1) & ~shows_2[:, None, None])
    assert set(x_1[:, 1]) == set(x_1[:, 2]) == set(range(5))  # anywhere in the crop


def test_the_epoch_decides_and_evaluation_is_the_same_each_time():
    x, y = np.zeros((5, 20, 20, 1), "uint8"), np.zeros((5, 20, 20), "uint8")
    x[..., 0] = np.arange(400).reshape(20, 20) % 251
    y[:, 5:9, 5:9] = 1
    normalization = kd.data.Normalization.fit(x)
    data = kd.data.pipeline(x, y, class_names=("ground", "thing"), normalization=normalization)
    seen = []

    crops = ClassCrops(data, (8, 8), batch_size=2, seed=4)
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 1)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    model.fit(crops, epochs=2, verbose=0)
    assert crops.epoch == 2 and crops.examples == 5
    losses = {float(model.evaluate(crops, verbose=0)) for _ in range(2)}
    assert len(losses) == 1 and crops.epoch == 2
    for epoch in (0, 1, 0):
        crops.epoch = epoch
        crops.begin_pass(True)
        seen.append(np.concatenate([images for images, _ in crops.one_pass()]))
    np.testing.assert_array_equal(seen[0], seen[2])
    assert (seen[0] != seen[1]).any()
    assert abs(seen[0].mean()) < 3  # normalized


@pytest.mark.parametrize(
    ("change", "arguments", "error", "message"),
    [
        (None, {"size": (26, 5)}, ValueError, r"Received: \(26, 5\), but image 1 has \(25, 33\)"),
        (None, {"classes": [3]}, ValueError, r"some of those in the masks, \[0, 1, 2\]. Rec"),
        (None, {"classes": []}, ValueError, "classes must be some of those"),
        (None, {"batches": 0}, ValueError, "batches must be an integer of at least 1"),
        (lambda i, m: (i[:2], m), {}, ValueError, "Received: 2 images and 3 masks"),
        (
            lambda i, m: (i[::-1], m),
            {},
            ValueError,
            "as large as their masks. Received: an",
        ),
        (lambda i, m: (i, [k * 0.5 for k in m]), {}, TypeError, "whole class numbers"),
        (lambda i, m: (i, [k * 0 + 255 for k in m]), {}, ValueError, "Received: only 255"),
        (lambda i, m: i, {}, TypeError, "data must be a kd.data.Pipeline with masks"),
    ],
)
def test_arguments_that_are_refused(change, arguments, error, message):
    images, masks = _scenes()
    data = (images, masks) if change is None else change(images, masks)
    with pytest.raises(error, match=message):
        ClassCrops(data, **{"size": (5, 5), **arguments})


def test_a_pipeline_without_masks():
    with pytest.raises(ValueError, match="the labels of data must be masks"):
        ClassCrops(kd.data.pipeline(np.zeros((4, 8, 8, 1)), np.arange(4)), (4, 4))
