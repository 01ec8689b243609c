import inspect

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dlcourse as kd
from keras_dlcourse.data.stream import stream_with_labels

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 6, 5, 3)).astype("uint8")
LABELS = np.arange(10) % 4


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    epoch=st.integers(0, 2**40),
    seed=st.integers(0, 2**40),
    shuffle=st.booleans(),
)
def test_every_epoch_has_each_example_once_with_its_label(n, batch_size, epoch, seed, shuffle):
    x = np.arange(n, dtype="uint8").reshape(n, 1, 1, 1)
    pipeline = kd.data.pipeline(
        x, np.arange(n), batch_size=batch_size, shuffle=shuffle, seed=seed, sample_weight=range(n)
    )
    batches = list(pipeline.batches(epoch))
    assert len(batches) == len(pipeline)
    assert [len(labels) for _, labels, _ in batches[:-1]] == [batch_size] * (len(batches) - 1)
    for images, labels, weights in batches:
        np.testing.assert_array_equal(images[:, 0, 0, 0], labels)
        np.testing.assert_array_equal(weights, labels)
    seen = np.concatenate([labels for _, labels, _ in batches])
    expected = np.random.default_rng((seed, epoch)).permutation(n) if shuffle else np.arange(n)
    np.testing.assert_array_equal(seen, expected)
    np.testing.assert_array_equal(pipeline.order(epoch), expected)


def test_iteration_indexing_and_batches_are_the_next_epoch_and_change_nothing():
    pipeline = kd.data.pipeline(IMAGES, LABELS, batch_size=4, shuffle=True, seed=1)
    pipeline.epoch = 6
    expected = LABELS[np.random.default_rng((1, 6)).permutation(10)]
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate([y for _, y in pipeline]), expected)
        np.testing.assert_array_equal(
            np.concatenate([pipeline[i][1] for i in range(len(pipeline))]), expected
        )
    np.testing.assert_array_equal(pipeline[-1][1], expected[8:])
    with pytest.raises(IndexError):
        pipeline[3]
    assert pipeline.epoch == 6


def test_batches_are_normalised_float32_and_int32():
    normalization = kd.data.Normalization((10.0, 20.0, 30.0), (2.0, 4.0, 5.0))
    x, y = kd.data.pipeline(IMAGES, LABELS.astype("uint8"), normalization=normalization)[0]
    expected = (IMAGES.astype("float64") - [10, 20, 30]) / [2, 4, 5]
    np.testing.assert_allclose(x, expected, rtol=1e-6)
    assert (x.dtype, y.dtype) == ("float32", "int32")
    assert kd.data.pipeline(IMAGES.astype("float64"))[0][0].dtype == "float32"


def test_without_labels_a_batch_is_the_input_alone():
    batch = kd.data.pipeline(IMAGES)[0]
    assert isinstance(batch, tuple)
    assert len(batch) == 1


def test_one_hot_labels_stay_one_hot():
    one_hot = np.eye(4)[LABELS]
    pipeline = kd.data.pipeline(IMAGES, one_hot, class_names=list("abcd"), class_weight={1: 3.0})
    np.testing.assert_array_equal(pipeline[0][1], one_hot)
    assert pipeline[0][1].dtype == "float32"
    np.testing.assert_array_equal(pipeline[0][2], np.where(LABELS == 1, 3, 1))


def test_labels_of_several_tasks_go_together():
    """In batches, in what is taken out and in streams; some may be missing."""
    y = {"label": np.array([0, -1, 2, 1, 0]), "box": np.arange(20.0).reshape(5, 4)}
    y["box"][3] = np.nan
    images = np.arange(5, dtype="uint8").reshape(5, 1, 1, 1)
    train = kd.data.pipeline(images, y, batch_size=2, shuffle=True, seed=4, class_names=["a", "b"])
    for (x, labels), rows in zip(train, np.split(train.order(), [2, 4]), strict=True):
        np.testing.assert_array_equal(x.ravel(), rows)
        np.testing.assert_array_equal(labels["label"], y["label"][rows])
        np.testing.assert_array_equal(labels["box"], y["box"][rows])
        assert labels["label"].dtype == np.int32 and labels["box"].dtype == np.float32
    taken = kd.data.take(train, 3, seed=1)
    np.testing.assert_array_equal(
        taken.labels["label"], y["label"][taken.inputs.ravel().astype(int)]
    )
    streamed = [part["label"] for _, _, part in stream_with_labels(train, 2)]
    np.testing.assert_array_equal(np.concatenate(streamed), y["label"])


