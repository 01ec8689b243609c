"""Masks from Keras to a device: logits in the file, the same masks there and in MediaPipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates
from sklearn.metrics import accuracy_score, jaccard_score
from small_models import images, randomise

import keras_dlcourse as kd
from keras_dlcourse.cli import main as cli
from keras_dlcourse.edge import ImageSegmenter, ModelFile
from keras_dlcourse.edge.__main__ import main as edge
from keras_dlcourse.edge.description.layouts import MaskLayout
from keras_dlcourse.export.checking.target_rules import mask_output
from keras_dlcourse.export.conversion.errors import ExportError
from keras_dlcourse.export.outputs.find import assign_labels, find_outputs
from keras_dlcourse.export.outputs.kind import Compared
from keras_dlcourse.export.outputs.segmentation import SEGMENTATION, find_mask, fit_masks
from keras_dlcourse.graph.logits import cut_last_activation
from keras_dlcourse.layers import FakeQuantize, OutputDescription

layers = keras.layers
LABELS = ("sky", "sea", "sand", "rock")
SIDE = 16


def features(x):
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    return layers.ReLU(6.0)(layers.BatchNormalization()(x))


def segmenter(*end, up: bool = True, name: str = "small"):
    """A convolution to half the size, back to the whole, and the layers given."""
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = features(x)
    x = layers.UpSampling2D(interpolation="bilinear")(x) if up else x
    for layer in end:
        x = layer(x)
    return randomise(keras.Model(inputs, x, name=name))


def many_classes(up: bool = True):
    return segmenter(layers.Conv2D(4, 1), layers.Softmax(), up=up)


def one_class():
    declared = OutputDescription("segmentation", name="masks")
    return segmenter(layers.Conv2D(1, 3, activation="sigmoid", padding="same"), declared)


@pytest.fixture(scope="module")
def models():
    return {"many": many_classes(), "half": many_classes(up=False), "one": one_class()}


@pytest.fixture(scope="module")
def scenes(normalization):
    return kd.data.pipeline(images(), normalization=normalization)


@pytest.fixture(scope="module")
def paths(models, scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmenters")

    def write(file, model, names, **options):
        path = folder / f"{file}.tflite"
        return kd.export.to_tflite(
            models[model], path, labels=names, calibration=scenes, **options
        ).path

    return {
        "float32": write("float32", "many", LABELS),
        "int8": write("int8", "many", LABELS, quantization="int8"),
        "int8 ends": write(
            "ends", "many", LABELS, quantization="int8", input_dtype="int8", output_dtype="int8"
        ),
        "half": write("half", "half", LABELS),
        "one": write("one", "one", ["boat"], quantization="int8", output_dtype="float32"),
    }


def confidences(model, scenes, pixels):
    return np.moveaxis(model.predict(scenes.prepare(pixels), verbose=0), -1, 1)


@pytest.mark.parametrize(
    ("file", "model", "error"),
    [("float32", "many", 1e-5), ("int8", "many", 0.06), ("int8 ends", "many", 0.06)]
    + [("one", "one", 0.06)],
)
def test_the_device_gives_what_keras_gives(paths, models, scenes, file, model, error):
    device = ImageSegmenter(paths[file])
    pixels = images(6, seed=5)
    for image, expected in zip(pixels, confidences(models[model], scenes, pixels), strict=True):
        found = device.segment(image)
        np.testing.assert_allclose(found.confidence_masks, expected, atol=error)
        if model == "one":
            assert found.labels == ("background", "boat")
            np.testing.assert_array_equal(found.category_mask, found.confidence_masks[0] > 0.5)
        else:
            assert found.labels == LABELS
            best = found.confidence_masks.argmax(0)
            np.testing.assert_array_equal(found.category_mask, best)
            assert len(np.unique(best)) > 1


def test_the_file_has_logits_and_says_what_follows(paths):
    for file, activation in (("int8", "softmax"), ("one", "sigmoid")):
        found = kd.export.inspect(paths[file])
        (output,) = found.outputs
        assert (output.name, output.kind) == ("", "segmentation")
        assert output.layout == MaskLayout(activation)
        assert not {"SOFTMAX", "LOGISTIC"} & set(found.operators) and not found.float_islands
    assert found.labels == ("boat",)


def test_mediapipe_reads_the_metadata(paths):
    schema = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
    options = pytest.importorskip(
        "mediapipe.tasks.metadata.image_segmenter_metadata_schema_py_generated"
    )
    content = ModelFile.read(paths["float32"]).metadata.extra["TFLITE_METADATA"]
    metadata = schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(content, 0))
    assert metadata.minParserVersion == b"1.5.0"
    (custom,) = metadata.subgraphMetadata[0].customMetadata
    assert custom.name == b"SEGMENTER_METADATA"
    data = bytes(bytearray(custom.data))
    assert options.ImageSegmenterOptions.ImageSegmenterOptionsBufferHasIdentifier(data, 0)
    read = options.ImageSegmenterOptions.GetRootAs(data, 0)
    assert read.Activation() == options.Activation.SOFTMAX
    assert read.MinParserVersion() == b"1.0.0"


def in_mediapipe(path, pixels):
    """Return labels, confidence masks and category mask of MediaPipe Tasks."""
    try:
        import mediapipe as mp
        from mediapipe.tasks.python import BaseOptions, vision

        base = BaseOptions(model_asset_buffer=Path(path).read_bytes())
        options = vision.ImageSegmenterOptions(base, output_category_mask=True)
        task = vision.ImageSegmenter.create_from_options(options)
    except (ImportError, OSError) as error:
        pytest.skip(f"mediapipe cannot be loaded here: {error}")
    with task:
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=pixels)
        result = task.segment(image)
        masks = [mask.numpy_view().reshape(SIDE, SIDE).copy() for mask in result.confidence_masks]
        category = result.category_mask.numpy_view().reshape(SIDE, SIDE).copy()
        return tuple(task.labels), np.stack(masks), category


@pytest.mark.parametrize(("file", "error"), [("float32", 1e-5), ("int8", 1 / 256)])
def test_mediapipe_gives_the_same_masks(paths, file, error):
    device = ImageSegmenter(paths[file])
    for pixels in images(4, seed=6):
        labels, masks, category = in_mediapipe(paths[file], pixels)
        found = device.segment(pixels)
        assert labels == LABELS
        np.testing.assert_allclose(found.confidence_masks, masks, atol=error)
        np.testing.assert_array_equal(found.category_mask, category)


def test_mediapipe_has_other_numbers_for_one_class(paths):
    pixels = images(1, seed=6)[0]
    labels, masks, category = in_mediapipe(paths["one"], pixels)
    found = ImageSegmenter(paths["one"]).segment(pixels)
    assert labels == ("boat",) and set(np.unique(category)) == {0, 255}
    np.testing.assert_allclose(found.confidence_masks, masks, atol=1e-5)
    np.testing.assert_array_equal(found.category_mask, category == 0)


def test_mediapipe_differs_where_its_category_mask_has_aligned_corners(paths):
    """Its confidence masks are ours; the categories are those of another interpolation."""
    pixels = images(1, seed=6)[0]
    _, masks, category = in_mediapipe(paths["half"], pixels)
    device = ImageSegmenter(paths["half"])
    found = device.segment(pixels)
    np.testing.assert_allclose(found.confidence_masks, masks, atol=1e-5)
    np.testing.assert_array_equal(found.category_mask, masks.argmax(0))
    planes = np.moveaxis(device.run(pixels[None])[0][0], -1, 0)  # and of logits
    places = np.meshgrid(*[np.linspace(0, SIDE // 2 - 1, SIDE)] * 2, indexing="ij")
    aligned = np.stack([map_coordinates(plane, places, order=1) for plane in planes])
    np.testing.assert_array_equal(category, aligned.argmax(0))
    assert 0 < (category != found.category_mask).mean() < 0.1


def test_verification_by_position(paths, models, scenes):
    rng = np.random.default_rng(0)
    pixels = images(40, seed=7)
    ours = confidences(models["many"], scenes, pixels).argmax(1)
    true = np.where(rng.random(ours.shape) < 0.2, rng.integers(0, 4, ours.shape), ours)
    true[:, :2] = 255  # not labeled
    data = kd.data.pipeline(pixels, true, normalization=scenes.normalization)
    result = kd.export.verify(models["many"], paths["int8"], data)
    assert result.passed and result.kind == "segmentation" and result.agreement > 0.97
    device = ImageSegmenter(paths["int8"], output_confidence_masks=False)
    theirs = np.stack([device.segment(image).category_mask for image in pixels])
    known = true != 255
    for figure, one, other in (
        ("mask_iou", ours.ravel(), theirs.ravel()),
        ("keras_iou", true[known], ours[known]),
        ("iou", true[known], theirs[known]),
    ):
        expected = jaccard_score(one, other, average=None)
        by_class = [result.outputs[0].by_class[name][figure] for name in LABELS]
        np.testing.assert_allclose(by_class, expected)
        assert getattr(result, figure) == pytest.approx(expected.mean())
    assert result.iou_loss == pytest.approx(result.keras_iou - result.iou)
    assert result.accuracy == pytest.approx(accuracy_score(true[known], theirs[known]))
    text = str(result)
    assert "same class at a position" in text and "sand: IoU (of both " in text
    with pytest.raises(kd.export.VerificationError, match="min_mask_iou=0.9999, measured 0."):
        result.require(min_mask_iou=0.9999)


def test_verification_of_one_class_and_of_other_weights(paths, models, scenes):
    result = kd.export.verify(models["one"], paths["one"], scenes)
    assert result.passed and set(result.outputs[0].by_class) == {"background", "boat"}
    other = randomise(many_classes(), seed=1)
    found = kd.export.verify(other, paths["float32"], scenes)
    assert found.cause.startswith("other weights") and "min_mask_iou" in str(found.failures)


def test_the_error_of_a_choice_of_examples():
    """The spread of the mean IoU over other choices, which the default limits allow for."""
    rng = np.random.default_rng(0)
    ours = rng.random((400, 6, 6, 3))
    theirs = ours + rng.normal(0, 1, (400, 1, 1, 1)) * rng.normal(0, 0.2, ours.shape)

    def measure(chosen):
        return SEGMENTATION.measure(Compared(ours[chosen], theirs[chosen]))

    spread = np.std([measure(rng.integers(0, 400, 400)).values["mask_iou"] for _ in range(100)])
    assert measure(np.arange(400)).chance["mask_iou"] == pytest.approx(spread, rel=0.25)


def test_true_masks_of_several_forms():
    shape, masks = (2, 3, 3, 4), np.arange(18).reshape(2, 3, 3) % 4
    masks[0, 0] = 255
    expected = np.where(masks == 255, -1, masks)
    for given in (masks.astype("uint8"), masks[..., None], masks.astype("float32")):
        np.testing.assert_array_equal(fit_masks(given, shape)[0], expected)
    one_hot = np.eye(4)[masks % 4]
    np.testing.assert_array_equal(fit_masks(one_hot, shape)[0], masks % 4)
    assert fit_masks(None, shape) == (None, None)
    later = np.where(masks == 255, 255, masks + 1)
    assert fit_masks(later, shape)[1] == "masks up to 4 are not of 4 classes: IoU not measured"
    assert "do not fit outputs" in fit_masks(masks[:, :2], shape)[1]
    half = np.full((2, 3, 3), 0.5)
    assert fit_masks(half, shape)[1].startswith("masks must be class numbers")


def end_in(*end):
    return segmenter(*end, OutputDescription("segmentation"))


REFUSED = {
    r"behind a softmax or sigmoid. Received: linear of Conv2D 'logits'. End it in "
    r"keras.layers.Softmax\(\)": lambda: end_in(layers.Conv2D(4, 1, name="logits")),
    r"behind a softmax or sigmoid. Received: linear of UpSampling2D": lambda: end_in(
        layers.Conv2D(4, 1, activation="softmax"), layers.UpSampling2D()
    ),
    r"behind a softmax or sigmoid. Received: softmax over axis 1": lambda: end_in(
        layers.Conv2D(4, 1), layers.Softmax(axis=1)
    ),
    r"behind a sigmoid, for one class. Received: a softmax": lambda: end_in(
        layers.Conv2D(1, 1, activation="softmax")
    ),
    r"behind a softmax, for several classes. Received: a sigmoid for 4": lambda: end_in(
        layers.Conv2D(4, 1, activation="sigmoid")
    ),
    r"of shape \(height, width, classes\). Received: \(4,\), softmax of Dense": lambda: end_in(
        layers.GlobalAveragePooling2D(), layers.Dense(4, activation="softmax")
    ),
    r"of shape \(height, width, classes\). Received: \(16, 16\), linear of Argmax.*without an "
    "argmax": lambda: segmenter(layers.Conv2D(4, 1), lambda x: keras.ops.argmax(x, axis=-1)),
    r"the only output. Received: 2 outputs": lambda: two_outputs(),
    r"that of one image. Received: inputs of shape \[\(8, 8, 5\)\]": lambda: of_five_channels(),
}


def two_outputs():
    model = end_in(layers.Conv2D(4, 1, activation="softmax"))
    return keras.Model(model.inputs, {"mask": model.output, "logits": model.layers[-2].output})


def of_five_channels():
    x = inputs = keras.Input((8, 8, 5))
    x = layers.Conv2D(3, 1, activation="softmax")(x)
    return keras.Model(inputs, OutputDescription("segmentation")(x))


@pytest.mark.parametrize("said", REFUSED)
def test_a_declared_mask_that_no_device_can_read(said, tmp_path, normalization):
    with pytest.raises(ExportError, match=f"the segmentation of model .* must be {said}"):
        find_mask(REFUSED[said]())


def test_to_tflite_refuses_it_before_it_writes(tmp_path, normalization):
    model = end_in(layers.Conv2D(4, 1))
    with pytest.raises(ExportError, match="the segmentation of model 'small' must be behind"):
        kd.export.to_tflite(model, tmp_path / "a.tflite", preprocessing=normalization)
    assert not [*tmp_path.iterdir()]


def kind_of(model, **options):
    return find_outputs(model, model, **options)[0].kind


def test_what_is_a_mask_without_being_declared():
    """A softmax over several classes can be nothing else; a sigmoid may be a depth map."""
    softmax = layers.Conv2D(4, 1, activation="softmax")
    assert kind_of(segmenter(softmax)) == "segmentation"
    assert kind_of(segmenter(layers.Conv2D(1, 1, activation="sigmoid"))) == "scores"
    assert kind_of(segmenter(layers.Conv2D(3, 1))) == "scores"
    wide = keras.Input((8, 8, 5))
    assert kind_of(keras.Model(wide, layers.Softmax()(wide))) == "scores"


@pytest.mark.parametrize("classes", [1, 4])
def test_the_activation_is_cut_off_with_what_rounds_it(classes):
    """Also inside a nested model; rounding to 0 ... 1 must not remain on logits."""
    activation = "sigmoid" if classes == 1 else "softmax"
    fused = layers.Conv2D(classes, 1, activation=activation)
    inner = segmenter(fused, FakeQuantize(ranges=(0.0, 1.0)), name="inner")
    inputs = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(inputs, OutputDescription("segmentation")(inner(inputs)))
    assert find_mask(model).activation == activation
    cut = cut_last_activation(model)
    x = images(3, seed=2).astype("float32") / 255
    logits = cut.predict(x, verbose=0)
    assert logits.min() < -0.5 and logits.max() > 1.5
    found = MaskLayout(activation).confidences(logits)
    np.testing.assert_allclose(found, model.predict(x, verbose=0), atol=1 / 255)


def test_names_of_one_class():
    model = one_class()
    outputs = find_outputs(model, model)
    for given in (["boat"], ["water", "boat"]):
        assert assign_labels(outputs, given, None, None)[0].labels == tuple(given)
    with pytest.raises(ValueError, match="there are 3 labels, but the model has 1 outputs"):
        assign_labels(outputs, ["a", "b", "c"], None, None)


def test_preflight_knows_dead_ends(paths, normalization, tmp_path):
    """Class numbers for MediaPipe, TILE for microcontrollers."""
    assert kd.export.preflight(paths["int8"], ["mediapipe", "tflite-micro"], trials=False).require()

    class ClassNumbers(layers.Layer):
        def call(self, x):
            import tensorflow as tf

            return tf.argmax(x, axis=-1)

    up = layers.UpSampling2D(interpolation="nearest")
    dead = segmenter(up, layers.Conv2D(4, 1), ClassNumbers(), up=False)
    path = kd.export.to_tflite(dead, tmp_path / "a.tflite", preprocessing=normalization).path
    found = kd.export.preflight(path, ["mediapipe", "tflite-micro"], trials=False)
    (reason,) = found["mediapipe"].reasons
    assert "class numbers" in reason.why and "without its argmax" in reason.fix
    (reason,) = found["tflite-micro"].reasons
    assert reason.operator == "TILE" and "interpolation='bilinear'" in reason.fix
    with pytest.raises(ValueError, match="returns class numbers.*without its argmax"):
        ImageSegmenter(path)


def test_preflight_of_foreign_masks(paths):
    file = ModelFile.read(paths["float32"])
    assert [*mask_output(file)] == []
    silent = replace(file, metadata=replace(file.metadata, mask=None))
    (reason,) = mask_output(silent)
    assert "names no activation" in reason.why and not reason.certain

    def with_output(**changes):
        output = replace(file.outputs[0], **changes)
        return replace(file, graphs=(replace(file.graphs[0], outputs=(output,)),))

    (reason,) = mask_output(with_output(shape_signature=(1, -1, -1, 4)))
    assert "open size" in reason.why and "fixed size" in reason.fix
    (reason,) = mask_output(with_output(dtype="int16"))
    assert "the output is int16" in reason.why


@pytest.mark.parametrize("door", [edge, cli], ids=["python -m", "keras-dlcourse"])
def test_the_command(paths, door, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pixels = np.asarray(Image.fromarray(images(1, seed=6)[0]).resize((40, 30)))
    Image.fromarray(pixels).save("photo.png")
    words = ["photo.png", "-o", "overlay.png", "--masks", "mask.png"]
    assert door(["segment", str(paths["float32"]), *words]) == 0
    found = ImageSegmenter(paths["float32"]).segment(pixels)
    largest = max(found.areas, key=found.areas.get)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "photo.png" and lines[-2:] == ["  picture: overlay.png", "  mask: mask.png"]
    assert lines[1].split()[:2] == [f"{found.areas[largest]:.2%}", largest]
    np.testing.assert_array_equal(np.asarray(Image.open("mask.png")), found.category_mask)
    drawn = np.asarray(kd.edge.draw_segmentation(pixels, found))
    np.testing.assert_array_equal(np.asarray(Image.open("overlay.png")), drawn)


def test_the_command_that_verifies_takes_any_images(paths, models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for number, pixels in enumerate(images(4, seed=6)):
        Image.fromarray(pixels).save(f"photos/{number}.png")
    models["many"].save("model.keras")
    words = ["verify", "model.keras", str(paths["int8"]), "photos"]
    assert cli([*words, "--min-mask-iou", "0.5"]) == 0
    assert "IoU of both masks" in capsys.readouterr().out
    assert cli([*words, "--min-mask-iou", "1"]) == 1
    assert "min_mask_iou=1, measured 0." in capsys.readouterr().err


def test_the_command_in_json_and_its_mistakes(paths, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(images(1, seed=6)[0]).save("photo.png")
    assert edge(["segment", str(paths["one"]), "photo.png", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    background, boat = result["areas"]
    assert background["color"] is None and boat["color"] == "#56b4e9"
    assert background["share"] + boat["share"] == pytest.approx(1)
    assert edge(["segment", str(paths["one"]), "photo.png", "--masks", "mask.jpg"]) == 1
    assert "--masks must be a file name that ends in one of .png" in capsys.readouterr().err
    assert edge(["segment", str(paths["one"]), "missing.png"]) == 1
    assert "missing.png: No such file" in capsys.readouterr().err
