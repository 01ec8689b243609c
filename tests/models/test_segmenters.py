"""U-Net and FCN: published sizes, weights of classifiers, stages, backbones, errors."""

from __future__ import annotations

import csv
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_dlcourse as kd
from keras_dlcourse.graph.weightless import weightless
from keras_dlcourse.models import FCN8s, FCN16s, FCN32s, UNet, start_from, without_auxiliary

with Path(__file__).with_name("segmentation_counts.csv").open() as _file:
    PUBLISHED = list(csv.DictReader(_file))
RANDOM = np.random.default_rng(0)


def _randomise(model):
    model.set_weights([RANDOM.normal(0, 0.2, weight.shape) for weight in model.get_weights()])


def _answers(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def _transposed(model):
    return [layer for layer in model.layers if isinstance(layer, L.Conv2DTranspose)]


def _backbone():
    """A classifier with maps at strides 4 to 32 and two dense layers, built in no time."""
    layers = [keras.Input((64, 64, 3)), L.Conv2D(4, 3, 4, padding="same", name="stem")]
    for stride in (8, 16, 32):
        layers += [L.Conv2D(5, 3, padding="same", activation="relu", name=f"at_{stride // 2}")]
        layers += [L.MaxPooling2D(2, name=f"pool_{stride}")]
    layers += [
        L.Flatten(),
        L.Dense(6, "relu", name="hidden"),
        L.Dropout(0.5),
        L.Dense(7, "softmax"),
    ]
    return keras.Sequential(layers)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is about numbers")
@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: "-".join(list(row.values())[:4]))
def test_defaults_have_the_published_number_of_weights(row):
    shape = tuple(int(size) for size in row["input"].split("x"))
    with weightless():
        model = getattr(kd.models, row["builder"])(shape, row["backbone"], int(row["classes"]))
    of_upsampling = sum(layer.count_params() for layer in _transposed(model))
    extra = int(row["upsampling"] or 0)
    assert extra in (0, of_upsampling)
    assert model.count_params() - extra == int(row["weights"])
    lost = 184 if row["builder"] == "UNet" and row["backbone"] == "paper" else 0
    assert model.output_shape == (None, shape[0] - lost, shape[1] - lost, int(row["classes"]))


def test_dense_layers_become_convolutions_with_their_weights():
    classifier = _backbone()
    _randomise(classifier)
    model = FCN8s(backbone=classifier, classes=3)
    hidden = model.get_layer("hidden")
    assert hidden.kernel.shape == (2, 2, 5, 6) and hidden.padding == "same"
    image = RANDOM.normal(size=(1, 64, 64, 3)).astype("float32")
    before = keras.Model(classifier.inputs, classifier.get_layer("hidden").output)
    maps = _answers(keras.Model(model.inputs, model.get_layer("score_32").input), image)
    assert maps.shape == (1, 2, 2, 6)
    # "same" padding of a 2x2 window is below and on the right: the first one sees the whole image.
    np.testing.assert_allclose(maps[:, 0, 0], _answers(before, image), atol=1e-5)
    # Maps behind the poolings are used, as in the paper, and the classifier's weights are copied.
    assert model.get_layer("score_8").input._keras_history.operation.name == "pool_8"
    assert model.get_layer("stem") is not classifier.get_layer("stem")
    assert [type(layer) for layer in model.layers].count(L.Dropout) == 1


