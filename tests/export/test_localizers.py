"""Files with a class, a box and keypoints: their order, their numbers, and the places they mean."""

from __future__ import annotations

import io
import json
import os
import subprocess
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from small_models import images, randomise

import keras_dlcourse as kd
from keras_dlcourse.edge import ImageClassifier, InvalidModel, KeypointDetector, ObjectLocalizer
from keras_dlcourse.edge.__main__ import main
from keras_dlcourse.edge.description.layouts import BOX_LAYOUTS, BoxLayout, KeypointLayout
from keras_dlcourse.edge.vision.window import Window

ROOT = Path(__file__).parents[2]
LABELS = ("bird", "flower", "fruit")
POINTS = ("left", "right")
SIDE = 16


def _backbone() -> keras.Model:
    layers = keras.layers
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    return keras.Model(inputs, layers.ReLU(6.0)(layers.BatchNormalization()(x)))


def _localizer(**options) -> keras.Model:
    return randomise(kd.models.localizer(_backbone(), 3, **options))


@pytest.fixture(scope="module")
def model():
    return _localizer(keypoints=POINTS)


@pytest.fixture(scope="module")
def scenes(normalization):
    return kd.data.pipeline(images(), normalization=normalization, class_names=LABELS)


@pytest.fixture(scope="module")
def paths(tmp_path_factory, model, scenes):
    folder = tmp_path_factory.mktemp("localizers")
    return {
        name: kd.export.to_tflite(
            model, folder / f"{name}.tflite", quantization=name, calibration=scenes
        ).path
        for name in ("float32", "int8")
    }


def _predicted(model, scenes, pixels):
    return model.predict(scenes.prepare(pixels), verbose=0)


@pytest.mark.parametrize("name", ["float32", "int8"])
def test_the_outputs_are_named_in_their_order(paths, name):
    file = kd.edge.ModelFile.read(paths[name])
    metadata = file.metadata
    assert metadata.outputs == ("label", "box", "keypoints")
    assert [tensor.shape for tensor in file.outputs] == [(1, 3), (1, 4), (1, 4)]
    assert metadata.labels == LABELS
    assert metadata.boxes == {"box": BoxLayout("center")}
    assert metadata.keypoints == {"keypoints": KeypointLayout("box", POINTS)}
    if name == "int8":
        scales = [tensor.scales[0] for tensor in file.outputs]
        assert scales[0] == scales[1] == 1 / 256  # a softmax and a sigmoid
        assert scales[2] != scales[0]


@pytest.mark.parametrize(("name", "error"), [("float32", 1e-5), ("int8", 0.06)])
def test_the_device_gives_what_keras_gives(paths, model, scenes, name, error):
    pixels = images(20, seed=5)
    expected = _predicted(model, scenes, pixels)
    found = ObjectLocalizer(paths[name]).run(pixels)
    for number, output in enumerate(("label", "box", "keypoints")):
        spread = np.ptp(expected[output], axis=0).max()
        assert spread > 0.2, "images are not told apart"
        assert np.abs(found[number] - expected[output]).max() < error * max(spread, 1)


def test_verification_measures_every_output(paths, model, scenes):
    result = kd.export.verify(model, paths["int8"], scenes)
    assert set(result.coordinate_errors) == {"box", "keypoints"}
    largest, mean = result.coordinate_errors["box"]
    assert 0 < mean < largest < 0.05
    assert result.agreement > 0.9 and result.same_weights
    assert "box: largest, mean error" in str(result)
    other = _localizer()
    with pytest.raises(ValueError, match=r"has the outputs \['box', 'label'\].*keypoints"):
        kd.export.verify(other, paths["float32"], scenes)