def test_a_model_of_several_outputs_trains_from_them():
    y = {"label": np.arange(8) % 2, "box": np.ones((8, 4))}
    train = kd.data.pipeline(np.zeros((8, 4, 4, 1), "uint8"), y, batch_size=4, shuffle=True)
    inputs = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(inputs)
    heads = {"label": keras.layers.Dense(2, "softmax")(flat), "box": keras.layers.Dense(4)(flat)}
    tasks = {"label": "sparse_categorical_crossentropy", "box": "mse"}
    trainer = kd.models.MultitaskModel(
        keras.Model(inputs, heads), kd.losses.MultitaskLoss(tasks, 0.5)
    )
    trainer.compile("sgd")
    history = trainer.fit(train, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]


def test_sample_and_class_weights_multiply():
    pipeline = kd.data.pipeline(
        IMAGES, LABELS, sample_weight=np.arange(10.0), class_weight={0: 0.5, 3: 2}
    )
    expected = np.arange(10) * np.array([0.5, 1, 1, 2])[LABELS]
    np.testing.assert_allclose(pipeline.sample_weight, expected)


def test_attributes_and_repr():
    pipeline = kd.data.pipeline(IMAGES, LABELS, class_names=list("abcd"), seed=2, shuffle=True)
    assert isinstance(pipeline, keras.utils.PyDataset)
    assert pipeline.image_shape == (6, 5, 3)
    assert pipeline.class_names == tuple("abcd")
    assert (pipeline.examples, len(pipeline), pipeline.num_batches) == (10, 1, 1)
    assert repr(pipeline) == "<Pipeline: 10 images of 6x5x3, 4 classes, shuffled with seed 2>"


def test_state_goes_to_another_pipeline_of_the_same_data():
    one = kd.data.pipeline(IMAGES, LABELS, shuffle=True, seed=1)
    one.epoch = 4
    other = kd.data.pipeline(IMAGES, LABELS, shuffle=True, seed=8)
    other.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(other.order(), np.random.default_rng((1, 4)).permutation(10))
    with pytest.raises(ValueError, match=r"10 examples, but this one has 5"):
        kd.data.pipeline(IMAGES[:5]).load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match=r"Received: epoch"):
        other.load_state_dict({"epoch": 1})
    with pytest.raises(ValueError, match=r"epoch must be an integer of at least 0. Received: -1"):
        other.load_state_dict(one.state_dict() | {"epoch": -1})


