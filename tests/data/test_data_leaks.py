"""Copies between parts are found, near ones too, and nothing else is."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.fft import dctn

import keras_dlcourse as kd
from keras_dlcourse.data.leaks import _candidates, _details, _frequencies, _signs


@pytest.fixture(scope="module")
def clothes():
    return kd.data.load("fashion_mnist_small")


def _jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image[..., 0]).save(file, "jpeg", quality=60)
    return np.asarray(Image.open(file))[..., None]


def _larger(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image[..., 0]).resize((40, 52)))[..., None]


def _noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(int(image.sum())).normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype("uint8")


DISTORTIONS = {
    "jpeg": _jpeg,
    "larger": _larger,
    "noise": _noisy,
    "darker": lambda image: (image * 0.7).astype("uint8"),
    "brighter": lambda image: np.clip(image.astype(int) + 20, 0, 255).astype("uint8"),
}


@pytest.mark.parametrize("name", DISTORTIONS)
def test_distorted_copies_are_found_and_little_else(clothes, name):
    """Of 300 copies nearly all are found; each other image that is found is a look-alike."""
    train = clothes.train.x[:3000]
    copies = np.stack([DISTORTIONS[name](image) for image in train[:300]])
    leaks = kd.data.find_leaks(train, copies)
    assert not len(leaks.exact)
    is_copy = leaks.similar[:, 0] == leaks.similar[:, 1]
    assert is_copy.sum() >= 0.95 * 300
    assert (~is_copy).sum() < 10
    assert (leaks.distances <= 6).all()


def test_gray_images_of_one_kind_are_no_copies_because_they_look_alike(clothes):
    """All parts are of different clothes; in color, so much likeness means the same picture."""
    gray = clothes.train.x, clothes.test.x
    assert not kd.data.find_leaks(*gray)
    assert not kd.data.find_leaks(*(np.repeat(images, 3, axis=3) for images in gray))
    alike = kd.data.find_leaks(*gray, likeness=0.99).similar
    assert len(alike) > 20
    tinted = ((images * [1.0, 0.8, 0.6]).round().astype("uint8") for images in gray)
    assert len(kd.data.find_leaks(*tinted).similar) > 20
    digits = kd.data.load("digits")
    assert not kd.data.find_leaks(digits.train, digits.test)


def test_exact_copies_are_all_found_and_only_these(clothes):
    train, test = clothes.train.x[:500], clothes.test.x[:100].copy()
    train = np.concatenate([train, train[:1]])  # a copy within one part, too
    test[[3, 50]] = train[[0, 499]]
    leaks = kd.data.find_leaks(train, test)
    brute = [(i, j) for j in range(100) for i in range(501) if np.array_equal(train[i], test[j])]
    assert leaks.exact.tolist() == [list(pair) for pair in brute] == [[0, 3], [500, 3], [499, 50]]
    assert {3, 50} <= set(leaks.test_indices) and {0, 499, 500} <= set(leaks.train_indices)
    pairs = {tuple(pair) for pair in leaks.similar.tolist()}
    assert not pairs & set(brute)
    assert "Identical pairs (train, test): (0, 3), (500, 3), (499, 50)." in str(leaks)
    clean = np.delete(test, leaks.test_indices, axis=0)
    after = kd.data.find_leaks(train, clean)
    assert leaks and not after
    assert str(after).startswith(f"None of the {len(clean)} test images")


@settings(max_examples=20)
@given(
    known=st.integers(1, 40),
    asked=st.integers(1, 600),
    distance=st.integers(0, 40),
    seed=st.integers(0, 999),
)
def test_candidates_are_those_of_brute_force(known, asked, distance, seed):
    random = np.random.default_rng(seed)
    one, other = (random.random((n, 64)) < 0.5 for n in (known, asked))
    found = {}
    for indices, rows, apart in _candidates(
        np.where(one, 1, -1).astype("float32"), np.where(other, 1, -1).astype("float32"), distance
    ):
        found |= dict(zip(zip(indices, rows, strict=True), apart, strict=True))
    apart = (one[:, None] != other).sum(2)
    expected = {(i, j): apart[i, j] for i, j in np.argwhere(apart <= distance).tolist()}
    assert found == expected


def test_identical_numbers_are_found_in_any_type():
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype("uint8")
    images[0] = 0
    asked = images.astype("float64")
    asked[0] = -0.0
    asked[3] += 0.25
    asked[4] -= 256  # the same in 8 bits only
    exact = [[index, index] for index in (0, 1, 2, 5)]
    assert kd.data.find_leaks(images, asked).exact.tolist() == exact
    same = [[index, index] for index in range(6)]
    assert kd.data.find_leaks(asked, asked.astype("float32")).exact.tolist() == same


def test_frequencies_are_those_of_scipy():
    images = np.random.default_rng(0).uniform(0, 255, (3, 24, 33, 3)).astype("float32")
    expected = dctn(images.mean(3), axes=(1, 2))[:, :16, :16] / 4
    np.testing.assert_allclose(_frequencies(images), expected, rtol=1e-3, atol=0.1)
    low = expected[:, :8, :8].reshape(3, -1)
    above = low > np.median(low[:, 1:], axis=1, keepdims=True)
    np.testing.assert_array_equal(_signs(_frequencies(images)) > 0, above)


def test_flat_images_are_like_their_exact_copies_only():
    flat = np.full((3, 20, 20, 3), [[[[0]]], [[[90]]], [[[200]]]], "uint8")
    leaks = kd.data.find_leaks(flat, flat[::-1])
    assert leaks.exact.tolist() == [[2, 0], [1, 1], [0, 2]]
    assert not len(leaks.similar)
    assert not _details(_frequencies(flat.astype("float32"))).any()


def test_files_parts_batches_and_floats_are_taken(tmp_path, clothes):
    images = clothes.train.x[:40]
    paths = [tmp_path / f"{k}.png" for k in range(40)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image[..., 0]).save(path)
    files = kd.data.ImageFiles(paths[:20], (28, 28), channels=1)
    test = images[15:40]
    expected = [[15 + k, k] for k in range(5)]
    part = kd.data.pipeline(images[:20], np.zeros(20), normalization=clothes.normalization)
    batches = [(images[:7], np.zeros(7)), (images[7:20], np.zeros(13))]
    for train in (files, part, batches, images[:20].astype("float64")):
        assert kd.data.find_leaks(train, test).exact.tolist() == expected


@pytest.mark.release
def test_sixty_thousand_with_ten_thousand_take_a_minute_at_most(clothes):
    train = np.concatenate([np.roll(clothes.train.x, (0, k), (1, 2)) for k in range(0, 24, 4)])
    begun = time.perf_counter()
    leaks = kd.data.find_leaks(train, clothes.train.x[::-1])
    assert time.perf_counter() - begun < 60
    assert len(leaks.exact) >= 10_000


def test_errors():
    images = np.zeros((4, 8, 8, 1), "uint8")
    with pytest.raises(ValueError, match="distance must be an integer of at least 0. Received: -1"):
        kd.data.find_leaks(images, images, distance=-1)
    with pytest.raises(TypeError, match="distance must be an integer of at least 0. Received: 0.5"):
        kd.data.find_leaks(images, images, distance=0.5)
    with pytest.raises(ValueError, match="likeness must be a number from -1 to 1. Received: 2"):
        kd.data.find_leaks(images, images, likeness=2)
    with pytest.raises(ValueError, match=r"test must contain images .* Received: shape \(4, 8\)"):
        kd.data.find_leaks(images, images[:, :, 0, 0])
    with pytest.raises(TypeError, match="data must be a pipeline, an array"):
        kd.data.find_leaks("train", images)
    many = np.zeros((1001, 8, 8, 1), "uint8")
    with pytest.raises(ValueError, match="have more than 1,000,000 pairs"):
        kd.data.find_leaks(many, many)
