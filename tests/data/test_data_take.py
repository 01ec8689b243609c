import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dlcourse as kd

N = 23
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 4, 5, 1)).astype("uint8")
LABELS = np.arange(N) % 3


class Batches(keras.utils.PyDataset):
    def __init__(self, size):
        super().__init__()
        self.size = size
        self.asked = []

    def __len__(self):
        return -(-N // self.size)

    def __getitem__(self, index):
        self.asked.append(index)
        here = slice(index * self.size, (index + 1) * self.size)
        return PIXELS[here], LABELS[here], np.ones(len(LABELS[here]))


def as_batches(size):
    return [(PIXELS[i : i + size], LABELS[i : i + size]) for i in range(0, N, size)]


SOURCES = {
    "arrays": lambda size: (PIXELS, LABELS),
    "weighted": lambda size: (PIXELS, LABELS, np.ones(N)),
    "pipeline": lambda size: kd.data.pipeline(PIXELS, LABELS, batch_size=size, shuffle=True),
    "py_dataset": Batches,
    "tf.data": lambda size: tf.data.Dataset.from_tensor_slices((PIXELS, LABELS)).batch(size),
    "list": as_batches,
    "generator": lambda size: iter(as_batches(size)),
    "tensors": lambda size: (tf.constant(PIXELS), keras.ops.convert_to_tensor(LABELS)),
}


@pytest.mark.parametrize("kind", SOURCES)
@settings(deadline=None, max_examples=12)
@given(
    size=st.integers(1, 30),
    n=st.none() | st.integers(1, 30),
    seed=st.none() | st.integers(0, 9),
)
def test_the_same_examples_come_out_of_everything(kind, size, n, seed):
    got = kd.data.take(SOURCES[kind](size), n, seed)
    if seed is None:
        expected = np.arange(N)[:n]
    else:
        expected = np.sort(np.argsort(np.random.default_rng(seed).random(N))[:n])
    np.testing.assert_array_equal(got.labels, LABELS[expected])
    np.testing.assert_array_equal(got.pixels, PIXELS[expected], strict=True)
    np.testing.assert_array_equal(got.inputs, PIXELS[expected].astype("float32"), strict=True)
    assert len(got) == len(expected)


def test_a_pipeline_says_more():
    normalization = kd.data.Normalization.fit(PIXELS)
    pipeline = kd.data.pipeline(
        PIXELS, LABELS, normalization=normalization, class_names=list("abc")
    )
    got = kd.data.take(pipeline, 5)
    np.testing.assert_allclose(
        got.inputs, (PIXELS[:5].astype(float) - normalization.mean) / normalization.std, rtol=1e-5
    )
    assert got.normalization is normalization
    assert got.class_names == tuple("abc")
    np.testing.assert_array_equal(got.pixels, PIXELS[:5])


def test_float_inputs_have_no_pixels_and_one_hot_labels_stay():
    one_hot = np.eye(3)[LABELS]
    got = kd.data.take((PIXELS / 255.0, one_hot), 4)
    assert got.pixels is None
    assert got.inputs.dtype == "float32"
    np.testing.assert_array_equal(got.labels, one_hot[:4])
    assert kd.data.take(PIXELS).labels is None
    assert kd.data.take(kd.data.pipeline(PIXELS / 255.0)).pixels is None
    assert kd.data.take(tf.data.Dataset.from_tensor_slices(PIXELS).batch(4), 5).labels is None


def test_no_more_is_read_than_needed():
    data = Batches(4)
    kd.data.take(data, 8)
    assert data.asked == [0, 1]

    def endless():
        while True:
            yield PIXELS[:4], LABELS[:4]

    assert len(kd.data.take(endless(), 10)) == 10


def test_choices_differ_by_seed():
    choices = {tuple(kd.data.take((PIXELS, np.arange(N)), 5, seed).labels) for seed in range(6)}
    assert len(choices) > 4


class Endless(keras.utils.PyDataset):
    @property
    def num_batches(self):
        return None


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (3, TypeError, "got int. Of a Dataset, give one part"),
        ("train", TypeError, "got str"),
        ({"x": PIXELS}, TypeError, "got dict"),
        ([], ValueError, "no examples"),
        ((PIXELS[:0], LABELS[:0]), ValueError, "no examples"),
        ((PIXELS, LABELS[:5]), ValueError, r"23 inputs but \[5\] labels"),
        ([{"x": PIXELS}], TypeError, "a batch must be an array or a tuple .* got dict"),
        (tf.data.Dataset.from_tensor_slices(LABELS), ValueError, r"dataset.batch\(32\)"),
        (Endless(), ValueError, "endless PyDataset"),
    ],
)
def test_what_cannot_be_taken_from(data, error, message):
    with pytest.raises(error, match=message):
        kd.data.take(data)


def test_a_whole_data_set_and_a_bad_number():
    with pytest.raises(TypeError, match=r"got Dataset\. Of a Dataset, give one part"):
        kd.data.take(kd.data.load("digits"))
    with pytest.raises(ValueError, match="n must be 1 or more, got 0"):
        kd.data.take(PIXELS, 0)
    with pytest.raises(TypeError, match="n must be a whole number"):
        kd.data.take(PIXELS, 2.5)
