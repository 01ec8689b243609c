"""The record of a run's split: by content, whatever the images are stored in."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import keras_dlcourse as kd
from keras_dlcourse.data.image_files import ImageFiles
from keras_dlcourse.training import RunFolder, find_held_out
from keras_dlcourse.training.run.split_record import SplitRecord, record_split


def parts(train, validation, test):
    names = zip(("train", "validation", "test"), (train, validation, test), strict=True)
    return SimpleNamespace(**{name: SimpleNamespace(x=x) for name, x in names})


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3)).astype("uint8")


def test_arrays_are_known_by_their_pixels(images, tmp_path):
    folder = RunFolder(tmp_path / "run")
    record_split(parts(images[:3], images[3:4], images[[4, 0]]), folder)
    content = json.loads(folder.split.read_text())
    assert content["of"] == "pixels" and list(map(len, list(content.values())[1:])) == [3, 1, 2]
    assert content["train"][1] == hashlib.sha256(images[1].tobytes()).hexdigest()[:32]
    record = SplitRecord.read(folder.path)
    expected = ["train", "train", "train", "validation", "test", ""]
    assert record.find_uses([], images).tolist() == expected
    assert record.find_uses([], images.astype("float32")).tolist() == expected
    scaled = RunFolder(tmp_path / "scaled")
    record_split(parts(*(images[:2] / 255,) * 3), scaled)
    assert SplitRecord.read(scaled.path).of == "numbers"


def test_files_are_known_whatever_they_are_called_and_resized_to(images, tmp_path):
    photos = tmp_path / "photos"
    for number, image in enumerate(images):
        path = photos / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    cached, lazy = (
        kd.data.image_folder(photos, image_size=size, cache=size == 8) for size in (8, 12)
    )
    records = []
    for data in (cached, lazy):
        folder = RunFolder(tmp_path / str(data.image_shape[0]))
        record_split(data, folder)
        records.append(SplitRecord.read(folder.path))
    assert records[0] == records[1] and records[0].of == "files"
    given = parts(*(ImageFiles(paths, (8, 8)) for paths in cached.files.paths.values()))
    record_split(given, folder)  # the same files once more
    for name, paths in cached.files.paths.items():
        images = getattr(cached, name).x
        assert np.array_equal(ImageFiles(paths, (8, 8))[:], images)
        assert records[0].find_uses(paths, None).tolist() == [name] * len(images)


def test_another_split_does_not_go_on(images, tmp_path):
    folder = RunFolder(tmp_path / "run")
    record_split(parts(images[:4], images[4:5], images[5:]), folder)
    with pytest.raises(ValueError, match="Received: another train part, another test part. Use"):
        record_split(parts(images[1:4], images[4:5], images[:1]), folder)
    with pytest.raises(ValueError, match="Received: numbers where that run has pixels"):
        record_split(parts(images[:4] / 255, images[4:5], images[5:]), folder)


def test_data_without_images_has_no_record(tmp_path):
    folder = RunFolder(tmp_path / "run")
    record_split(SimpleNamespace(train=[1], validation=[2], test=[3]), folder)
    assert not folder.split.exists() and SplitRecord.read(folder.path) is None


def test_many_images_stay_small(tmp_path):
    many = np.zeros((100_000, 2, 2, 1), "uint8")
    folder = RunFolder(tmp_path / "run")
    record_split(parts(many, many[:1], many[:1]), folder)
    assert folder.split.stat().st_size < 5e6


def recorded(folder, data):
    """Return the folder of a run on a data set."""
    record_split(data, folder)
    folder.write_json(folder.config, {"data": {"normalization": data.normalization.to_dict()}})
    return folder.path


def test_images_that_a_run_held_out_are_found_however_they_are_split_later(images, tmp_path):
    labels = np.arange(6) % 2
    parts = [(images[rows], labels[rows]) for rows in (slice(3), slice(3, 4), slice(4, 6))]
    data = kd.data.Dataset.from_parts("made", *parts, ("a", "b"))
    path = recorded(RunFolder(tmp_path / "run"), data)
    again = kd.data.Dataset.from_parts("made", *parts[::-1], ("a", "b"))  # what was test is train
    found = find_held_out(path, again)
    np.testing.assert_array_equal(found.x, images[4:])
    assert found.y.tolist() == [0, 1] and found.normalization == data.normalization
    assert again.normalization != data.normalization
    used = kd.data.Dataset.from_parts("made", parts[0], parts[1], parts[0], ("a", "b"))
    with pytest.raises(ValueError, match="data must have images that the run held out. Received:"):
        find_held_out(path, used)
    other = kd.data.Dataset.from_parts("made", *[(255 - images, labels)] * 3, ("a", "b"))
    with pytest.raises(ValueError, match="knows them by their pixels. Received: none of them"):
        find_held_out(path, other)
    with pytest.raises(TypeError, match=r"data must be a kd.data.Dataset, .* Received: Pipeline"):
        find_held_out(path, data.test)
    with pytest.raises(FileNotFoundError, match=r"a run with split\.json. Received: .*nowhere"):
        find_held_out(tmp_path / "nowhere", data)


def test_held_out_files_are_found_beside_new_ones(tmp_path):
    generator = np.random.default_rng(0)
    photos = tmp_path / "photos"

    def add(number):
        path = photos / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 8, 3)).astype("uint8")).save(path)

    list(map(add, range(20)))
    data = kd.data.image_folder(photos, image_size=8)
    path = recorded(RunFolder(tmp_path / "run"), data)
    add(20)
    for cache in (True, False):
        later = kd.data.image_folder(photos, image_size=12, cache=cache, seed=5)
        found = find_held_out(path, later)
        assert found.examples == data.test.examples + 1 and found.image_shape == (12, 12, 3)
    arrays = kd.data.Dataset.from_parts("made", *[(data.test.x, data.test.y)] * 3, ("a", "b"))
    with pytest.raises(ValueError, match="data must be read from image files.* Received: arrays"):
        find_held_out(path, arrays)
