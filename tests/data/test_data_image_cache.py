"""Decoded images on disk: `cache=` of `kd.data.image_folder`."""

import copy
import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

import keras_dlcourse as kd
from keras_dlcourse.data import image_cache
from keras_dlcourse.data.image_cache import CachedImages, ImageCache
from keras_dlcourse.data.image_files import ImageFiles

PARTS = ("train", "validation", "test")
SIZE = 16
BYTES = 20 * SIZE * SIZE * 3  # of the photos in memory


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    root = tmp_path / "photos"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (30, 40, 3)).astype("uint8")
            Image.fromarray(pixels).save(root / name / f"{number}.{('png', 'jpg')[number % 2]}")
    return root


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def read(photos, cache, **options):
    return kd.data.image_folder(photos, SIZE, batch_size=4, seed=3, cache=cache, **options)


def assert_same(one, other):
    assert one.normalization == other.normalization
    assert one.files == other.files  # so the split that a run records is the same
    for part in PARTS:
        for epoch in (0, 1):
            pairs = zip(
                getattr(one, part).batches(epoch), getattr(other, part).batches(epoch), strict=True
            )
            for ours, theirs in pairs:
                np.testing.assert_array_equal(ours[0], theirs[0])
                np.testing.assert_array_equal(ours[1], theirs[1])


def files_in(cache):
    """The files in the only folder of a cache, without the lock."""
    (folder,) = cache.iterdir()
    return sorted(path for path in folder.iterdir() if path.name != ".lock")


def refuse_to_decode(monkeypatch):
    def read(self, index):
        raise AssertionError("decoded again")

    monkeypatch.setattr(ImageFiles, "read", read)


def test_same_pixels_in_the_same_order_as_from_memory(photos, cache, capsys, monkeypatch):
    memory = read(photos, True)
    written = read(photos, cache)
    folder = cache.resolve() / next(cache.iterdir()).name
    assert capsys.readouterr().err == (
        f"Caching 20 decoded images ({BYTES / 1e3:.1f} kB) in {folder}, where they are read from "
        "now on\n"
    )
    assert all(isinstance(getattr(written, part).x, CachedImages) for part in PARTS)
    assert_same(written, memory)
    refuse_to_decode(monkeypatch)
    again = read(photos, str(cache))
    assert capsys.readouterr().err.startswith("Reading 20 decoded images (15.4 kB) from the cache")
    assert_same(again, memory)


def test_training_from_disk_ends_with_the_same_weights(photos, cache):
    weights = []
    for where in (True, cache, cache):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
        model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *layers])
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(read(photos, where).train, epochs=2, verbose=0)
        weights.append(model.get_weights()[0])
    np.testing.assert_array_equal(weights[1], weights[0])
    np.testing.assert_array_equal(weights[2], weights[0])


@pytest.mark.parametrize("options", [{"crop": True}, {"channels": 1}, {"group_by": r"(\d+)\."}])
def test_each_way_to_read_has_a_cache_of_its_own(photos, cache, options):
    read(photos, cache)
    assert_same(read(photos, cache, **options), read(photos, True, **options))
    assert_same(read(photos, cache), read(photos, True))


@pytest.fixture
def cached(photos, cache):
    """Images in a cache, and the same in memory."""
    files = ImageFiles(sorted(photos.rglob("*.*g")), (6, 7))
    return ImageCache(cache, photos).read(files)[0], files[:]


@pytest.mark.parametrize(
    "index",
    [3, -1, np.int64(4), slice(2, 9, 3), slice(0), np.array([7, 7, 0]), np.arange(20) % 3 == 0],
)
def test_they_index_like_an_array(cached, index):
    images, array = cached
    np.testing.assert_array_equal(images[index], array[index], strict=True)
    turned = np.arange(20)[::-1]
    np.testing.assert_array_equal(images.subset(turned)[index], array[turned][index], strict=True)
    assert images[index].flags.writeable


def test_they_can_be_copied_and_sent_to_other_processes(cached):
    images, array = cached
    for twin in (copy.deepcopy(images), pickle.loads(pickle.dumps(images.subset(np.arange(20))))):
        np.testing.assert_array_equal(twin[:], array)


