"""Maps on the device: from the file's second output to a picture, with NumPy and Pillow alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as tflite
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import keras_dlcourse as kd
from keras_dlcourse.edge import Category, ImageClassifier, InvalidModel, overlay, resize
from keras_dlcourse.edge.__main__ import main
from keras_dlcourse.edge.vision.class_map import apply_colormap, enlarge

ROOT = Path(__file__).parents[2]
LABELS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Each class is a colour: its map is where the image has more of it than of the others."""
    inputs = keras.Input((16, 12, 3))
    x = keras.layers.AveragePooling2D(2)(inputs)
    x = keras.layers.Conv2D(3, 1, activation="relu", name="colours")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(3, activation="softmax", name="scores")(x)
    model = keras.Model(inputs, x)
    mix = 0.8 * np.eye(3) - 0.2
    model.get_layer("colours").set_weights([mix[None, None], np.zeros(3)])
    model.get_layer("scores").set_weights([9 * np.eye(3) - 2, np.array([0.1, 0.2, 0.3])])
    return model


@pytest.fixture(scope="module")
def content(model, tmp_path_factory) -> dict[str, bytes]:
    """The files: mapped in float and in integers, and one without a map."""
    folder, pixels = tmp_path_factory.mktemp("edge"), pictures(120, seed=1)
    data = kd.data.pipeline(
        pixels, np.zeros(120, int), normalization=kd.data.Normalization(0.0, 255.0)
    )
    files = {"float32": ("float32", True), "int8": ("int8", True), "plain": ("float32", False)}
    return {
        name: kd.export.to_tflite(
            model, folder / name, quantization=quantization, calibration=data, labels=LABELS,
            class_map=class_map,
        ).path.read_bytes()
        for name, (quantization, class_map) in files.items()
    }  # fmt: skip