@pytest.mark.parametrize("bounding_box_format", sorted(BOX_LAYOUTS))
def test_boxes_of_every_format_are_put_in_the_image(
    bounding_box_format, scenes, normalization, tmp_path
):
    model = _localizer(bounding_box_format=bounding_box_format)
    kd.export.to_tflite(model, tmp_path / "a.tflite", labels=LABELS, preprocessing=normalization)
    localizer = ObjectLocalizer(tmp_path / "a.tflite")
    assert localizer.model_file.metadata.boxes["box"] == BOX_LAYOUTS[bounding_box_format]
    for pixels in images(6, seed=3):
        wide = np.array(Image.fromarray(pixels).resize((160, 80), Image.Resampling.NEAREST))
        seen = kd.edge.resize(wide, (SIDE, SIDE))
        box = _predicted(model, scenes, seen[None])["box"]
        edges = kd.data.convert_boxes(box, bounding_box_format, "rel_xyxy")[0]
        edges = np.clip(np.concatenate([edges[:2], np.maximum(edges[:2], edges[2:])]), 0, 1)
        found = localizer.locate(wide).bounding_box
        left, top, right, bottom = np.round(edges * [160, 80, 160, 80])
        assert found == (left, top, right - left, bottom - top)


@pytest.mark.parametrize("relative_to", ["image", "box"])
def test_keypoints_are_put_in_the_image(relative_to, scenes, normalization, tmp_path):
    model = randomise(
        kd.models.keypoint_regressor(_backbone(), ["a", "b", "c"], relative_to=relative_to)
    )
    path = tmp_path / "pose.tflite"
    kd.export.to_tflite(model, path, preprocessing=normalization)
    detector = KeypointDetector(path)
    assert detector.model_file.metadata.labels is None
    pixels = images(1, seed=4)
    output = _predicted(model, scenes, pixels)
    expected = output["keypoints"].reshape(1, 3, 2)
    if relative_to == "box":
        edges = kd.data.convert_boxes(output["box"], "rel_center_xywh", "rel_xyxy")
        expected = kd.data.keypoints_from_box(expected, np.clip(edges, 0, 1))
    found = detector.detect(pixels[0])
    np.testing.assert_allclose([(x, y) for x, y, _ in found.keypoints], expected[0], atol=1e-5)
    assert [point.label for point in found.keypoints] == ["a", "b", "c"]
    assert (found.bounding_box is None) == (relative_to == "image") and found.categories == []
    with pytest.raises(ValueError, match="no class scores|has no box"):
        ObjectLocalizer(path)


def test_places_in_the_centre_of_a_cropped_image(paths):
    """What the network sees of a wide image is its middle; places are those in the whole."""
    pixels = images(1, seed=7)[0]
    wide = np.zeros((SIDE, 3 * SIDE, 3), np.uint8)
    wide[:, SIDE : 2 * SIDE] = pixels
    whole, cropped = (
        ObjectLocalizer(paths["float32"], crop=crop).locate(image)
        for crop, image in ((False, pixels), (True, wide))
    )
    assert cropped.categories == whole.categories
    assert cropped.bounding_box == whole.bounding_box._replace(
        origin_x=whole.bounding_box.origin_x + SIDE
    )
    for inner, outer in zip(whole.keypoints, cropped.keypoints, strict=True):
        assert outer.x == pytest.approx((inner.x + 1) / 3) and outer.y == pytest.approx(inner.y)


def test_a_localizer_is_a_classifier_too(paths):
    localizer, pixels = ObjectLocalizer(paths["int8"]), images(3, seed=9)
    for image in pixels:
        found = localizer.locate(image, max_results=2).categories
        assert found == localizer.classify(image, 2)
        assert found == ImageClassifier(paths["int8"]).classify(image, 2)
    with pytest.raises(ValueError, match="max_results must be an integer of at least 1"):
        localizer.locate(pixels[0], max_results=0)