def test_many_threads_read_at_once_and_after_the_file_was_deleted(cached, cache):
    images, array = cached
    for path in files_in(cache):
        path.unlink()  # as another process does whose images have changed
    orders = [np.random.default_rng(seed).permutation(20) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for order, found in zip(orders, pool.map(images.__getitem__, orders), strict=True):
            np.testing.assert_array_equal(found, array[order])


def test_reading_without_pread_as_on_windows(cached, monkeypatch):
    images, array = cached
    monkeypatch.setattr(image_cache, "_read_at", image_cache._seek_and_read)
    np.testing.assert_array_equal(images[::-1], array[::-1])


def test_a_file_that_is_cut_short_while_it_is_used(cached, cache):
    images, _ = cached
    os.truncate(files_in(cache)[1], 200)
    with pytest.raises(OSError, match=r"\.npy has been cut short since it was opened"):
        images[:]


class TestChanges:
    """A cache is used only as long as nothing has changed, and never if it is not complete."""

    def test_a_file_of_the_same_size_and_time(self, photos, cache):
        read(photos, cache)
        before = files_in(cache)
        one, other = photos / "cat" / "0.png", photos / "dog" / "0.png"
        status = [path.stat() for path in (one, other)]
        one.rename(photos / "x")
        other.rename(one)
        (photos / "x").rename(other)
        for path, found in zip((other, one), status, strict=True):
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        assert_same(read(photos, cache), read(photos, True))
        after = files_in(cache)
        assert [path.suffix for path in after] == [".json", ".npy"]  # the old ones are deleted
        assert not {*before} & {*after}

    def test_a_file_more(self, photos, cache):
        read(photos, cache)
        shutil.copy(photos / "cat" / "0.png", photos / "dog" / "copy.png")
        assert_same(read(photos, cache), read(photos, True))

    def test_other_code_or_another_pillow(self, photos, cache, monkeypatch):
        read(photos, cache)
        names = [path.name for path in files_in(cache)]
        monkeypatch.setattr("PIL.__version__", "0.0")
        read(photos, cache)
        other = [path.name for path in files_in(cache)]
        monkeypatch.setattr(image_cache.inspect, "getsource", lambda module: "other code")
        read(photos, cache)
        assert len({*names, *other, *(path.name for path in files_in(cache))}) == 6

    @pytest.mark.parametrize("harm", ["cut", "empty", "other shape", "no list", "broken list"])
    def test_a_file_that_is_not_what_it_should_be(self, photos, cache, harm):
        read(photos, cache)
        described, pixels = files_in(cache)
        if harm == "cut":
            os.truncate(pixels, pixels.stat().st_size - 1)
        elif harm == "empty":
            pixels.write_bytes(b"")
        elif harm == "other shape":
            np.save(pixels, np.zeros((20, SIZE, SIZE, 4), "uint8"))
        elif harm == "no list":
            described.unlink()
        else:
            described.write_text("{")
        assert_same(read(photos, cache), read(photos, True))
        np.testing.assert_array_equal(np.load(pixels).shape, (20, SIZE, SIZE, 3))

    def test_a_process_that_was_killed(self, photos, cache):
        script = """
            import os, signal, sys
            from pathlib import Path
            from keras_dlcourse.data.image_cache import ImageCache
            from keras_dlcourse.data.image_files import ImageFiles

            class Killed(ImageFiles):
                def read_each(self):
                    for number, image in enumerate(super().read_each()):
                        if number == 15:
                            os.kill(os.getpid(), signal.SIGKILL)
                        yield image

            photos, cache = map(Path, sys.argv[1:])
            ImageCache(cache, photos).read(Killed(sorted(photos.rglob("*.*g")), (64, 64)))
        """
        words = [sys.executable, "-c", textwrap.dedent(script), photos, cache]
        done = subprocess.run(words, timeout=300, check=False)
        assert done.returncode == -signal.SIGKILL
        (left,) = files_in(cache)
        assert left.is_dir() and any(left.iterdir())  # not under the name that counts
        files = ImageFiles(sorted(photos.rglob("*.*g")), (64, 64))
        images, problems = ImageCache(cache, photos).read(files)
        np.testing.assert_array_equal(images[:], files[:])
        assert not problems
        assert [path.suffix for path in files_in(cache)] == [".json", ".npy"]


class TestFilesThatCannotBeRead:
    def test_they_are_named_and_skipped_each_time(self, photos, cache, monkeypatch):
        (photos / "cat" / "a.png").write_bytes(b"none")
        with pytest.raises(ValueError, match="1 of 21 files cannot be read as images") as caught:
            read(photos, cache)
        assert "a.png" in str(caught.value)
        with pytest.warns(UserWarning, match=r"(?s)1 of 21 .*a\.png.*skipped") as found:
            skipped = read(photos, cache, skip_bad=True)
        assert found[0].filename == __file__
        (photos / "cat" / "a.png").unlink()
        memory = read(photos, True)
        for part in PARTS:
            np.testing.assert_array_equal(getattr(skipped, part).x[:], getattr(memory, part).x)

    def test_they_are_tried_again(self, photos, cache, monkeypatch):
        whole = ImageFiles.read

        def fail(self, index):
            if self.paths[index].name == "0.png":
                raise OSError("the drive is away")
            return whole(self, index)

        monkeypatch.setattr(ImageFiles, "read", fail)
        with pytest.warns(UserWarning, match="the drive is away"):
            assert read(photos, cache, skip_bad=True).train.examples == 14
        monkeypatch.setattr(ImageFiles, "read", whole)
        assert_same(read(photos, cache, skip_bad=True), read(photos, True))


def set_free_space(monkeypatch, free):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, free))


