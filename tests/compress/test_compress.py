"""A recipe of several methods: measured after each, resumed, drawn."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import keras_dlcourse as kd
from keras_dlcourse.compress import compression


@pytest.fixture(scope="module")
def data() -> kd.data.Dataset:
    """Three classes of bright squares, easily told apart."""
    rng = np.random.default_rng(0)

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 3, n)
        pixels = rng.integers(0, 60, (n, 8, 8, 1))
        for image, label in zip(pixels, labels, strict=True):
            image[2 * label : 2 * label + 3] += 150
        return pixels.astype("uint8"), labels

    return kd.data.Dataset.from_parts("squares", part(256), part(32), part(64), ("a", "b", "c"))


@pytest.fixture(scope="module")
def model(data: kd.data.Dataset) -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(data.image_shape),
            layers.Conv2D(16, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(data.train, epochs=6, verbose=0)
    return model


OPTIONS = {"epochs": 2, "sparsity": 0.75, "clusters": 8}


@pytest.fixture(scope="module")
def before(model: keras.Model) -> list[np.ndarray]:
    return [weight.copy() for weight in model.get_weights()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compressed")


@pytest.fixture(scope="module")
def first(before, model, data, folder: Path) -> compression.Compression:
    return kd.compress.compress(model, "prune + int8", data, folder, **OPTIONS)


def test_each_method_is_measured(first, before, model, data, folder: Path) -> None:
    assert [stage.name for stage in first.stages] == ["float", "prune", "prune+int8"]
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    whole, pruned, small = first.stages
    assert pruned.raw > 0.95 * whole.raw and pruned.zip < 0.5 * whole.zip
    assert small.raw < 0.5 * whole.raw and small.zip < 0.5 * pruned.zip
    assert pruned.parameters == whole.parameters == model.count_params()
    assert min(stage.accuracy for stage in first.stages) > 0.9
    assert "prune+int8" in str(first) and f"{small.zip:,}" in str(first)
    file = kd.edge.ImageClassifier(small.path)
    right = np.mean(file.scores(data.test.x).argmax(1) == data.test.y)
    assert (file.labels, right) == (("a", "b", "c"), pytest.approx(small.accuracy))
    sparse = kd.compress.sparsity(first.model)
    assert "75" in str(sparse)
    with Image.open(folder / "pareto.png") as picture:
        assert picture.size[0] > 600


def test_a_second_run_goes_on(first, model, data, folder: Path) -> None:
    small = first.stages[-1]
    # The same again, with one more method before the last: what is there is not made again.
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.keras")}
    again = kd.compress.compress(model, "prune+cluster+int8", data, folder, **OPTIONS)
    assert [stage.name for stage in again.stages][:3] == ["float", "prune", "prune+cluster"]
    kept = [path for path in times if path.stat().st_mtime_ns == times[path]]
    assert {path.name for path in kept} >= {"0_float.keras", "1_prune.keras"}
    assert again.stages[:2] == first.stages[:2]
    assert again.stages[-1].zip < small.zip


def test_with_another_option_a_stage_is_made_again(first, model, data, folder: Path) -> None:
    pruned = first.stages[1]
    other = kd.compress.compress(model, "prune", data, folder, **{**OPTIONS, "sparsity": 0.5})
    assert other.stages[1].key != pruned.key and other.stages[1].zip > pruned.zip


def test_a_lost_file_or_damaged_record_is_made_again(model, data, tmp_path: Path) -> None:
    first = kd.compress.compress(model, "calibrate", data, tmp_path)
    Path(first.stages[-1].path).unlink()
    again = kd.compress.compress(model, "calibrate", data, tmp_path)
    assert Path(again.stages[-1].path).is_file()
    assert again.stages[-1].accuracy == first.stages[-1].accuracy
    (tmp_path / compression.RECORD).write_text("[{")
    third = kd.compress.compress(model, "calibrate", data, tmp_path)
    assert [stage.zip for stage in third.stages] == [stage.zip for stage in again.stages]
    assert len(json.loads((tmp_path / compression.RECORD).read_text())) == 2


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("prune+shrink", "recipe must contain only filters, prune.* with 'shrink'"),
        ("prune+prune", "which repeats 'prune'"),
        ("int8+prune", "'int8' must come last"),
        ("", "recipe must contain only .* with ''"),
    ],
)
def test_bad_recipes(model, data, tmp_path: Path, recipe: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kd.compress.compress(model, recipe, data, tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError, match="Dataset with training and test splits.*Received: tuple"):
        kd.compress.compress(model, "prune", (1, 2), tmp_path)