def test_quantization_aware_training_works_unchanged(scenes, normalization, tmp_path):
    keras.utils.set_random_seed(0)
    model = kd.quantize.quantization_aware(_localizer(keypoints=2))
    loss = kd.losses.MultitaskLoss(
        {"label": "sparse_categorical_crossentropy", "box": kd.losses.SmoothL1Loss(),
         "keypoints": kd.losses.KeypointLoss()},
        {"label": 1, "box": 1, "keypoints": 1},
    )  # fmt: skip
    trainer = kd.models.MultitaskModel(model, loss)
    trainer.compile(keras.optimizers.Adam(1e-3))
    rng = np.random.default_rng(0)
    labels = {"label": rng.integers(0, 3, 120), "box": rng.uniform(0.2, 0.5, (120, 4)),
              "keypoints": np.concatenate([rng.normal(size=(120, 2, 2)) * 0.2,
                                           np.ones((120, 2, 1))], axis=2)}  # fmt: skip
    labels = {name: values.astype("float32" if name != "label" else int)
              for name, values in labels.items()}  # fmt: skip
    trainer.fit(scenes.prepare(scenes.x), labels, epochs=2, verbose=0)
    result = kd.export.to_tflite(
        model, tmp_path / "q.tflite", labels=LABELS, preprocessing=normalization
    )
    assert result.quantization == "int8" and not result.float_islands
    measured = kd.export.verify(model, result, scenes)
    # A tie of the features that is rounded the other way makes up to two steps of the scores: so in
    # 5 of 16 seeds, with a mean of 0.011 steps at most.
    assert measured.max_error_steps <= 2.01 and measured.mean_error_steps < 0.05
    assert measured.agreement > 0.99
    steps = {t.name: t.scales[0] for t in kd.edge.ModelFile.read(result.path).outputs}
    for name, (_, mean) in measured.coordinate_errors.items():
        assert mean < 0.5 * steps[name]


def _damaged(path: Path, name: str, value: object) -> bytes:
    """Return the file with another record of its keypoints."""
    from keras_dlcourse.export.writing.metadata import OWN, _add_entries

    content = path.read_bytes()
    record = json.loads(kd.edge.ModelFile.read(content).metadata.extra[OWN])
    record["keypoints"]["keypoints"][name] = value
    damaged = io.BytesIO(_add_entries(content, {OWN: json.dumps(record).encode()}))
    with zipfile.ZipFile(damaged, "a") as archive:
        archive.writestr("labels.txt", "\n".join(LABELS))
    return damaged.getvalue()


def test_files_that_are_no_localizers_are_said(paths, files, scenes, normalization, tmp_path):
    with pytest.raises(ValueError, match="has no box output. Outputs in its metadata: scores"):
        ObjectLocalizer(files["float32"].path)
    kd.export.to_tflite(
        _localizer(),
        tmp_path / "a.tflite",
        labels=LABELS,
        preprocessing=kd.data.Normalization.identity(),
    )
    with pytest.raises(ValueError, match="has no keypoint output. .*label, box"):
        KeypointDetector(tmp_path / "a.tflite", mean=0, std=1)
    with pytest.raises(InvalidModel, match="names 3 keypoints but outputs 2"):
        ObjectLocalizer(_damaged(paths["float32"], "names", ["a", "b", "c"]))
    with pytest.raises(InvalidModel, match="keypoint record that cannot be read"):
        ObjectLocalizer(_damaged(paths["float32"], "names", 3))
    nameless = kd.export.to_tflite(_localizer(), tmp_path / "b.tflite", preprocessing=normalization)
    with pytest.raises(ValueError, match="does not name its 3 classes"):
        ObjectLocalizer(nameless.path).locate(images(1)[0])


