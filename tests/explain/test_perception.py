"""A decoder that learns to undo a layer, and what is shown through a map."""

import keras
import numpy as np
import pytest
from explained_models import SHAPE, classifier, images, numbers, siamese
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as L

from keras_dlcourse import explain
from keras_dlcourse.explain import LatentInverter, latent_decoder, perception_visualization


def _inverter(model=None, layer=None, width=4, **options):
    model = model or classifier()
    inverter = LatentInverter(model, layer, **options)
    decoder = latent_decoder(inverter.decoder.input_shape[1:], SHAPE, width)
    return LatentInverter(model, layer, decoder, **options)


def _features(model, layer, x):
    return keras.Model(model.inputs, model.get_layer(layer).output).predict(x, verbose=0)


@settings(max_examples=15)
@given(
    st.one_of(
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5)),
        st.tuples(st.integers(1, 20)),
    ),
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])),
)
def test_a_decoder_goes_from_any_latent_to_any_image(latent, image):
    decoder = latent_decoder(latent, image, width=2)
    assert decoder.input_shape == (None, *latent) and decoder.output_shape == (None, *image)
    made = [layer.output.shape for layer in decoder.layers if isinstance(layer, L.Conv2D)]
    for side in (1, 2):
        sizes = [shape[side] for shape in made[:-1]]
        assert sizes == sorted(sizes), "it grows from step to step"
        assert len(latent) == 1 or sizes[0] == latent[side - 1]


def test_the_loss_is_what_it_says_and_trains_the_decoder_alone():
    model, x = classifier(), images(8)
    before = model.get_weights()
    inverter = _inverter(model, "first", latent_weight=0.3)
    inverter.compile(keras.optimizers.Adam(0.01))
    assert {id(v) for v in inverter.trainable_variables} == {
        id(v) for v in inverter.decoder.trainable_variables
    }
    found = inverter.evaluate(x, batch_size=8, verbose=0, return_dict=True)
    made = inverter.predict(x, verbose=0)
    one, other = _features(model, "first", x), _features(model, "first", made)
    pixels = ((x - made) ** 2).mean() / x.var()
    latents = ((one - other) ** 2).mean() / (one**2).mean()
    assert found["pixel_error"] == pytest.approx(pixels, rel=1e-3)
    assert found["latent_error"] == pytest.approx(latents, rel=1e-3)
    assert found["loss"] == pytest.approx(pixels + 0.3 * latents, rel=1e-3)
    history = inverter.fit(x, epochs=30, batch_size=8, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    for ours, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_labels_may_come_along_and_the_model_may_train_on():
    model, x = classifier(), images(8)
    inverter = _inverter(model, "second")
    inverter.compile("adam")
    inverter.fit(x, np.zeros(8), batch_size=4, verbose=0)
    again = inverter.predict(x, verbose=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, np.zeros(8), verbose=0)
    np.testing.assert_array_equal(inverter.predict(x, verbose=0), again)  # weights of then


@pytest.mark.parametrize("layer", ["backbone/second", "second", "backbone"])
def test_a_layer_of_a_nested_model_is_inverted(layer):
    inner = keras.Input(SHAPE)
    backbone = keras.Model(inner, L.Conv2D(5, 3, name="second")(inner), name="backbone")
    given = keras.Input(SHAPE)
    pooled = L.GlobalAveragePooling2D()(backbone(L.Rescaling(0.5)(given)))
    model = keras.Model(given, L.Dense(2)(pooled))
    inverter = _inverter(model, layer)
    expected = numbers(backbone(0.5 * images(2)))
    np.testing.assert_allclose(numbers(inverter.encoder(images(2))), expected, atol=1e-5)


def test_a_vector_is_inverted_and_the_map_comes_from_the_feature_maps():
    model = classifier()
    pooling = next(layer.name for layer in model.layers if "pooling" in layer.name)
    inverter = _inverter(model, pooling)
    seen = perception_visualization(inverter, images(3))
    assert inverter.encoder.output_shape == (None, 6)
    np.testing.assert_allclose(seen.maps, explain.grad_cam(model, images(3)), atol=1e-5)


def test_what_is_shown_is_the_reconstruction_where_the_map_is_high():
    model, x = classifier(), images(4)
    inverter = _inverter(model, "first")
    inverter.decoder.set_weights([w + 0.1 for w in inverter.decoder.get_weights()])
    baseline = np.array([1.0, 2.0, 3.0])
    seen = perception_visualization(inverter, x, [0, 1, 2, 3], baseline=baseline)
    made = inverter.predict(x, verbose=0)
    maps = explain.grad_cam(model, x, [0, 1, 2, 3], layer="first")
    expected = np.empty(x.shape)
    for image, row, column in np.ndindex(maps.shape):
        share = maps[image, row, column]
        expected[image, row, column] = share * made[image, row, column] + (1 - share) * baseline
    np.testing.assert_allclose(seen.visualizations, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(seen.reconstructions, made, atol=1e-5)
    np.testing.assert_array_equal(seen.classes, [0, 1, 2, 3])
    answers = model.predict(x, verbose=0).argmax(1)
    others = model.predict(made, verbose=0).argmax(1)
    np.testing.assert_array_equal(seen.answers, answers)
    np.testing.assert_array_equal(seen.answers_to_reconstructions, others)
    assert seen.agreement == np.mean(answers == others)
    by_top = perception_visualization(inverter, x, method="occlusion")
    np.testing.assert_allclose(by_top.maps, explain.occlusion(model, x, answers), atol=1e-5)


def _open_size():
    given = keras.Input((None, None, 3))
    pooled = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, name="maps")(given))
    return keras.Model(given, L.Dense(2)(pooled))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: LatentInverter(siamese()),
            "has 2 inputs; LatentInverter needs a model with one input",
        ),
        (lambda: LatentInverter(_open_size()), "takes \\(None, None, 3\\).*fixed input_shape"),
        (lambda: LatentInverter(classifier(), "firts"), "no layer 'firts'.*Did you mean 'first'"),
        (lambda: LatentInverter(classifier(), latent_weight=-1), "latent_weight must be.*-1"),
        (
            lambda: LatentInverter(classifier(), decoder=latent_decoder((2, 2, 3), SHAPE)),
            r"decoder must map \(5, 6, 6\) to \(10, 12, 3\). Received: \(None, 2, 2, 3\)",
        ),
        (lambda: latent_decoder((3, 3), SHAPE), r"latent_shape must be.*\(3, 3\)"),
        (lambda: latent_decoder((3,), (4, None, 3)), "image_shape must be.*None"),
        (
            lambda: perception_visualization(_inverter(), images(2), baseline=[1, 2]),
            r"baseline must broadcast.*\(2, 10, 12, 3\). Received: \(2,\)",
        ),
        (lambda: perception_visualization(_inverter(), images(2)[0]), "images must have the shape"),
    ],
)
def test_mistakes_are_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_kinds_are_said():
    with pytest.raises(TypeError, match="decoder must be a keras.Model. Received: int"):
        LatentInverter(classifier(), decoder=3)
    with pytest.raises(TypeError, match="inverter must be a kd.explain.LatentInverter"):
        perception_visualization(classifier(), images(2))
