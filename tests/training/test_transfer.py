"""Transfer learning: what is trained and what is not, the cache, preprocessing, files, errors."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest

import keras_dlcourse as kd
from keras_dlcourse.training.transfer.base import feature_model, preprocessing_of, remove_head
from keras_dlcourse.training.transfer.cache import cache_features, key

L = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 16, 16, 3)).astype("uint8")
LABELS = np.arange(40) % 2
IMAGES[LABELS == 1, :, :8] //= 4
PIXELS = kd.data.Normalization((120.0, 110.0, 100.0), (60.0, 50.0, 40.0))
FAST = {"epochs": (4, 2), "verbose": 0, "batch_size": 8}


def small(classes=3, pixels=PIXELS, seed=1):
    """A network with a block, batch normalization, dropout and a head, its weights at random."""
    inputs = keras.Input((16, 16, 3))
    x = kd.layers.ImageDescription(pixels, ["x", "y", "z"])(inputs)
    x = L.Conv2D(6, 3, strides=2, padding="same", name="stem")(x)
    x = L.BatchNormalization(name="stem_bn")(x)
    y = L.Conv2D(6, 3, padding="same", name="inside")(L.ReLU()(x))
    y = L.Dropout(0.5)(L.BatchNormalization(name="inside_bn")(y))
    x = L.ReLU()(L.Add()([x, y]))
    x = L.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, L.Dense(classes, "softmax", name="old")(x))
    shaken(model, seed)
    return model


def shaken(model, seed=1):
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed" not in weight.path:
            weight.assign(generator.uniform(0.2, 1, weight.shape) * _signs(weight, generator))


def _signs(weight, generator):
    kept = any(part in weight.path for part in ("variance", "gamma"))
    return 1 if kept else generator.choice([-0.5, 0.5], weight.shape)


def pipeline(**changes):
    given = {"normalization": kd.data.Normalization(90, 45), "shuffle": True, "seed": 3}
    return kd.data.pipeline(IMAGES, LABELS, batch_size=8, **{**given, **changes})


def weights(model):
    return {
        one.path.rpartition("features/")[2]: keras.ops.convert_to_numpy(one)
        for one in model.weights
        if "seed" not in one.path
    }


@pytest.fixture(scope="module")
def base():
    return small()


@pytest.fixture(scope="module")
def both(base, tmp_path_factory):
    """The same transfer without a cache and with one, and the folder of the cache."""
    folder = tmp_path_factory.mktemp("cache")
    before = base.get_weights()
    settings = {**FAST, "learning_rates": (0.05, 0.01)}
    found = [
        kd.training.transfer(base, ["a", "b"], pipeline(), pipeline(), cache=cache, **settings)
        for cache in (None, folder)
    ]
    for one, other in zip(before, base.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)  # the base is as it was
    return *found, folder


def test_the_same_with_a_cache_and_without(both):
    plain, cached, folder = both
    assert cached.cached and not plain.cached and len(list(folder.glob("*.npy"))) == 1
    for name, value in weights(plain.model).items():
        np.testing.assert_allclose(weights(cached.model)[name], value, atol=2e-4, err_msg=name)
    for history in ("head_history", "fine_history"):
        for name, values in getattr(plain, history).items():
            np.testing.assert_allclose(getattr(cached, history)[name], values, atol=2e-3)
    assert len(plain.head_history["loss"]) == 4 and len(plain.fine_history["val_loss"]) == 2
    assert plain.head_history["val_accuracy"][-1] > 0.9  # learnt


def test_what_is_trained_and_what_is_not(both, base):
    found = both[0]
    before, after = weights(base), weights(found.model)
    assert (found.trained, found.frozen) == (("inside",), ("stem",))
    for layer in ("stem", "stem_bn", "inside_bn"):
        kept = [name for name in before if name.split("/")[-2] == layer]
        assert kept
        for name in kept:
            np.testing.assert_array_equal(_ending(after, name), before[name])
    for name in ("inside/kernel", "inside/bias"):
        assert np.abs(_ending(after, name) - before[name]).max() > 1e-4
    assert str(found).splitlines()[0].startswith("head: 4 epochs in ")
    assert "the last block, from inside on, 1 of 2 layers: 2 epochs" in str(found)


def _ending(values, name):
    (found,) = [value for path, value in values.items() if path.endswith(name)]
    return found


def test_statistics_stay_in_later_trainings(both):
    model = both[0].model
    before = {name: value for name, value in weights(model).items() if "moving" in name}
    state = model.get_weights()
    model.fit(pipeline(), epochs=1, verbose=0)
    assert len(before) == 4
    for name, value in before.items():
        np.testing.assert_array_equal(weights(model)[name], value)
    model.set_weights(state)


def test_preprocessing_is_inside(both, base):
    """What the pipeline gives goes through the network as the base's own pixels do."""
    model = both[0].model
    pooled = keras.Model(model.inputs, model.get_layer("pooled_features").output)
    found = pooled.predict(pipeline(shuffle=False), verbose=0)
    twin = small()
    for weight in twin.weights:  # the weights as they are after the second stage
        if "seed" not in weight.path and "old" not in weight.path:
            weight.assign(_ending(weights(model), weight.path))
    expected = keras.Model(twin.inputs, twin.layers[-2].output).predict(PIXELS(IMAGES), verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    described = kd.layers.describe(model)
    assert described.class_names == ("a", "b")
    assert described.normalization == kd.data.Normalization(90, 45)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export is on TensorFlow")
def test_the_file_needs_nothing_else(both, tmp_path):
    kd.export.to_tflite(both[0].model, tmp_path / "new.tflite")
    with kd.edge.ImageClassifier(tmp_path / "new.tflite") as classifier:
        assert classifier.labels == ("a", "b")
        scores = classifier.scores(IMAGES)
    expected = both[0].model.predict(pipeline(shuffle=False), verbose=0)
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert np.ptp(expected[:, 0]) > 0.5


def _features(base, pixels=PIXELS):
    return feature_model(remove_head(base), (16, 16, 3), pixels, PIXELS, None, "avg")


def test_the_key_is_of_all_that_matters_and_of_nothing_else(base):
    data = pipeline()
    first = key(_features(base), data)
    assert first == key(_features(small()), pipeline(seed=9, shuffle=False))
    other = IMAGES.copy()
    other[39, 15, 15, 2] ^= 1
    assert first not in {
        key(_features(small(seed=2)), data),
        key(_features(base, kd.data.Normalization(1, 2)), data),
        key(_features(base), pipeline(normalization=None)),
        key(_features(base), kd.data.pipeline(other, LABELS, normalization=data.normalization)),
    }


def test_a_cache_is_read_again_and_repaired(base, tmp_path):
    features = _features(base)
    data = pipeline()
    data.epoch = 2
    found = cache_features(features, data, tmp_path)
    expected = features.predict(pipeline(shuffle=False), verbose=0)
    np.testing.assert_allclose(found.x[:, 0, 0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.order(), data.order())
    (file,) = tmp_path.iterdir()
    time = file.stat().st_mtime_ns
    cache_features(features, data, tmp_path)
    assert file.stat().st_mtime_ns == time
    file.write_bytes(file.read_bytes()[:-8])
    again = cache_features(features, data, tmp_path)
    np.testing.assert_allclose(again.x[:, 0, 0], expected, rtol=1e-5, atol=1e-6)


def test_features_that_are_not_finite_are_not_kept(tmp_path):
    base = small()
    base.get_layer("stem").bias.assign(np.full(6, np.nan))
    with pytest.raises(ValueError, match="NaN"):
        cache_features(_features(base), pipeline(), tmp_path)
    assert not list(tmp_path.iterdir())


BATCHES = {
    "arrays": (IMAGES, LABELS),
    "one-hot": (IMAGES, np.eye(2, dtype="float32")[LABELS]),
    "batches": [(IMAGES[i : i + 8], LABELS[i : i + 8]) for i in range(0, 40, 8)],
}


class Batches(keras.utils.PyDataset):
    """Data that come a batch at a time."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return BATCHES["batches"][index]


@pytest.mark.parametrize("kind", ["arrays", "one-hot", "PyDataset"])
def test_kinds_of_data(kind, base, tmp_path):
    data = Batches() if kind == "PyDataset" else BATCHES[kind]
    cache = None if kind == "arrays" else tmp_path
    found = kd.training.transfer(base, 2, data, cache=cache, **{**FAST, "epochs": (2, 0)})
    assert len(found.head_history["loss"]) == 2 and found.fine_history == {}
    assert found.trained == () and "the base is unchanged" in str(found)
    described = kd.layers.describe(found.model)
    assert described.class_names is None  # not those of the base
    assert described.normalization == kd.data.Normalization.identity()
    scores = found.model.predict(IMAGES.astype("float32"), verbose=0)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data")
@pytest.mark.parametrize("classes", [3, ["a", "b", "c"]])
def test_names_of_the_data_are_not_dropped(classes, base):
    train = pipeline(class_names=["cat", "dog"])
    with pytest.raises(ValueError, match="the 2 classes of train, cat, dog. Received: "):
        kd.training.transfer(base, classes, train, **FAST)


def test_a_network_of_nan_is_no_result(base):
    class Damaged(Batches):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return np.where(index == len(self) - 1, np.nan, x.astype("float32")), y

    with pytest.raises(ValueError, match="has diverged: the weight .*learning rate of 0.01"):
        kd.training.transfer(base, 2, Damaged(), **FAST)


def test_a_tf_data_dataset(base):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(8)
    found = kd.training.transfer(
        base, 2, data.filter(lambda x, y: True), data, **{**FAST, "epochs": (1, 0)}
    )
    assert "val_loss" in found.head_history


def test_augmentation_is_in_training_only_and_grey_images_become_colours(base):
    grey = kd.data.pipeline(IMAGES[..., :1], LABELS, batch_size=8, class_names=["a", "b"])
    found = kd.training.transfer(
        base,
        2,
        grey,
        grey,
        augmentation=kd.layers.RandomAffine(degrees=10, horizontal_flip=True, seed=1),
        unfreeze="stem",
        patience=1,
        learning_rates=(1e-3, 1e-30),  # the second stage cannot improve on its first epoch
        **{**FAST, "epochs": (1, 3)},
    )
    kinds = {type(layer).__name__ for layer in found.model._flatten_layers()}
    assert "RandomAffine" not in kinds
    assert found.trained == ("stem", "inside") and found.began == "from stem on"
    assert found.model.input_shape == (None, 16, 16, 1)
    assert kd.layers.describe(found.model).class_names == ("a", "b")
    assert len(found.fine_history["loss"]) < 3
    for value in found.model.get_weights():
        assert np.isfinite(value).all()


APPLICATIONS = keras.applications


@pytest.mark.parametrize(
    ("make", "shape", "says"),
    [
        (lambda: APPLICATIONS.MobileNetV2((32, 32, 3), 0.35, weights=None), (1, 1, 1280), False),
        (
            lambda: APPLICATIONS.MobileNetV3Small((32, 32, 3), weights=None),
            (1, 1, 576),
            True,
        ),
        (
            lambda: APPLICATIONS.VGG16(True, None, None, (32, 32, 3), classes=4),
            (1, 1, 512),
            False,
        ),
        (
            lambda: kd.models.MobileNetV2((32, 32, 3), alpha=0.1, include_top=False, pooling="avg"),
            (1280,),
            False,
        ),
        (lambda: kd.models.ResNet20CIFAR((32, 32, 3), alpha=0.25), (8, 8, 16), False),
        (lambda: kd.models.LeNet5((32, 32, 1)), (1, 1, 120), False),
        (lambda: kd.models.LeNet5Paper((32, 32, 1)), (1, 1, 120), False),  # rescales within
    ],
    ids=["head", "own preprocessing", "dense head", "pooled", "ours", "flattened", "rescaled"],
)
def test_the_last_features_are_found(make, shape, says):
    base = make()
    body = remove_head(base)
    assert body.output_shape[1:] == shape
    assert "softmax" not in str(getattr(body.layers[-1], "activation", ""))
    if says:
        assert preprocessing_of(base) == kd.data.Normalization.identity()
    else:
        with pytest.raises(ValueError, match="does not record"):
            preprocessing_of(base)


def test_a_network_that_rescales_something_other_than_pixels_is_not_given_pixels():
    layers = [keras.Input((8, 8, 3)), L.Rescaling(2.0, -1.0), L.Conv2D(2, 3), L.Flatten()]
    with pytest.raises(ValueError, match=r"0 to 255 to values from -1 to 509.*preprocessing="):
        preprocessing_of(keras.Sequential(layers))


def test_the_function_of_a_family_stands_before_its_network():
    base = APPLICATIONS.MobileNetV2((32, 32, 3), 0.35, weights=None)
    images = np.repeat(np.repeat(IMAGES[:4], 2, axis=1), 2, axis=2)
    prepare = APPLICATIONS.mobilenet_v2.preprocess_input
    given = kd.data.Normalization(100, 50)
    model = feature_model(remove_head(base), (32, 32, 3), given, prepare, None, "avg")
    cut = keras.Model(base.inputs[0], base.get_layer("out_relu").output)
    expected = np.mean(cut(prepare(images.astype("float32")), training=False), axis=(1, 2))
    found = keras.ops.convert_to_numpy(model(given(images), training=False))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": 3}, "model must be"),
        ({"base": keras.Sequential([keras.Input((4,)), L.Dense(2)])}, "one image input"),
        ({"classes": 1}, "classes.*1"),
        ({"classes": ["a", "a"]}, "classes must be unique.*more than once: a"),
        ({"classes": 3, "train": (IMAGES, LABELS + 2)}, "labels from 0 to 2.*3"),
        ({"train": (IMAGES, np.ones((40, 3)))}, "one-hot labels of 2"),
        ({"train": IMAGES}, "train must have labels"),
        ({"train": (IMAGES[:, :8], LABELS)}, r"\(16, 16, 3\).*Received: \(8, 16, 3\)"),
        ({"train": (IMAGES / 255.0, LABELS)}, "0 to 255"),
        ({"train": iter([1])}, "iterated again"),
        ({"validation": pipeline()}, "validation must have the normalization"),
        ({"validation": (IMAGES[:, :8], LABELS)}, "validation must have images"),
        ({"unfreeze": 2}, "exceeds the 1 block"),
        ({"unfreeze": -1}, "unfreeze.*-1"),
        ({"unfreeze": "insid"}, "Did you mean.*inside"),
        ({"epochs": 3}, "epochs must be a pair"),
        ({"epochs": (0, 1)}, r"epochs\[0\].*0"),
        ({"learning_rates": (1, 0)}, r"learning_rates\[1\].*0"),
        ({"patience": 2}, "patience needs validation"),
        ({"warmup": 1}, "warmup.*1"),
        ({"dropout": -0.1}, "dropout.*-0.1"),
        ({"pooling": "sum"}, "pooling.*'sum'"),
        ({"preprocessing": "tf"}, "preprocessing must be.*'tf'"),
        ({"seed": -1}, "seed.*-1"),
        ({"augmentation": abs}, "augmentation must be"),
        ({"augmentation": L.RandomFlip(), "cache": "somewhere"}, "Omit one of them"),
    ],
)
def test_bad_arguments(changes, message, base, monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *_: pytest.fail("nothing is trained before"))
    given = {"base": base, "classes": 2, "train": (IMAGES, LABELS), **changes}
    with pytest.raises((ValueError, TypeError), match=message):
        kd.training.transfer(**given)


def test_progress_is_shown_as_in_a_run(capsys):
    options = {"epochs": (2, 1), "batch_size": 8, "patience": 1}
    kd.training.transfer(small(), 2, (IMAGES, LABELS), (IMAGES, LABELS), **options)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Epoch 1/2: 5 steps" and "Epoch 1/1: 5 steps" in lines
    assert re.search(r", val_loss .*; at most \d+ s left$", lines[1])