def test_stages_start_from_each_other():
    classifier = _backbone()
    coarse, middle, fine = (build((60, 64, 3), classifier, 3) for build in (FCN32s, FCN16s, FCN8s))
    image = RANDOM.normal(size=(1, 60, 64, 3)).astype("float32")
    np.testing.assert_allclose(_answers(coarse, image), 1 / 3, atol=1e-6)  # scores start at 0
    _randomise(coarse)
    fresh = start_from(middle, coarse)
    assert sorted(fresh) == ["score_16", "to_16", "to_image"]
    for name in ("stem", "hidden", "score_32"):
        for ours, theirs in zip(*(m.get_layer(name).get_weights() for m in (middle, coarse)),
                                strict=True):  # fmt: skip
            np.testing.assert_array_equal(ours, theirs)
    # Nothing but the interpolation is new: what reaches stride 16 is enlarged bilinearly.
    scores, sums = (
        _answers(keras.Model(model.inputs, model.get_layer(name).output), image)
        for model, name in ((coarse, "score_32"), (middle, "sum_16"))
    )
    expected = keras.ops.convert_to_numpy(L.UpSampling2D(2, interpolation="bilinear")(scores))
    np.testing.assert_allclose(sums[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-4)
    middle.get_layer("score_16").set_weights([np.ones((1, 1, 5, 3)), np.ones(3)])
    assert sorted(start_from(fine, middle)) == ["score_8", "to_8", "to_image"]
    assert np.all(fine.get_layer("score_16").get_weights()[1] == 1)
    with pytest.raises(ValueError, match=r"Received: 'to_16' is missing, in coarser"):
        start_from(coarse, middle)
    other = FCN16s((60, 64, 3), classifier, 4)
    with pytest.raises(ValueError, match=r"'score_32' with weights .*4.*in coarser .*3"):
        start_from(other, coarse)


def test_upsampling_can_stay_bilinear():
    model = FCN8s(backbone=_backbone(), classes=2, trainable_upsampling=False)
    assert len(_transposed(model)) == 3
    assert not any(layer.trainable_weights for layer in _transposed(model))
    assert FCN8s(backbone=_backbone(), classes=2).get_layer("to_image").trainable


def test_a_unet_shares_its_backbone_and_trains_its_statistics():
    x = image = keras.Input((64, 64, 3))
    for stride in (2, 4, 8, 16):
        x = L.Conv2D(4, 3, 2, padding="same", name=f"to_{stride}")(x)
        x = L.BatchNormalization(name=f"bn_{stride}")(x)
    backbone = keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    model = UNet((64, 32, 3), backbone, 2, strides=(8, 4, 2))
    assert model.output_shape == (None, 64, 32, 2)
    names = [layer.name for layer in model.layers]
    assert model.get_layer("to_8") is backbone.get_layer("to_8") and "to_16" not in names
    names = [name for name in names if name.startswith("decoder")]
    assert names[0] == "decoder_4_up" and names[-1] == "decoder_1_conv1"
    mean = backbone.get_layer("bn_2").moving_mean
    before = keras.ops.convert_to_numpy(mean)
    model(RANDOM.normal(size=(2, 64, 32, 3)).astype("float32"), training=True)
    assert not np.array_equal(keras.ops.convert_to_numpy(mean), before)


def test_a_network_with_valid_convolutions_is_a_backbone():
    """Its maps are smaller than the image divided by their stride: zeros take their place."""
    x = image = keras.Input((40, 40, 3))
    for number in range(2):
        x = L.Conv2D(4, 3, 2, name=f"valid_{number}")(x)  # 40 to 19 to 9
    model = UNet(backbone=keras.Model(image, x), classes=2)
    assert model.get_layer("fit_4_pad").output.shape == (None, 10, 10, 4)
    assert model.get_layer("fit_2_crop").output.shape == (None, 20, 20, 4)
    assert model.output_shape == (None, 40, 40, 2)


@pytest.mark.parametrize(
    ("upsampling", "separable", "expected"),
    [("transpose", True, L.Conv2DTranspose), ("nearest", False, L.UpSampling2D)],
)
def test_how_maps_are_enlarged(upsampling, separable, expected):
    x = image = keras.Input((40, 40, 3))
    x = L.Conv2D(4, 3, 4, padding="same", name="stem")(x)
    model = UNet(backbone=keras.Model(image, x), upsampling=upsampling, separable=separable)
    assert type(model.get_layer("decoder_1_up")) is expected
    kinds = {type(layer) for layer in model.layers}
    assert (kd.layers.DepthwiseSeparableConv2D in kinds) == separable


def test_what_a_backbone_says_of_its_images_is_kept():
    given = kd.data.Normalization((127.5,), (127.5,))
    x = image = keras.Input((48, 48, 3))
    x = kd.layers.ImageDescription(given, ["cat", "dog"])(x)
    for stride in (2, 4, 8):
        x = L.Conv2D(4, 3, 2, padding="same", name=f"to_{stride}")(x)
    backbone = keras.Model(image, x, name="small")
    model = UNet(backbone=backbone, classes=3)
    described = kd.layers.describe(model)
    # The classes of the backbone are not those of the masks.
    assert described.normalization == given and described.class_names is None
    # The image itself, which passes a layer that describes it, is no map of the backbone.
    assert "decoder_1_skip" not in [layer.name for layer in model.layers]
    with pytest.raises(ValueError, match="preprocessing must be that of the backbone"):
        UNet(backbone=backbone, preprocessing=kd.data.Normalization((1.0,), (2.0,)))
    with pytest.raises(ValueError, match=r"input_shape must have 3 channel.*\(48, 48, 1\)"):
        UNet((48, 48, 1), backbone)
    with pytest.raises(ValueError, match=r"no feature maps with a stride of 64.*it has 1, 2, 4, 8"):
        UNet(backbone=backbone, strides=(8, 64))


def test_errors_say_what_to_do():
    for shape, message in (
        ((200, 188, 1), r"\(200, 188, 1\)\. Use 188 or 204, tile"),
        ((100, 100, 1), r"Use 188 or 204"),
        ((None, 188, 1), r"\(None, 188, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            UNet(shape, "paper")
    with pytest.raises(ValueError, match="strides must be None if backbone='mobile'"):
        UNet(strides=(2, 4))
    with pytest.raises(ValueError, match="upsampling must be one of None, 'bilinear'.*'bicubic'"):
        UNet(upsampling="bicubic")
    with pytest.raises(TypeError, match="separable must be True or False"):
        UNet(separable=1)
    with pytest.raises(TypeError, match="trainable_upsampling must be True or False"):
        FCN8s(trainable_upsampling="no")
    two = keras.Model(inputs := [keras.Input((40, 40, 3)) for _ in "ab"], L.Add()(inputs))
    with pytest.raises(ValueError, match=r"one image input .*\(40, 40, 3\), \(40, 40, 3\)"):
        UNet(backbone=two)


def _down(strides=5):
    """A backbone without batch normalization, so that training and inference are the same."""
    layers = [keras.Input((64, 64, 3))]
    layers += [L.Conv2D(4, 3, 2, padding="same", activation="elu") for _ in range(strides)]
    return keras.Sequential(layers)


def _stir(model):
    """Give kernels random values; batch normalization stays as it is."""
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign(RANDOM.normal(0, 0.3, weight.shape))


def _images(count):
    return RANDOM.normal(size=(count, 40, 50, 3)).astype("float32")


SUPERVISED = {
    "unet": (lambda **more: UNet((40, 50, 3), _down(3), 3, **more), {2, 4}),
    "unet-plain": (lambda **more: UNet((40, 50, 3), "plain", 3, alpha=0.05, **more), {2, 4, 8}),
    "fcn16s": (lambda **more: FCN16s((40, 50, 3), _down(), 3, **more), {32}),
    "fcn8s": (lambda **more: FCN8s((40, 50, 3), classes=3, alpha=0.05, **more), {16, 32}),
}


@pytest.mark.parametrize("name", SUPERVISED)
def test_auxiliary_outputs_are_those_of_coarser_scales(name):
    build, strides = SUPERVISED[name]
    model = build(auxiliary=True)
    assert set(model.output) == {"predictions", *(f"auxiliary{stride}" for stride in strides)}
    assert {tuple(each.shape) for each in model.output.values()} == {(None, 40, 50, 3)}
    _stir(model)
    given = _images(2)
    found = {key: np.asarray(value) for key, value in model(given, training=False).items()}
    for scores in found.values():
        np.testing.assert_allclose(scores.sum(axis=-1), 1, rtol=1e-5)
        assert scores.std() > 1e-3
    plain = without_auxiliary(model)
    np.testing.assert_array_equal(_answers(plain, given), found["predictions"])
    assert [w.shape for w in plain.weights] == [w.shape for w in build().weights]
    assert without_auxiliary(plain) is plain


def test_an_auxiliary_output_is_the_coarser_network():
    """At stride 32, an FCN-8s predicts what an FCN-32s with bilinear upsampling does."""
    arguments = {"input_shape": (40, 50, 3), "backbone": _down(), "classes": 3, "dropout": 0.0}
    coarse = FCN32s(**arguments, trainable_upsampling=False)
    _stir(coarse)
    coarse.get_layer("to_image").set_weights(
        FCN32s(**arguments).get_layer("to_image").get_weights()
    )
    fine = FCN8s(**arguments, auxiliary=True)
    start_from(fine, coarse)
    given = _images(1)
    found, expected = np.asarray(fine(given)["auxiliary32"]), _answers(coarse, given)
    assert expected.std() > 1e-3
    # They differ only at the border of the padded image, where transposed convolutions add zeros.
    inner = np.s_[:, 16:, 16:48]
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-5)


def test_deep_supervision_is_a_multitask_loss():
    model = SUPERVISED["unet"][0](auxiliary=True)
    weights = {name: 1.0 if name == "predictions" else 0.3 for name in model.output}
    masks = np.random.default_rng(0).integers(0, 3, (4, 40, 50))
    masks[:, :5] = 255
    labels = dict.fromkeys(weights, masks)
    loss = kd.losses.MultitaskLoss(
        {name: kd.losses.DiceCrossentropy() for name in weights}, weights
    )
    trainer = kd.models.MultitaskModel(model, loss)
    trainer.compile(keras.optimizers.SGD(0.1), run_eagerly=keras.backend.backend() == "tensorflow")
    before = [np.asarray(weight) for weight in model.trainable_weights]
    given = _images(4)
    expected = {name: float(kd.losses.DiceCrossentropy()(masks, scores))
                for name, scores in model(given, training=True).items()}  # fmt: skip
    history = trainer.fit(given, labels, verbose=0).history
    for name, value in expected.items():
        assert history[f"{name}_loss"][0] == pytest.approx(value, rel=1e-3)
    total = sum(weights[name] * value for name, value in expected.items())
    assert history["loss"][0] == pytest.approx(total, rel=1e-3)
    still = [
        weight.path
        for weight, old in zip(model.trainable_weights, before, strict=True)
        if np.array_equal(np.asarray(weight), old)
    ]
    assert not still


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports")
def test_the_file_of_a_supervised_network_has_one_output(tmp_path):
    model = SUPERVISED["unet"][0](auxiliary=True)
    _stir(model)
    given = kd.data.Normalization.identity()
    result = kd.export.to_tflite(model, tmp_path / "m.tflite", preprocessing=given)
    assert [tensor.shape for tensor in kd.edge.ModelFile.read(result.path).outputs] == [
        (1, 40, 50, 3)
    ]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), "uint8")
    masks = np.zeros((2, 40, 50), int)
    verification = kd.export.verify(model, result, (pixels, masks))
    assert verification.passed and verification.kind == "segmentation"


def test_where_there_is_no_coarser_scale():
    with pytest.raises(ValueError, match="auxiliary must be False if backbone='paper'"):
        UNet(backbone="paper", auxiliary=True)
    with pytest.raises(ValueError, match="auxiliary must be False for one scale, at stride 32"):
        FCN32s(auxiliary=True)
    with pytest.raises(TypeError, match="auxiliary must be True or False"):
        UNet(auxiliary=1)
