"""Any backbone to unit vectors: pooling, length, shared weights, files, both backends, errors."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_dlcourse as kd

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(5, 28, 32, 3)).astype("float32")


def answers(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(inputs, training=False))


def shaken(model: keras.Model) -> keras.Model:
    """Random weights and biases: fresh ones give zero vectors where all maps are zero."""
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(keras.ops.convert_to_numpy(weight) + rng.normal(0, 0.1, weight.shape))
    return model


def maps_model(size=(28, 32, 3)) -> keras.Model:
    layers = [keras.Input(size), keras.layers.Conv2D(6, 3, strides=2, activation="relu")]
    return shaken(keras.Sequential(layers, name="maps"))


@pytest.mark.parametrize(("pooling", "pool"), [("avg", np.mean), ("max", np.max)])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_formula(pooling, pool, normalize):
    backbone = maps_model()
    model = shaken(kd.models.embedding_model(backbone, 7, normalize, pooling))
    kernel, bias = map(keras.ops.convert_to_numpy, model.get_layer("embedding").weights)
    expected = pool(answers(backbone, IMAGES).astype("float64"), axis=(1, 2)) @ kernel + bias
    if normalize:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    vectors = answers(model, IMAGES)
    assert vectors.dtype == np.float32 and model.output_shape == (None, 7)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert np.linalg.matrix_rank(vectors) > 2, "the images are not told apart"


@pytest.mark.parametrize(
    "backbone",
    [
        lambda: kd.models.MobileNetV2((28, 28, 1), alpha=0.1, include_top=False),
        lambda: kd.models.MobileNet((None, None, 3), alpha=0.1, include_top=False, pooling="max"),
        lambda: keras.applications.MobileNetV2((32, 32, 3), 0.35, False, weights=None),
        lambda: keras.Sequential([keras.Input((9, 4)), keras.layers.LSTM(5)]),
        lambda: keras.Sequential([keras.Input((9, 4)), keras.layers.Conv1D(5, 3)]),
        lambda: keras.Sequential([keras.Input((6, 6, 6, 2)), keras.layers.Conv3D(5, 3)]),
        lambda: keras.Sequential([keras.Input((30,)), keras.layers.Dense(8)]),
    ],
    ids=["ours-maps", "ours-open-pooled", "keras-applications", "lstm", "1d", "3d", "dense"],
)
def test_any_backbone(backbone):
    model = shaken(kd.models.embedding_model(backbone(), 12))
    shape = tuple(32 if size is None else size for size in model.input_shape[1:])
    vectors = answers(model, RNG.normal(size=(3, *shape)).astype("float32"))
    assert vectors.shape == (3, 12)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_channels_first_maps_are_pooled_over_their_places():
    inputs = keras.Input((3, 28, 32))
    x = keras.layers.Reshape((3, 28, 32))(inputs)
    x = keras.layers.SpatialDropout2D(0.1, data_format="channels_first")(x)
    model = kd.models.embedding_model(keras.Model(inputs, x), 4, normalize=False)
    kernel, bias = map(keras.ops.convert_to_numpy, model.get_layer("embedding").weights)
    first = IMAGES.transpose(0, 3, 1, 2)
    expected = first.mean((2, 3)) @ kernel + bias
    np.testing.assert_allclose(answers(model, first), expected, atol=1e-5)


def test_the_backbone_is_shared_and_can_be_frozen():
    backbone = maps_model()
    backbone.trainable = False
    model = kd.models.embedding_model(backbone, 4)
    assert [w.path.split("/")[0] for w in model.trainable_weights] == ["embedding"] * 2
    backbone.trainable = True
    before = answers(backbone, IMAGES)
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.train_on_batch(IMAGES, RNG.normal(size=(5, 4)))
    assert np.abs(answers(backbone, IMAGES) - before).max() > 1e-3


def test_saved_and_loaded(tmp_path):
    model = shaken(kd.models.embedding_model(maps_model(), 4, name="faces"))
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.name == "faces"
    np.testing.assert_allclose(answers(loaded, IMAGES), answers(model, IMAGES), atol=1e-6)


def test_mixed_precision_ends_in_float32():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = kd.models.embedding_model(maps_model(), 4)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32"
    assert model.layers[-3].compute_dtype == "float16"


def test_what_the_backbone_records_of_its_pixels_is_kept():
    normalization = kd.data.Normalization(110.0, 70.0)
    backbone = kd.models.MobileNetV2(
        (28, 28, 1), alpha=0.1, include_top=False, preprocessing=normalization
    )
    model = kd.models.embedding_model(backbone, 4)
    assert kd.layers.describe(model).normalization == normalization


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("backbone", "arguments", "error", "message"),
    [
        (maps_model, {"dimensions": 0}, ValueError, "dimensions .*at least 1. Received: 0"),
        (maps_model, {"dimensions": 2.5}, TypeError, "dimensions .*Received: 2.5"),
        (maps_model, {"pooling": "gem"}, ValueError, "pooling must be .*Received: 'gem'"),
        (lambda: "mobilenet", {}, TypeError, "backbone must be a keras.Model. Received: str"),
        (Subclassed, {}, ValueError, "has no graph.*Wrap it: keras.Model"),
        (
            lambda: kd.models.MobileNet((28, 28, 1), alpha=0.1),
            {},
            ValueError,
            "ends in class scores.*'predictions'.*include_top=False",
        ),
        (
            lambda: keras.Model(x := keras.Input((4, 4, 3)), [x, x]),
            {},
            ValueError,
            "must have one output.*with 2 outputs. Choose one",
        ),
        (
            lambda: keras.Sequential([keras.Input(()), keras.layers.Identity()]),
            {},
            ValueError,
            r"must output vectors.*shape \(None,\)",
        ),
    ],
)
def test_bad_arguments(backbone, arguments, error, message):
    with pytest.raises(error, match=message):
        kd.models.embedding_model(backbone(), **{"dimensions": 4, **arguments})