FLOATS = IMAGES.astype("float32")
WITH_NAN = FLOATS.copy()
WITH_NAN[[3, 7], 2, 1, 0] = np.nan, np.inf
ERRORS = [
    ({"x": IMAGES[..., 0]}, ValueError, r"Received: shape \(10, 6, 5\).*x\[..., None\]"),
    ({"x": IMAGES[0, 0]}, ValueError, r"Received: shape \(5, 3\)$"),
    ({"x": IMAGES.astype("int64")}, TypeError, r"uint8 or float images. Received: int64"),
    ({"x": IMAGES > 3}, TypeError, r"Received: bool"),
    (
        {"x": [IMAGES[0], IMAGES[1, 1:]], "y": [0, 1]},
        ValueError,
        r"one size. Received: 2 sizes, \(5, 5, 3\), \(6, 5, 3\)\. Resize them",
    ),
    ({"drop_remainder": True, "batch_size": 11}, ValueError, r"11 images or more.*Received: 10"),
    (
        {"x": IMAGES[:0], "y": LABELS[:0]},
        ValueError,
        r"at least one image. Received: shape \(0, 6, 5, 3\)",
    ),
    ({"x": WITH_NAN}, ValueError, r"in 2 of 10 images, first in image 3"),
    ({"y": LABELS[:9]}, ValueError, r"y must have one entry for each of the 10 .* \(9,\)"),
    ({"y": 3}, ValueError, r"y must have one entry"),
    ({"y": list("abcdefghij")}, TypeError, r"y must be numeric. Received: <U1.*return_inverse"),
    ({"y": np.full(10, np.nan)}, ValueError, r"y has NaN"),
    ({"class_names": list("abc")}, ValueError, r"0\.\.2.*2 other values, first 3 at index 3"),
    ({"y": LABELS - 1, "class_names": list("abcd")}, ValueError, r"first -1 at index 0"),
    ({"y": LABELS + 0.5, "class_names": list("abcdef")}, ValueError, r"first 0.5 at index 0"),
    ({"y": np.eye(10), "class_names": ["a", "b"]}, ValueError, r"one-hot with 10 .* has 2 names"),
    ({"class_names": "abcd"}, TypeError, r"sequence of strings. Received: 'abcd'"),
    ({"class_names": [0, 1, 2, 3]}, TypeError, r"sequence of strings"),
    ({"class_names": 4}, TypeError, r"sequence of strings. Received: 4"),
    ({"class_names": []}, ValueError, r"must have at least one name.*Received: \[\]"),
    ({"class_names": ["a", "b", "a", "c"]}, ValueError, r"more than once: a$"),
    ({"batch_size": 0}, ValueError, r"batch_size must be an integer of at least 1. Received: 0"),
    ({"batch_size": 2.5}, TypeError, r"batch_size must be an integer of at least .*Received: 2.5"),
    (
        {"batch_size": True},
        TypeError,
        r"batch_size must be an integer of at least .*Received: True",
    ),
    ({"seed": -1}, ValueError, r"seed must be an integer of at least 0"),
    ({"normalization": (0, 1)}, TypeError, r"Normalization or None. Received: \(0, 1\)"),
    (
        {"normalization": kd.data.Normalization((1.0, 2.0), (1.0, 1.0))},
        ValueError,
        r"2 means, but the images have 3 channels",
    ),
    ({"sample_weight": np.ones((10, 2))}, ValueError, r"one finite number .* shape \(10, 2\)"),
    ({"sample_weight": -np.ones(10)}, ValueError, r"values from -1.0 to -1.0"),
    ({"sample_weight": [1.0]}, ValueError, r"sample_weight must have one entry for each"),
    ({"class_weight": {9: 1.0}}, ValueError, r"class 9, which is not among .*\[0, 1, 2, 3\]"),
    ({"class_weight": {0: np.nan}}, ValueError, r"0 or more. Received: nan for class 0"),
    ({"y": None, "class_weight": {0: 1.0}}, ValueError, r"class_weight needs labels"),
    ({"y": {"a": LABELS}, "class_weight": {0: 1.0}}, ValueError, r"labels of one task"),
    ({"y": {"a": LABELS, "b": LABELS[1:]}}, ValueError, r"y\['b'\] must have one entry"),
    ({"y": {"a": list("abcdefghij")}}, TypeError, r"y\['a'\] must be numeric"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), ERRORS, ids=[e[2] for e in ERRORS])
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        kd.data.pipeline(**({"x": IMAGES, "y": LABELS} | arguments))


def test_nan_is_found_beyond_the_first_chunk(monkeypatch):
    monkeypatch.setattr("keras_dlcourse.data.checks._CHUNK", 2 * FLOATS[0].size)
    with pytest.raises(ValueError, match=r"in 2 of 10 images, first in image 3"):
        kd.data.pipeline(WITH_NAN)


def test_epoch_must_be_a_whole_number():
    pipeline = kd.data.pipeline(IMAGES)
    with pytest.raises(ValueError, match=r"epoch must be an integer of at least 0"):
        pipeline.epoch = -1
    with pytest.raises(TypeError, match=r"epoch must be an integer"):
        pipeline.order(1.5) if pipeline.shuffle else setattr(pipeline, "epoch", 1.5)


def test_function_and_class_take_the_same_arguments():
    function = inspect.signature(kd.data.pipeline).parameters
    init = inspect.signature(kd.data.Pipeline).parameters
    assert list(function.values()) == list(init.values())


def test_every_public_name_is_there():
    for name in kd.data.__all__:
        assert getattr(kd.data, name).__doc__, name
