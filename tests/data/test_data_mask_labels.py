"""Masks as labels: what each part of `kd.data` makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dlcourse as kd
from keras_dlcourse.data import class_shares

NAMES = ("ground", "house", "tree")


def _examples(count=30, size=(6, 8), seed=0):
    """Return images and masks in which every class is frequent, and some pixels have no label."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, (count, *size)).astype("uint8")
    y[:, 0, 0] = 255
    return np.repeat(y[..., None], 3, axis=-1), y


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
def test_a_pipeline_keeps_masks_small_and_gives_whole_numbers(dtype):
    x, y = _examples()
    y = (y == 1).astype(dtype) if dtype == "bool" else y.astype(dtype)
    data = kd.data.pipeline(x, y, batch_size=4, shuffle=True, class_names=NAMES)
    assert data.y.dtype == ("uint8" if dtype == "uint8" else "int32") and data.ignore == 255
    images, masks = next(data.batches(3))
    assert masks.dtype == np.int32 and images.dtype == np.float32
    np.testing.assert_array_equal(masks, y[data.order(3)[:4]])
    assert kd.data.pipeline(x, np.arange(30)).ignore is None


def test_labels_of_other_meanings_are_left_as_they_are():
    x, _ = _examples(4)
    for y in (np.zeros((4, 2, 4)), np.zeros((4, 6, 8)), np.zeros((4, 5, 2), "uint8")):
        data = kd.data.pipeline(x, y)
        assert data.ignore is None and data.y.dtype in ("int32", "float32")
        assert next(iter(data))[1].shape == y.shape


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda y: y[:, :5], ValueError, r"masks as large as the images, \(6, 8\). Rec.*\(5, 8\)"),
        (lambda y: y.astype("float32"), TypeError, "whole class numbers. Received: float32"),
        (lambda y: y[..., None], ValueError, r"Remove the channel axis with masks\[..., 0\]"),
        (lambda y: np.eye(256)[y], ValueError, r"masks.argmax\(-1\)"),
        (
            lambda y: np.where(y == 1, 7, y),
            ValueError,
            "or 255 for pixels .* Received: 7, first",
        ),
        (lambda y: y.astype(int) - 1, ValueError, "Received: -1 in mask 0"),
        (lambda y: y[:5], ValueError, "one entry for each of the 30 images"),
    ],
)
def test_masks_that_are_refused(change, error, message):
    x, y = _examples()
    with pytest.raises(error, match=message):
        kd.data.pipeline(x, change(y), class_names=NAMES)


def test_weights_by_pixel_and_those_that_are_refused():
    x, y = _examples(4)
    weights = np.random.default_rng(0).random(y.shape)
    batch = next(iter(kd.data.pipeline(x, y, sample_weight=weights)))
    np.testing.assert_array_equal(batch[2], weights.astype("float32"))
    weights[2, 3, 4] = np.nan
    with pytest.raises(ValueError, match=r"or per pixel of the masks.*first wrong at \[2, 3, 4\]"):
        kd.data.pipeline(x, y, sample_weight=weights)
    with pytest.raises(ValueError, match="sample_weight must be one finite number"):
        kd.data.pipeline(x, y, sample_weight=weights[:, :2])
    with pytest.raises(ValueError, match="For masks, use a loss that has weights by class"):
        kd.data.pipeline(x, y, class_weight={0: 2})


@settings(max_examples=30)
@given(st.integers(0, 2**16), st.integers(2, 5))
def test_shares_are_those_of_the_pixels_with_a_label(seed, classes):
    rng = np.random.default_rng(seed)
    y = rng.choice([*range(classes), 255], (3, 5, 4)).astype("uint8")
    y[0, 0, 0] = 0
    known = y[y != 255]
    expected = [np.mean(known == number) for number in range(classes)]
    np.testing.assert_allclose(class_shares(y, classes), expected)
    data = kd.data.pipeline(y[..., None], y, class_names=[str(k) for k in range(classes)])
    np.testing.assert_allclose(class_shares(data), expected)


def test_shares_that_do_not_exist():
    with pytest.raises(ValueError, match="pixels with a label. Received: only 255"):
        class_shares(np.full((2, 3, 3), 255))
    with pytest.raises(ValueError, match="classes must be the number of classes, above 4"):
        class_shares(np.full((2, 3, 3), 4), 3)
    with pytest.raises(TypeError, match="whole class numbers. Received: float64"):
        class_shares(np.zeros((2, 3, 3)))


def test_parts_have_the_shares_of_the_whole():
    """A rare class that is in few images is spread over the parts by its pixels."""
    rng = np.random.default_rng(0)
    y = rng.choice([0, 1], (200, 8, 8), p=[0.8, 0.2]).astype("uint8")
    for number in range(24):
        y[number * 8, : 1 + number % 4, :5] = 2
    x = np.arange(200)
    (_, rest), (chosen, held) = kd.data.split(x, y, 0.25, seed=1)
    whole = np.bincount(y.ravel(), minlength=3)
    np.testing.assert_allclose(np.bincount(held.ravel()) / whole, 0.25, atol=0.02)
    np.testing.assert_array_equal(held, y[chosen])
    assert len(rest) + len(held) == 200
    grouped = kd.data.split(x, y, 0.25, groups=x // 4)
    assert not set(grouped[0][0] // 4) & set(grouped[1][0] // 4)
    y[y == 2] = 1
    y[5] = 4
    with pytest.raises(ValueError, match="Class 4 is in only one example"):
        kd.data.split(x, y, 0.25)


@pytest.mark.parametrize("form", ["arrays", "channel", "batches", "pipeline"])
def test_arrays_and_batches_as_a_data_set(form):
    x, y = _examples()
    given_data = {
        "arrays": (x, y),
        "channel": (x, y[..., None]),
        "batches": kd.data.pipeline(x, y, batch_size=7),
        "pipeline": kd.data.pipeline(x, y),
    }[form]
    data = kd.data.as_dataset(given_data, class_names=NAMES)
    assert data.ignore == 255 and data.train.examples == 24
    images = np.concatenate([part.x for part in (data.train, data.validation, data.test)])
    masks = np.concatenate([part.y for part in (data.train, data.validation, data.test)])
    np.testing.assert_array_equal(images[..., 0], masks)
    assert kd.data.as_dataset(given_data).class_names == ("0", "1", "2")
    with pytest.raises(ValueError, match="Each class must have images for training. Missing: car"):
        kd.data.as_dataset(given_data, class_names=(*NAMES, "car"))


def test_float_masks_are_no_data_set():
    x, y = _examples()
    with pytest.raises(ValueError, match="or masks of whole class numbers.*Received: float32"):
        kd.data.as_dataset((x, y.astype("float32")))


def test_summaries_count_images_and_find_contradicting_masks():
    x, y = _examples(8)
    y[:6] = np.where(y[:6] == 2, 0, y[:6])
    other = y[6:].copy()
    other[0, 3, 3] = (other[0, 3, 3] + 1) % 3
    data = kd.data.Dataset.from_parts("m", (x, y), (x[6:], other), (x[:1], y[:1]), NAMES)
    summary = kd.data.summarize(data)
    assert summary.class_counts["train"].tolist() == [8, 8, 2]
    assert len(summary.conflicts) == 1 and "a mask" in summary.conflicts[0]