def pictures(n: int = 6, seed: int = 0, size: tuple[int, int] = (16, 12)) -> np.ndarray:
    """A patch of one colour somewhere on dull ground."""
    rng = np.random.default_rng(seed)
    found = rng.integers(90, 130, (n, *size, 3))
    for image in found:
        y, x = rng.integers(0, size[0] // 2), rng.integers(0, size[1] // 2)
        patch = image[y : y + size[0] // 2, x : x + size[1] // 2]
        patch[..., rng.integers(3)] = rng.integers(200, 256)
    return found.astype("uint8")


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_classify_with_map(content, model, kind):
    classifier = ImageClassifier(content[kind])
    for image in pictures():
        result = classifier.classify(image, max_results=2, with_map=True)
        assert result.categories == classifier.classify(image, max_results=2)
        assert isinstance(result.categories[0], Category)
        expected = kd.explain.cam(model, image[None] / 255, [[0, 1, 2]], raw=True)[0]
        tolerance = 1e-4 if kind == "float32" else np.ptp(expected) / 50
        np.testing.assert_allclose(result.class_maps, np.moveaxis(expected, 0, -1), atol=tolerance)
        assert result.class_maps.dtype == np.float32


def test_map_of_a_class_by_index_label_and_score(content):
    classifier = ImageClassifier(content["float32"])
    tops = set()
    for image in pictures(12):
        categories, maps = classifier.classify(image, with_map=True)
        tops.add(categories[0].index)
        np.testing.assert_array_equal(classifier.class_map(image), maps[..., categories[0].index])
        for index, label in enumerate(LABELS):
            np.testing.assert_array_equal(classifier.class_map(image, index), maps[..., index])
            np.testing.assert_array_equal(classifier.class_map(image, label), maps[..., index])
        assert maps.shape == (8, 6, 3)
    assert tops == {0, 1, 2}  # else the first test says little


def test_the_map_falls_on_what_it_is_of(content):
    image = np.full((160, 120, 3), 100, "uint8")
    image[20:60, 70:110, 2] = 255
    found = ImageClassifier(content["float32"]).class_map(image, full_size=True)
    assert found.shape == (160, 120)
    y, x = np.unravel_index(found.argmax(), found.shape)
    assert 20 <= y < 60
    assert 70 <= x < 110
    assert found[30:50, 80:100].min() > found[80:, :60].max()


def test_a_cropping_classifier_says_where_it_did_not_look(content):
    image = pictures(1, size=(160, 200))[0]
    classifier = ImageClassifier(content["float32"], crop=True)
    found = classifier.class_map(image, "blue", full_size=True)
    assert np.isnan(found[:, :40]).all()
    assert np.isnan(found[:, 160:]).all()
    seen = image[:, 40:160]  # 160 x 120 has the shape of the input
    alone = ImageClassifier(content["float32"]).class_map(seen, "blue", full_size=True)
    # A pixel at the border may be rounded to its neighbour; a place apart is more than that.
    np.testing.assert_allclose(found[:, 40:160], alone, atol=0.1)
    assert np.ptp(alone) > 0.8
    picture = np.asarray(overlay(image, found))
    np.testing.assert_array_equal(picture[:, :40], image[:, :40])
    assert (picture[:, 40:160] != seen).any(-1).mean() > 0.9


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    factor=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
def test_enlarging_is_bilinear(shape, factor, seed):
    plane = np.random.default_rng(seed).normal(size=shape)
    size = shape[0] * factor[0], shape[1] * factor[1]
    rows, columns = (
        np.clip((np.arange(n) + 0.5) * small / n - 0.5, 0, small - 1)
        for n, small in zip(size, shape, strict=True)
    )
    across = np.stack([np.interp(columns, range(shape[1]), row) for row in plane])
    expected = np.stack([np.interp(rows, range(shape[0]), column) for column in across.T], axis=1)
    found = enlarge(plane, size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), aspect=st.floats(0.05, 20))
def test_a_crop_of_any_shape_is_one_block(size, aspect):
    found = enlarge(np.ones((3, 2)), size, aspect)
    seen = ~np.isnan(found)
    assert found.shape == size
    assert seen.sum() == seen.any(1).sum() * seen.any(0).sum() >= 1


class TestOverlay:
    def test_the_colours_are_those_of_viridis(self):
        matplotlib = pytest.importorskip("matplotlib")
        values = np.linspace(0, 1, 256)
        expected = 255 * matplotlib.colormaps["viridis"](values)[:, :3]
        assert np.abs(apply_colormap(values) - expected).max() <= 1
        assert np.diff(apply_colormap(values) @ [0.2126, 0.7152, 0.0722]).min() > 0  # ever lighter

    def test_blend_of_map_and_pale_grey_image(self):
        image = np.full((1, 2, 3), (200, 100, 50), "uint8")
        grey = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
        pale = 128 + 0.8 * (round(grey) - 128)
        found = np.asarray(overlay(image, np.array([[-5.0, 7.0]]), opacity=0.25))
        expected = 0.75 * pale + 0.25 * np.array([[68, 1, 84], [253, 231, 37]])
        np.testing.assert_allclose(found[0], expected, atol=1)

    def test_a_map_that_is_the_same_everywhere_is_the_least(self):
        image = np.zeros((2, 2, 1), "uint8")
        flat, scaled = (overlay(image, np.full((2, 2), v), opacity=1) for v in (3.7, 0.0))
        assert flat.getpixel((0, 0)) == scaled.getpixel((1, 1)) == (68, 1, 84)

    def test_bad_input(self):
        image = np.zeros((4, 4, 3), "uint8")
        with pytest.raises(ValueError, match=r"\(2, 2\).*\(4, 4\).*full_size=True"):
            overlay(image, np.zeros((2, 2)))
        with pytest.raises(ValueError, match="opacity must be a number from 0 to 1. Received: 2"):
            overlay(image, np.zeros((4, 4)), opacity=2)


def test_files_without_a_map(content):
    classifier, image = ImageClassifier(content["plain"]), pictures(1)[0]
    assert len(classifier.classify(image)) == 3
    for call in (
        lambda: classifier.class_map(image),
        lambda: classifier.classify(image, with_map=True),
    ):
        with pytest.raises(ValueError, match=r"has no class map. Export it with.*class_map=True"):
            call()


@pytest.mark.parametrize(
    ("category", "error", "message"),
    [
        ("violet", ValueError, "category must be one of 'red', 'green', 'blue'. .*: 'violet'"),
        (3, ValueError, "index from 0 to 2. Received: 3"),
        (-1, ValueError, "Received: -1"),
        (1.0, TypeError, r"Received: 1\.0"),
        (True, TypeError, "index from 0 to 2. Received: True"),
    ],
)
def test_classes_that_are_not_there(content, category, error, message):
    with pytest.raises(error, match=message):
        ImageClassifier(content["float32"]).class_map(pictures(1)[0], category)


def with_outputs(content: bytes, choose) -> bytes:
    """Return the file with other outputs than its metadata say."""
    model = tflite.ModelT.InitFromPackedBuf(content, 0)
    model.subgraphs[0].outputs = choose(*model.subgraphs[0].outputs)
    builder = flatbuffers.Builder(len(content) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    start = content.rfind(b"PK\x03\x04")
    return bytes(builder.Output()) + content[start:]


@pytest.mark.parametrize(
    ("choose", "found"),
    [(lambda scores, _: [scores], "missing"), (lambda scores, _: [scores, scores], r"\(1, 3\)")],
)
def test_a_file_that_lacks_the_map_that_it_names(content, choose, found):
    classifier = ImageClassifier(with_outputs(content["float32"], choose))
    assert len(classifier.classify(pictures(1)[0])) == 3  # its scores are sound
    with pytest.raises(InvalidModel, match=f"class map must have the shape.*3.*Received: {found}"):
        classifier.class_map(pictures(1)[0])


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch, content):
        monkeypatch.chdir(tmp_path)
        for name, file in content.items():
            Path(f"{name}.tflite").write_bytes(file)
        for name, image in zip("ab", pictures(2, size=(48, 60)), strict=True):
            Image.fromarray(image).save(f"{name}.png")
        return tmp_path

    def test_one_image(self, folder, capsys):
        assert main(["classify", "float32.tflite", "a.png", "--map", "maps/overlay.png"]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "  map: maps/overlay.png"
        classifier = ImageClassifier("float32.tflite")
        expected = overlay("a.png", classifier.class_map("a.png", full_size=True))
        with Image.open("maps/overlay.png") as picture:
            assert picture.size == (60, 48)
            np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))

    def test_several_images_go_into_a_folder(self, folder, capsys):
        arguments = ["classify", "int8.tflite", "a.png", "b.png", "--map", "maps", "--json"]
        assert main(arguments) == 0
        found = json.loads(capsys.readouterr().out)["results"]
        assert [result["map"] for result in found] == ["maps/a.png", "maps/b.png"]
        assert sorted(path.name for path in Path("maps").iterdir()) == ["a.png", "b.png"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["plain.tflite", "a.png", "--map", "o.png"], "plain.tflite has no class map"),
            (["float32.tflite", "a.png", "--map", "o.txt"], "that ends in .png"),
            (["float32.tflite", "a.png", "--map", "o"], "or another image format. Received: o"),
            (["float32.tflite", "a.png", "./a.png", "--map", "o"], "have the same name"),
        ],
    )
    def test_bad_input_is_a_sentence(self, folder, capsys, arguments, message):
        assert main(["classify", *arguments]) == 1
        said = capsys.readouterr()
        assert message in said.err
        assert len(said.err.splitlines()) == 1
        assert not Path("o.png").exists()
        assert not Path("o").exists()

    @pytest.mark.skipif(
        "KD_RUNTIME_PYTHON" not in os.environ,
        reason="KD_RUNTIME_PYTHON names no interpreter that has tflite-runtime",
    )
    @pytest.mark.parametrize("kind", ["float32", "int8"])
    def test_tflite_runtime_draws_the_same(self, folder, kind):
        drawn = []
        for python in (sys.executable, os.environ["KD_RUNTIME_PYTHON"]):
            subprocess.run(
                [python, "-m", "keras_dlcourse.edge", "classify", f"{kind}.tflite", "a.png",
                 "--map", "overlay.png"],
                check=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            drawn.append(np.asarray(Image.open("overlay.png")).astype(int))
        assert np.abs(drawn[0] - drawn[1]).max() <= (1 if kind == "float32" else 8)


def test_only_what_a_device_has_is_imported(content, tmp_path):
    (tmp_path / "m.tflite").write_bytes(content["float32"])
    Image.fromarray(resize(pictures(1)[0], (40, 30))).save(tmp_path / "a.png")
    script = (
        "import sys; from keras_dlcourse.edge.__main__ import main\n"
        "main(['classify', 'm.tflite', 'a.png', '--map', 'o.png'])\n"
        "print(sorted({'keras', 'tensorflow', 'matplotlib', 'scipy'}\n"
        "             & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "o.png").stat().st_size > 0