def test_a_disk_with_too_little_space(photos, cache, monkeypatch):
    set_free_space(monkeypatch, BYTES)
    with pytest.raises(OSError, match="cache must be a folder with 16.2 kB of free space") as error:
        read(photos, cache)
    message = str(error.value)
    assert "to keep 20 images of 16x16x3" in message
    assert f"Received: {cache}, with 15.4 kB. Free some" in message
    assert "cache=False (--cache none)" in message
    assert not files_in(cache)
    set_free_space(monkeypatch, BYTES * 1.1)
    assert isinstance(read(photos, cache).train.x, CachedImages)


class TestByDefault:
    """Images that do not fit into memory."""

    @pytest.fixture(autouse=True)
    def little_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr("keras_dlcourse.data.reading._IN_MEMORY", BYTES - 1)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))

    def test_they_are_kept_in_the_folder_of_keras(self, photos, tmp_path, monkeypatch):
        set_free_space(monkeypatch, BYTES * 2)
        data = read(photos, None)
        assert isinstance(data.train.x, CachedImages)
        assert len(files_in(tmp_path / "home" / "keras_dlcourse")) == 2
        assert_same(data, read(photos, True))

    def test_they_take_at_most_half_of_the_free_space(self, photos, monkeypatch):
        set_free_space(monkeypatch, BYTES * 2 - 1)
        with pytest.warns(UserWarning, match="decoded again in each epoch") as found:
            data = read(photos, None)
        assert "with 30.7 kB of free space" in str(found[0].message)
        assert found[0].filename == __file__
        assert type(data.train.x) is ImageFiles
        assert_same(data, read(photos, True))

    def test_a_disk_that_becomes_full(self, photos, tmp_path, monkeypatch):
        def fail(path):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(image_cache, "write_atomically", fail)
        with pytest.warns(UserWarning, match="No space left on device"):
            assert type(read(photos, None).train.x) is ImageFiles

    def test_images_that_fit_are_kept_in_memory(self, photos, tmp_path, monkeypatch):
        monkeypatch.setattr("keras_dlcourse.data.reading._IN_MEMORY", BYTES)
        assert isinstance(read(photos, None).train.x, np.ndarray)
        assert not (tmp_path / "home").exists()


def test_a_process_waits_for_another_that_writes_the_same(photos, cache, monkeypatch):
    read(photos, cache)
    (folder,) = cache.iterdir()
    other = FileLock(folder / ".lock")
    other.acquire()
    said = []

    def say(text):
        said.append(text)
        other.release()

    monkeypatch.setattr(image_cache, "_say", say)
    read(photos, cache)
    assert said[0].startswith("Waiting for another process, which is caching the images in")
    assert said[1].startswith("Reading")


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ("photos/new", ValueError, "cache must be a folder outside of .*photos, where folders are"),
        ("photos", ValueError, "cache must be a folder outside of"),
        ("file", PermissionError, "cache cannot be written. Received: .*file is not a writable"),
        ("file/new", PermissionError, "file is not a writable folder"),
    ],
)
def test_folders_that_are_refused(photos, tmp_path, place, error, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(error, match=message):
        read(photos, tmp_path / place)
    assert sorted(path.name for path in photos.iterdir()) == ["cat", "dog"]


@pytest.mark.parametrize(("value", "error"), [(3, TypeError), ("", ValueError)])
def test_what_is_no_folder(photos, value, error):
    with pytest.raises(error, match="cache must be a folder path. Received: "):
        read(photos, value)


def test_a_table_can_have_its_cache_beside_it(photos):
    lines = [
        "file,label",
        *(f"{p.relative_to(photos)},{p.parent.name}" for p in photos.rglob("*.*g")),
    ]
    (photos / "labels.csv").write_text("\n".join(lines))
    options = {"image_size": SIZE, "seed": 3}
    data = kd.data.image_csv(photos / "labels.csv", cache=photos / "cache", **options)
    assert isinstance(data.train.x, CachedImages)
    assert_same(data, kd.data.image_csv(photos / "labels.csv", cache=True, **options))
    (found,) = (photos / "cache").glob("labels.csv-*/*.json")
    assert json.loads(found.read_text()) == {"unreadable": []}
