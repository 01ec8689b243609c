from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_edge_classifier import by_hand
from tflite_files import MEAN, STD, Network, describe

from keras_dlcourse.edge import ImageClassifier, ImageEmbedder, InvalidImage, InvalidModel


def stretched(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image).resize((50, 31), Image.Resampling.NEAREST)


@pytest.mark.parametrize("io_type", ["float32", "uint8", "int8"])
def test_vectors_are_the_bare_interpreters(embedder_file, embedding, io_type):
    images = embedding.images(20, seed=5)
    embedder = ImageEmbedder(embedder_file(io_type))
    vectors, expected = embedder.embed_many(images), by_hand(embedder_file(io_type), images)
    assert vectors.dtype == np.float32
    assert vectors.shape == (20, embedder.dimensions) == (20, 5)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    if io_type == "float32":
        np.testing.assert_allclose(vectors, embedding.scores(images), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=0.01)
    assert np.linalg.svd(expected - expected.mean(0))[1][1] > 1, "the images are not told apart"
    for image, vector in zip(images, vectors, strict=True):
        one = embedder.embed(image)
        assert one.shape == (5,)
        np.testing.assert_allclose(one, vector, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 4, None])
def test_batches(embedder_file, embedding, batch):
    images = embedding.images(37, seed=2)
    embedder = ImageEmbedder(embedder_file(batch=batch))
    for count in (37, 1, 4, 5):
        vectors = embedder.embed_many(images[:count])
        np.testing.assert_allclose(vectors, embedding.scores(images[:count]), atol=1e-5)
    assert embedder.embed(images[0]).shape == (5,)
    assert embedder.embed_many([]).shape == (0, 5)


def test_sources_and_sizes(embedder_file, embedding, tmp_path):
    image = stretched(embedding.images(1)[0])
    image.save(tmp_path / "a.png")
    content = embedder_file()
    small = np.array(image.resize((10, 12), Image.Resampling.BILINEAR))
    expected = ImageEmbedder(content).embed(small)
    sources = [tmp_path / "a.png", (tmp_path / "a.png").read_bytes(), image, np.array(image)]
    vectors = ImageEmbedder(content).embed_many(sources)
    np.testing.assert_array_equal(vectors, np.repeat(expected[None], 4, axis=0))
    assert not np.allclose(ImageEmbedder(content, crop=True).embed(image), expected)


def test_pixels_are_those_of_the_classifier(described):
    """One mechanism: any classifier's scores are also what it embeds."""
    images = Network().images(6, seed=3)
    for io_type in ("float32", "uint8"):
        content = described(io_type)
        scores = ImageClassifier(content).scores(images)
        np.testing.assert_array_equal(ImageEmbedder(content).embed_many(images), scores)


def test_files_without_metadata(plain, embedding):
    content, images = plain(head="unit"), embedding.images(3)
    with pytest.raises(ValueError, match="float32.*Pass mean= and std="):
        ImageEmbedder(content)
    vectors = ImageEmbedder(content, mean=MEAN, std=STD).embed_many(images)
    np.testing.assert_allclose(vectors, embedding.scores(images), atol=1e-5)


def test_l2_normalize(described):
    images = Network().images(5)
    plain, unit = (ImageEmbedder(described(), l2_normalize=value) for value in (False, True))
    vectors = plain.embed_many(images)
    expected = vectors / np.sqrt((vectors.astype("float64") ** 2).sum(1))[:, None]
    np.testing.assert_allclose(unit.embed_many(images), expected, rtol=1e-6)
    np.testing.assert_allclose(unit.embed(images[0]), expected[0], rtol=1e-6)
    assert np.abs(vectors - expected).max() > 0.01