def test_models_that_do_not_say_enough_are_refused(tmp_path):
    model = _localizer()
    both = keras.Model(
        model.inputs, {**model.output, "kind": keras.layers.Dense(2)(model.output["label"])}
    )
    with pytest.raises(
        ValueError, match="OutputDescription .*Received: outputs label, kind without"
    ):
        kd.export.to_tflite(
            both, tmp_path / "a.tflite", preprocessing=kd.data.Normalization.identity()
        )
    with pytest.raises(ValueError, match="2 labels, but the model has 3 outputs"):
        kd.export.to_tflite(
            model,
            tmp_path / "a.tflite",
            labels=LABELS[:2],
            preprocessing=kd.data.Normalization.identity(),
        )


def test_boxes_outside_are_brought_in_and_strange_numbers_do_no_harm():
    layout = BoxLayout("boundaries", in_pixels=True)
    numbers = np.array([[-4, 2, 30, 8], [6, 6, 2, 2], [np.nan, 0, 8, 8]], np.float32)
    edges = layout.edges(numbers, (8, 16))
    np.testing.assert_allclose(edges, [[0, 0.25, 1, 1], [0.375, 0.75, 0.375, 0.75], [0, 0, 0, 1]])
    assert Window(0, 0, 16, 8).box(edges[1]) == (6, 6, 0, 0)


@pytest.fixture
def photo(tmp_path, monkeypatch, paths):
    monkeypatch.chdir(tmp_path)
    for name in paths:
        Path(f"{name}.tflite").write_bytes(paths[name].read_bytes())
    picture = Image.fromarray(images(1, seed=2)[0]).resize((200, 120), Image.Resampling.NEAREST)
    picture.save("photo.png")
    return np.array(picture)


def test_the_command_prints_and_draws(photo, capsys):
    assert main(["locate", "int8.tflite", "photo.png", "-o", "drawn.png"]) == 0
    found = ObjectLocalizer("int8.tflite").locate("photo.png", max_results=1)
    box, best = found.bounding_box, found.categories[0]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "photo.png" and said[1] == f"  {best.score:.4f}  {best.label}"
    assert said[2] == f"  box: {box.width} x {box.height} pixels at {box.origin_x}, {box.origin_y}"
    assert said[3].startswith("  left: ") and said[5] == "  picture: drawn.png"
    drawn = np.array(Image.open("drawn.png"))
    assert drawn.shape == photo.shape
    middle = min(max(box.origin_y + box.height // 2, 0), 119)
    assert (drawn[middle, box.origin_x] != photo[middle, box.origin_x]).any()
    assert main(["locate", "int8.tflite", "photo.png", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["bounding_box"] == box._asdict()
    assert [point["label"] for point in result["keypoints"]] == list(POINTS)


def test_the_command_says_what_is_wrong(photo, capsys):
    Path("bad.png").write_text("no image")
    assert main(["locate", "int8.tflite", "bad.png", "photo.png", "-o", "drawn"]) == 1
    output = capsys.readouterr()
    assert "bad.png" in output.err or "image" in output.err
    assert Path("drawn/photo.png").exists() and not Path("drawn/bad.png").exists()
    assert main(["locate", "int8.tflite", "photo.png", "-o", "drawn.xyz"]) == 1
    error = capsys.readouterr().err
    assert "--output must be a file name that ends in .png" in error and "drawn.xyz" in error
    assert main(["locate", "missing.tflite", "photo.png"]) == 1


@pytest.mark.skipif("KD_RUNTIME_PYTHON" not in os.environ, reason="no old board's environment")
def test_on_an_old_board(photo):
    """tflite-runtime, NumPy 1 and Pillow: no Keras, and the same answer."""
    done = subprocess.run(
        [os.environ["KD_RUNTIME_PYTHON"], "-m", "keras_dlcourse.edge", "locate", "int8.tflite",
         "photo.png", "--json", "-o", "board.png"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["runtime"].startswith("tflite-runtime") and Path("board.png").exists()
    found = ObjectLocalizer("int8.tflite").locate("photo.png", max_results=1)
    box = answer["results"][0]["bounding_box"]
    assert np.abs(np.array(list(box.values())) - found.bounding_box).max() <= 2
