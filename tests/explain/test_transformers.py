"""Vision transformers: maps are those of the last tokens that the scores depend on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from transformers import GRID, PATCH, SIDE, spots, transformer

import keras_dlcourse as kd
from keras_dlcourse.explain.engine.probe import Probe
from keras_dlcourse.explain.engine.weighting import eigen_cam


@pytest.mark.parametrize(
    ("embed", "head", "place"),
    [
        ("conv", "mean", "end"),
        ("cut", "mean", "end"),
        ("reshape", "mean", "end"),
        # Behind the last attention, nothing of the other tokens gets into that of the class.
        ("conv", "class", "block_0"),
        ("reshape", "class", "block_0"),
    ],
)
def test_finds_the_last_tokens_that_are_used(embed, head, place):
    probe = Probe(transformer(embed, head))
    assert (probe.place.name, probe.grid) == (place, (GRID, GRID))


def test_values_are_those_of_the_tokens():
    """Against Keras itself: outputs of the layer and their gradient, the class token left out."""
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("compares with TensorFlow's tape")
    model, (images, _, _) = transformer("conv", "class"), spots(3)
    probe = Probe(model)
    found = probe(images, 0)
    inner = keras.Model(model.input, model.get_layer("block_0").output)
    tokens = tf.convert_to_tensor(inner(images))
    rest = keras.Model(model.get_layer("block_0").output, model.output)
    with tf.GradientTape() as tape:
        tape.watch(tokens)
        score = tf.reduce_sum(rest(tokens)[:, 0])
    grid = (3, GRID, GRID, 16)
    np.testing.assert_allclose(found.features, tokens[:, 1:].numpy().reshape(grid), atol=1e-5)
    expected = tape.gradient(score, tokens)[:, 1:].numpy().reshape(grid)
    np.testing.assert_allclose(found.gradients, expected, atol=1e-5)
    assert (np.abs(expected).sum((1, 2, 3)) > 0).all()


def right_by_hand():
    """Blocks that hand tokens on, and scores that look for what red or green patches become."""
    model = transformer("conv", "mean", blocks=1)
    kernel = np.random.default_rng(3).normal(size=(PATCH, PATCH, 3, 16)).astype("float32")
    for layer in model.layers:
        if layer.name.startswith("attention") or (type(layer) is L.Dense and layer.units == 16):
            layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    model.get_layer("embedding").set_weights([kernel, np.zeros(16, "float32")])
    wanted = kernel[:, :, :2].sum((0, 1))  # (2, 16): the token of a patch of one colour
    wanted = (wanted - wanted.mean(1, keepdims=True)) / wanted.std(1, keepdims=True)
    model.get_layer("scores").set_weights([wanted.T, np.zeros(2, "float32")])
    return model


def test_map_hits_what_decides():
    model, (images, classes, places) = right_by_hand(), spots(60, seed=9, noise=1e-4)
    assert (model.predict(images, verbose=0).argmax(1) == classes).all()
    for method in (kd.explain.grad_cam, kd.explain.hires_cam):
        maps = method(model, images, classes, raw=True)
        found = np.stack(np.unravel_index(maps.reshape(60, -1).argmax(1), (GRID, GRID)), axis=1)
        assert (found == places).all(1).mean() > 0.9, method.__name__
    assert kd.explain.grad_cam(model, images[:2]).shape == (2, SIDE, SIDE)


class TestReshape:
    def test_of_a_layer(self):
        model, (images, _, _) = transformer("reshape", "class", blocks=1), spots(2)
        assert Probe(model, layer="attended_0").grid == (GRID, GRID)
        mapper = kd.explain.GradientMapper(model, "eigen_cam", layer="attended_0", reshape=[2, 8])
        inner = keras.Model(model.input, model.get_layer("attended_0").output)
        features = np.asarray(inner.predict(images, verbose=0))[:, 1:].reshape(2, 2, 8, 16)
        np.testing.assert_allclose(mapper.maps(images)[0], eigen_cam(features, features), atol=1e-4)

    @pytest.mark.parametrize(
        ("reshape", "message"),
        [
            (4, r"reshape must be the rows and columns.*Received: 4"),
            ((4, 0), "reshape must be the rows and columns"),
            ((5, 5), r"reshape=\(5, 5\) needs more than the 16 tokens that layer 'end' outputs"),
        ],
    )
    def test_refused(self, reshape, message):
        with pytest.raises(ValueError, match=message):
            kd.explain.GradientMapper(transformer(blocks=1), reshape=reshape)

    @pytest.mark.parametrize("layer", [None, "embedding"])
    def test_of_maps_is_refused(self, layer):
        image = keras.Input((SIDE, SIDE, 3))
        x = L.GlobalAveragePooling2D()(L.Conv2D(4, PATCH, PATCH, name="embedding")(image))
        with pytest.raises(
            ValueError, match=r"'embedding' outputs maps of shape \(4, 4, 4\). Omit"
        ):
            kd.explain.GradientMapper(
                keras.Model(image, L.Dense(2)(x)), layer=layer, reshape=(4, 4)
            )

    def test_a_grid_that_is_not_plain(self):
        """Images are no squares, and no layer has a map of the patches."""
        image = keras.Input((8, 24, 3))
        x = ops.reshape(image, (-1, 2, 4, 6, 4, 3))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 12, 48))
        x = L.Dense(8, name="tokens")(x)
        model = keras.Model(image, L.Dense(2)(L.GlobalAveragePooling1D()(x)))
        with pytest.raises(
            ValueError, match=r"'tokens' .*12 tokens.*Pass reshape=\(rows, columns\)"
        ):
            kd.explain.GradientMapper(model)
        assert kd.explain.GradientMapper(model, reshape=(2, 6)).probe.grid == (2, 6)


def test_columns_of_text_behind_convolutions_stay_maps():
    """A deep network's maps, read column by column: its tokens are no grid of patches."""
    image = keras.Input((8, 32, 1))
    x = L.Conv2D(4, 3, strides=2, padding="same")(image)
    x = L.Conv2D(4, 3, padding="same", name="maps")(x)
    x = L.Reshape((16, 16))(L.Permute((2, 1, 3))(x))
    x = L.GRU(4, return_sequences=True)(x)
    probe = Probe(keras.Model(image, L.Dense(2)(L.GlobalAveragePooling1D()(x))))
    assert probe.grid is None
    assert probe.place.shape[1:] in ((4, 16, 4), (16, 4, 4))
