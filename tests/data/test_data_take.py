import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dlcourse as kd
from keras_dlcourse.data import examples
from keras_dlcourse.data.stream import stream, stream_with_labels

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

    def __getitem__(self, index):
        return as_batches(4)[index % 6]


def for_ever():
    while True:
        yield from as_batches(4)


ENDLESS = {
    "tf.data": lambda: tf.data.Dataset.from_tensor_slices((PIXELS, LABELS)).batch(4).repeat(),
    "py_dataset": Endless,
    "generator": for_ever,
    "generated tf.data": lambda: tf.data.Dataset.from_generator(
        for_ever,
        output_signature=(
            tf.TensorSpec((None, 4, 5, 1), tf.uint8),
            tf.TensorSpec((None,), tf.int64),
        ),
    ),
}


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("seed", [None, 3])
def test_of_endless_data_the_first_are_taken(kind, seed, monkeypatch):
    monkeypatch.setattr(examples, "CHOICE_LIMIT", 100)
    got = kd.data.take(ENDLESS[kind](), 10, seed)
    np.testing.assert_array_equal(got.pixels, PIXELS[:10])
    np.testing.assert_array_equal(got.labels, LABELS[:10])


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("whole", [kd.data.take, lambda data: list(stream(data))])
def test_all_of_endless_data_is_an_error(kind, whole, monkeypatch):
    monkeypatch.setattr(examples, "WHOLE_LIMIT", 200)
    said = "data is endless|has unknown length and has not ended after 20[0-3] examples"
    with pytest.raises(ValueError, match=said):
        whole(ENDLESS[kind]())


def test_a_generator_within_the_limit_is_read_to_its_end(monkeypatch):
    monkeypatch.setattr(examples, "WHOLE_LIMIT", N)
    assert len(kd.data.take(iter(as_batches(4)))) == N


class Named(Batches):
    """Batches of dictionaries, as a model with named inputs takes them."""

    def __getitem__(self, index):
        x, y, _ = super().__getitem__(index)
        return {"image": x}, {"kind": y, "size": y * 2.0}


def test_a_dictionary_of_one_input_and_labels_of_several_tasks():
    got = kd.data.take(Named(4), 9, seed=1)
    expected = kd.data.take((PIXELS, LABELS), 9, seed=1)
    np.testing.assert_array_equal(got.pixels, expected.pixels)
    np.testing.assert_array_equal(got.labels["kind"], expected.labels)
    np.testing.assert_array_equal(got.labels["size"], expected.labels * 2.0)
    batches = list(stream_with_labels(Named(4), 3))
    np.testing.assert_array_equal(np.concatenate([x for x, _, _ in batches]), PIXELS)
    np.testing.assert_array_equal(np.concatenate([y["kind"] for _, _, y in batches]), LABELS)


def test_several_inputs_where_they_are_allowed():
    meta = np.arange(N)[:, None] / 2
    for data in (([PIXELS, meta], LABELS), iter([((PIXELS, meta), LABELS)])):
        got = kd.data.take(data, 5, seed=0, several_inputs=True)
        np.testing.assert_array_equal(got.inputs[1][:, 0] * 2 % 3, got.labels)
        assert len(got) == 5 and got.inputs[0].shape == (5, 4, 5, 1)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (3, TypeError, "Received: int. Instead of a kd.data.Dataset, pass one of its parts"),
        ("train", TypeError, "Received: str"),
        ({"x": PIXELS}, TypeError, "Received: dict"),
        ([], ValueError, "no examples"),
        ((PIXELS[:0], LABELS[:0]), ValueError, "no examples"),
        ((PIXELS, LABELS[:5]), ValueError, r"Received: 23 and \[5\]"),
        ([{"x": "a"}], TypeError, "A batch must be an array, or a tuple .* Received: dict"),
        ([{"x": PIXELS, "y": PIXELS}], TypeError, r"2 inputs, x\['x'\], x\['y'\]\. .* dataset.map"),
        (([PIXELS, PIXELS], LABELS), TypeError, r"one input. Received: 2 inputs, x\[0\], x\[1\]"),
        (tf.data.Dataset.from_tensor_slices(LABELS), ValueError, r"dataset.batch\(32\)"),
        (tf.data.Dataset.from_tensor_slices((PIXELS, LABELS)), ValueError, r"dataset.batch\(32\)"),
        (Endless(), ValueError, "endless .Endless., and all of it is needed here"),
        (tf.data.Dataset.from_tensors(PIXELS).repeat(), ValueError, "omit .repeat.."),
    ],
)
def test_what_cannot_be_taken_from(data, error, message):
    with pytest.raises(error, match=message):
        kd.data.take(data)


def test_a_whole_data_set_and_a_bad_number():
    with pytest.raises(
        TypeError, match=r"Received: Dataset\. Instead of a kd.data.Dataset, pass one of its parts"
    ):
        kd.data.take(kd.data.load("digits"))
    with pytest.raises(ValueError, match="limit must be an integer of at least 1. Received: 0"):
        kd.data.take(PIXELS, 0)
    with pytest.raises(TypeError, match="limit must be an integer"):
        kd.data.take(PIXELS, 2.5)