def test_settings_are_what_decides_on_the_vectors(embedder_file):
    content = embedder_file()
    normalization = {"mean": [MEAN], "std": [STD]}
    expected = {"normalization": normalization, "crop": False, "bits": None, "l2_normalize": False}
    assert ImageEmbedder(content).settings == expected
    assert ImageEmbedder(content, threads=2).settings == expected
    changes = [{"crop": True}, {"bits": 12}, {"l2_normalize": True}, {"mean": 1.0, "std": 2.0}]
    for change in changes:
        assert ImageEmbedder(content, **change).settings != expected


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6),
    st.integers(0, 2**32 - 1),
)
def test_cosine_similarity(values, seed):
    u = np.array(values, "float32")
    v = np.random.default_rng(seed).normal(size=len(u)).astype("float32")
    if np.linalg.norm(u.astype("float64")) < 1e-3:
        return
    angle = ImageEmbedder.cosine_similarity(u, v)
    products = sum(float(a) * float(b) for a, b in zip(u, v, strict=True))
    lengths = [sum(float(a) ** 2 for a in w) ** 0.5 for w in (u, v)]
    assert angle == pytest.approx(products / (lengths[0] * lengths[1]), abs=1e-6)
    assert ImageEmbedder.cosine_similarity(u, u) == pytest.approx(1)
    assert ImageEmbedder.cosine_similarity(u, -u) == pytest.approx(-1)


def test_cosine_similarity_of_what_has_none():
    with pytest.raises(ValueError, match=r"the same length. Received: shapes \(2,\) and \(3,\)"):
        ImageEmbedder.cosine_similarity(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="must not be zero vectors"):
        ImageEmbedder.cosine_similarity(np.ones(2), np.zeros(2))


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((12, 10, 3)), TypeError, "uint8 pixels from 0 to 255. Received: float64"),
        (np.zeros((12, 10, 2), "uint8"), ValueError, r"Received: \(12, 10, 2\)"),
        (b"no image", InvalidImage, "8 bytes is not an image"),
        ("gone.png", FileNotFoundError, "gone.png"),
        (3, TypeError, "Received: int"),
    ],
)
def test_bad_images(embedder_file, image, error, message):
    with pytest.raises(error, match=message):
        ImageEmbedder(embedder_file()).embed(image)


def test_l2_normalize_is_a_flag(embedder_file):
    with pytest.raises(TypeError, match="l2_normalize must be True or False. Received: 'no'"):
        ImageEmbedder(embedder_file(), l2_normalize="no")


def test_bad_batches(embedder_file, embedding):
    embedder = ImageEmbedder(embedder_file())
    with pytest.raises(ValueError, match="Pass a single image to embed, or in a list"):
        embedder.embed_many(embedding.images(1)[0])
    with pytest.raises(TypeError, match="Pass a single image to embed"):
        embedder.embed_many("a.png")


def test_not_an_embedder(plain):
    import tensorflow as tf

    def convert(shape, call):
        function = tf.function(call, input_signature=[tf.TensorSpec(shape)])
        concrete = [function.get_concrete_function()]
        return tf.lite.TFLiteConverter.from_concrete_functions(concrete).convert()

    with pytest.raises(ValueError, match=r"an image embedder must have one input.*\(1, 7\)"):
        ImageEmbedder(convert((1, 7), lambda x: x * 2), mean=0, std=1)
    with pytest.raises(
        ValueError, match=r"an image embedder must return one vector.*\(1, 4, 4, 3\)"
    ):
        ImageEmbedder(convert((1, 4, 4, 3), lambda x: x * 2), mean=0, std=1)
    with pytest.raises(ValueError, match="mean and std must be passed together"):
        ImageEmbedder(plain(head="unit"), mean=0)
    with pytest.raises(InvalidModel, match="damaged"):
        ImageEmbedder(describe(plain(head="unit"))[:-10])


def test_several_threads_at_once(embedder_file, embedding):
    images = embedding.images(40, seed=8)
    embedder = ImageEmbedder(embedder_file(batch=None))
    expected, wrong = embedder.embed_many(images), []

    def work(start):
        for index in range(start, 40, 4):
            vectors = embedder.embed_many(images[index : index + 1 + index % 3])
            if not np.allclose(vectors, expected[index : index + 1 + index % 3], atol=1e-6):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
