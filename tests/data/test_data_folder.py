import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

import keras_dlcourse as kd
from keras_dlcourse._progress import track
from keras_dlcourse.edge.vision.images import load_image

rng = np.random.default_rng(0)


def make_photos(root, **classes):
    """Make noise of different sizes and formats, brighter the later the class."""
    for number, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            size = (rng.integers(5, 40), rng.integers(5, 40), 3)
            pixels = rng.integers(60 * number, 60 * number + 60, size).astype("uint8")
            suffix = ("png", "jpg", "bmp")[i % 3]
            Image.fromarray(pixels).save(root / name / f"{i:03}.{suffix}")
    return root


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos", cat=10, dog=20, eel=3)


def all_of(data):
    parts = [data.train, data.validation, data.test]
    x = np.concatenate([kd.data.take(part).pixels for part in parts])
    return x, np.concatenate([part.y for part in parts])


def test_a_folder_of_photos(photos):
    data = kd.data.image_folder(photos, image_size=(12, 16), batch_size=4, seed=7)
    assert data.name == "photos"
    assert data.class_names == ("cat", "dog", "eel")
    assert data.image_shape == (12, 16, 3)
    counts = [np.bincount(part.y).tolist() for part in (data.train, data.validation, data.test)]
    assert counts == [[8, 16, 1], [1, 2, 1], [1, 2, 1]]
    assert (data.train.seed, data.train.batch_size, data.train.shuffle) == (7, 4, True)
    # Each class has its own brightness: labels belong to their images.
    x, y = all_of(data)
    np.testing.assert_array_equal(x.mean(axis=(1, 2, 3)) // 60, y)
    values = data.train.x.astype("float64")
    assert data.normalization.mean == (np.round(values.mean()),)


def test_pixels_are_those_that_the_device_sees_and_each_file_is_used_once(photos):
    files = sorted(path for path in photos.rglob("*.*"))
    for options in ({}, {"crop": True}, {"channels": 1}):
        data = kd.data.image_folder(photos, image_size=20, **options)
        expected = [
            load_image(path, (20, 20), options.get("channels", 3), options.get("crop", False))
            for path in files
        ]
        x, _ = all_of(data)
        assert sorted(a.tobytes() for a in x) == sorted(a.tobytes() for a in expected)


def test_read_as_used_equals_in_memory(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    memory = kd.data.image_folder(photos, image_size=16)
    lazy = kd.data.image_folder(photos, image_size=16, cache=False)
    assert isinstance(lazy.train.x, kd.data.ImageFiles)
    assert isinstance(memory.train.x, np.ndarray)
    assert lazy.normalization == memory.normalization
    for part in ("train", "validation", "test"):
        pairs = zip(getattr(lazy, part), getattr(memory, part), strict=True)
        for one, other in pairs:
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])
    monkeypatch.setattr("keras_dlcourse.data.reading._IN_MEMORY", 33 * 16 * 16 * 3 - 1)
    assert isinstance(kd.data.image_folder(photos, 16).train.x, kd.data.ImageFiles)
    assert isinstance(kd.data.image_folder(photos, 16, cache=True).train.x, np.ndarray)


def test_seed_decides_the_parts(photos):
    def test_part(seed):
        return kd.data.image_folder(photos, 8, seed=seed).test.x.tobytes()

    assert test_part(1) == test_part(1)
    assert test_part(1) != test_part(2)


@pytest.fixture(scope="module")
def eight_files(tmp_path_factory):
    root = make_photos(tmp_path_factory.mktemp("files"), all=8)
    files = kd.data.ImageFiles(sorted((root / "all").iterdir()), (6, 7))
    return files, np.stack([files.read(i) for i in range(8)])


@settings(deadline=None, max_examples=50)
@given(
    index=st.integers(-8, 7)
    | st.slices(8)
    | st.lists(st.integers(-8, 7), max_size=5).map(lambda i: np.array(i, int))
    | st.lists(st.booleans(), min_size=8, max_size=8).map(np.array)
)
def test_image_files_index_like_an_array(eight_files, index):
    files, array = eight_files
    np.testing.assert_array_equal(files[index], array[index], strict=True)


def test_image_files_have_what_an_array_has(eight_files):
    files, array = eight_files
    assert (files.shape, files.dtype, files.ndim, len(files)) == (array.shape, array.dtype, 4, 8)
    with pytest.raises(IndexError):
        files[8]
    np.testing.assert_array_equal(kd.data.take((files, np.arange(8)), 3).pixels, array[:3])
    (x, _), _ = kd.data.split(kd.data.ImageFiles(files.paths, (6, 7)), np.arange(8) % 2, 0.25)
    assert x.shape == (6, 6, 7, 3)


def break_files(photos):
    whole = (photos / "dog" / "000.png").read_bytes()
    (photos / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "dog" / "notes.txt").write_text("not an image")
    (photos / "cat" / "empty.jpg").write_bytes(b"")
    (photos / "cat" / "link.png").symlink_to(photos / "nowhere.png")
    os.mkfifo(photos / "cat" / "pipe.png")
    return ["cut.png", "notes.txt", "empty.jpg", "link.png", "pipe.png"]


@pytest.mark.parametrize("cache", [True, False])
def test_bad_files_are_all_named_in_one_error(photos, cache):
    names = break_files(photos)
    with pytest.raises(ValueError, match=r"5 of 38 files .*") as caught:
        kd.data.image_folder(photos, 16, cache=cache)
    message = str(caught.value)
    assert all(name in message for name in names)
    assert "skip_bad=True" in message
    assert len(message.splitlines()) == 7


@pytest.mark.parametrize("cache", [True, False])
def test_bad_files_are_skipped_with_a_warning_that_names_them(photos, cache):
    good, _ = all_of(kd.data.image_folder(photos, 16))
    names = break_files(photos)
    with pytest.warns(UserWarning, match=r"5 of 38 files") as caught:
        data = kd.data.image_folder(photos, 16, skip_bad=True, cache=cache)
    assert all(name in str(caught[0].message) for name in names)
    assert caught[0].filename == __file__
    x, y = all_of(data)
    assert sorted(a.tobytes() for a in x) == sorted(a.tobytes() for a in good)
    np.testing.assert_array_equal(x.mean(axis=(1, 2, 3)) // 60, y)


def test_only_ten_bad_files_are_listed(photos):
    for i in range(13):
        (photos / "cat" / f"bad{i:02}.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"(?s)13 of 46 .*bad09.*\n  and 3 more") as caught:
        kd.data.image_folder(photos, 16)
    assert "bad10" not in str(caught.value)


def test_too_few_left_after_skipping(photos):
    (photos / "eel" / "000.png").write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"too few in: eel \(2\)"):
        kd.data.image_folder(photos, 16, skip_bad=True)


def test_clutter_is_left_out_and_depth_does_not_matter(photos):
    before, _ = all_of(kd.data.image_folder(photos, 16))
    for clutter in (".DS_Store", "Thumbs.db", "desktop.ini", "._000.png"):
        (photos / "cat" / clutter).write_bytes(b"x")
    (photos / "readme.txt").write_text("beside the classes")
    for folder in ("__MACOSX", ".ipynb_checkpoints"):
        (photos / folder).mkdir()
    (photos / "cat" / "2024" / "may").mkdir(parents=True)
    (photos / "cat" / "000.png").rename(photos / "cat" / "2024" / "may" / "000.png")
    (photos / "cat" / ".hidden").mkdir()
    (photos / "cat" / ".hidden" / "x.png").write_bytes(b"x")
    data = kd.data.image_folder(photos, 16)
    assert data.class_names == ("cat", "dog", "eel")
    after, _ = all_of(data)
    assert sorted(a.tobytes() for a in after) == sorted(a.tobytes() for a in before)


def test_links_to_files_and_folders_are_followed_but_never_in_a_loop(photos, tmp_path):
    more = make_photos(tmp_path / "more", bird=4)
    (photos / "ant").symlink_to(more / "bird")
    (photos / "cat" / "self").symlink_to(photos / "cat")
    (photos / "cat" / "up").symlink_to(photos)
    (photos / "cat" / "extra.png").symlink_to(photos / "cat" / "000.png")
    data = kd.data.image_folder(photos, 16)
    _, y = all_of(data)
    assert data.class_names == ("ant", "cat", "dog", "eel")
    assert np.bincount(y).tolist() == [4, 11, 20, 3]


def test_folders_that_are_no_data_sets(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        kd.data.image_folder(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="file is not a folder"):
        kd.data.image_folder(tmp_path / "file")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"empty contains no folders. .* cats/ and dogs/"):
        kd.data.image_folder(empty)
    one = make_photos(tmp_path / "one", cat=5)
    with pytest.raises(ValueError, match="contains only the folder cat"):
        kd.data.image_folder(one)
    make_photos(one, dog=2, eel=0)
    with pytest.raises(ValueError, match=r"at least 3 readable images.*too few in: dog \(2\), eel"):
        kd.data.image_folder(one)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["train", "test"], "test, train are named"),
        (["train", "test", "unlabeled"], "test, train, unlabeled are named"),
        (["seg_train", "seg_test", "seg_pred"], "seg_test, seg_train are named"),
        (["train_images", "test_images"], "test_images, train_images are named"),
        (["train2017", "val2017"], "train2017, val2017 are named"),
        (["trainA", "trainB"], "trainA, trainB are named"),
        (["TrainSet", "holdOut", "DEV-data"], "DEV-data, TrainSet, holdOut are named"),
        (["cat", "dog", "augmented"], "augmented are named"),
        (["cat", "dog", "cat_augmented"], "cat_augmented are named"),
        (
            ["first/cat", "first/dog", "second/cat", "second/dog"],
            r"2 of them contain .* \(cat, dog\)",
        ),
        (["cat/train", "cat/test", "dog/train", "dog/test", "eel"], r"2 of .* \(test, train\)"),
    ],
)
def test_parts_of_a_data_set_are_no_classes(tmp_path, names, reason):
    root = make_photos(tmp_path / "photos", **dict.fromkeys(names, 3))
    with pytest.raises(ValueError, match=reason) as caught:
        kd.data.image_folder(root)
    message = str(caught.value)
    classes = {name.split("/")[0] for name in names}
    assert all(name in message for name in classes)
    assert re.search(r"e\.g\. \S+/photos/[\w-]+, .*\.from_parts .* class_names=\[", message)
    # Whoever insists gets what he says, in the order in which he says it.
    insisted = sorted(classes, reverse=True)
    data = kd.data.image_folder(root, 8, class_names=insisted)
    assert data.class_names == tuple(insisted)
    x, y = all_of(data)
    first = [
        kd.data.ImageFiles([next((root / name).rglob("*.png"))], (8, 8))[0] for name in insisted
    ]
    for number, pixels in enumerate(first):
        assert y[(x == pixels).all(axis=(1, 2, 3))].tolist() == [number]


class TestSplitFolders:
    """Folders for the parts of a data set, each with the classes."""

    @staticmethod
    def data(root, **options):
        return kd.data.image_folder(root, 8, cache=False, **options)

    @staticmethod
    def places(part):
        """The parts and classes that the files of a part are in."""
        return sorted({(path.parts[-3], path.parts[-2]) for path in part.x.paths})

    @pytest.mark.parametrize(
        ("train", "validation", "test"),
        [
            ("train", "val", "test"),
            ("seg_train", "seg_valid", "seg_test"),
            ("TrainSet", "dev-images", "holdout"),
        ],
    )
    def test_all_parts(self, tmp_path, train, validation, test):
        counts = {f"{train}/cat": 5, f"{train}/dog": 4, f"{validation}/cat": 1}
        counts |= {f"{validation}/dog": 2, f"{test}/cat": 3, f"{test}/dog": 1}
        root = make_photos(tmp_path / "photos", **counts)
        data = self.data(root)
        assert data.class_names == ("cat", "dog")
        for part, name, expected in (
            (data.train, train, [5, 4]), (data.validation, validation, [1, 2]),
            (data.test, test, [3, 1]),
        ):  # fmt: skip
            assert self.places(part) == [(name, "cat"), (name, "dog")]
            assert np.bincount(part.y).tolist() == expected
        assert data.normalization == kd.data.Normalization.fit(data.train.x)

    @pytest.mark.parametrize("given", ["validation", "test"])
    def test_a_missing_part_is_drawn_from_the_training_part(self, tmp_path, given):
        counts = {"train/cat": 10, "train/dog": 20, f"{given}/cat": 3, f"{given}/dog": 2}
        root = make_photos(tmp_path / "photos", **counts)
        data = self.data(root, validation=0.2, test=0.3, seed=1)
        drawn, fraction = ("test", 0.3) if given == "validation" else ("validation", 0.2)
        assert self.places(getattr(data, given)) == [(given, "cat"), (given, "dog")]
        assert self.places(getattr(data, drawn)) == [("train", "cat"), ("train", "dog")]
        expected = [round(10 * fraction), round(20 * fraction)]
        assert np.bincount(getattr(data, drawn).y).tolist() == expected
        both = {*data.train.x.paths} & {*getattr(data, drawn).x.paths}
        assert not both and data.train.examples == 30 - sum(expected)

    def test_archives_that_repeat_their_name(self, tmp_path):
        counts = {"train/train/cat": 4, "train/train/dog": 4, "test/test/cat": 1}
        data = self.data(make_photos(tmp_path / "photos", **counts))
        assert data.class_names == ("cat", "dog") and data.test.y.tolist() == [0]

    def test_class_names_choose_classes(self, tmp_path):
        counts = {"train/cat": 4, "train/dog": 4, "train/eel": 4, "test/dog": 2, "test/eel": 1}
        data = self.data(make_photos(tmp_path / "photos", **counts), class_names=["eel", "cat"])
        assert data.class_names == ("eel", "cat")
        assert self.places(data.train) == [("train", "cat"), ("train", "eel")]
        assert self.places(data.test) == [("test", "eel")] and data.test.y.tolist() == [0]
        with pytest.raises(ValueError, match=r"train. Missing: cow. Available: cat, dog, eel"):
            self.data(tmp_path / "photos", class_names=["cow", "cat"])

    def test_classes_that_the_training_part_does_not_have(self, tmp_path):
        root = make_photos(
            tmp_path / "photos", **{"train/cat": 4, "train/dog": 4, "test/dog": 1, "test/Cat": 1}
        )
        with pytest.raises(ValueError, match=r"test must have the same classes as train.*: Cat\."):
            self.data(root)

    def test_too_few_to_draw_from(self, tmp_path):
        root = make_photos(tmp_path / "photos", **{"train/cat": 1, "train/dog": 4, "val/dog": 1})
        with pytest.raises(
            ValueError, match=r"2 readable images, .* training and test;.*cat \(1\)"
        ):
            self.data(root)

    def test_links_that_lead_back(self, tmp_path):
        root = make_photos(tmp_path / "photos", **{"train/cat": 4, "train/dog": 4})
        (root / "test").mkdir()
        (root / "test" / "again").symlink_to(root / "test")
        with pytest.raises(ValueError, match="named like parts|same classes"):
            self.data(root)


class TestGroups:
    """Images of one group stay in one part."""

    @staticmethod
    def make(root, **people):
        """Make images named after their person; `people` has those of each class."""
        for name, numbers in people.items():
            (root / name).mkdir(parents=True)
            for person in numbers:
                for shot in range(3):
                    path = root / name / f"person{person}_{shot}.png"
                    Image.new("L", (5, 5), person).save(path)
        return root

    @staticmethod
    def people(part):
        return {int(image.max()) for image in part.x[:]}

    def test_groups_stay_together(self, tmp_path):
        root = self.make(tmp_path / "photos", cat=range(10), dog=range(20))
        data = kd.data.image_folder(
            root, 5, validation=0.2, test=0.2, group_by=r"person(\d+)", seed=1
        )
        parts = [self.people(part) for part in (data.train, data.validation, data.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 20
        assert [part.examples for part in (data.train, data.validation, data.test)] == [54, 18, 18]
        assert all(set(part.y) == {0, 1} for part in (data.train, data.validation, data.test))
        without = kd.data.image_folder(root, 5, validation=0.2, test=0.2, seed=1)
        assert self.people(without.train) & self.people(without.test)

    def test_unreadable_files_do_not_shift_the_groups(self, tmp_path):
        root = self.make(tmp_path / "photos", cat=range(10), dog=range(10))
        (root / "cat" / "person0_1.png").write_bytes(b"x")
        with pytest.warns(UserWarning, match="1 of 60"):
            data = kd.data.image_folder(root, 5, skip_bad=True, group_by=r"person(\d+)")
        parts = [self.people(part) for part in (data.train, data.validation, data.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 10

    def test_a_part_that_is_given(self, tmp_path):
        root = self.make(tmp_path / "photos" / "train", cat=range(9), dog=range(9)).parent
        self.make(root / "test", cat=[20], dog=[21])
        data = kd.data.image_folder(root, 5, group_by="person([0-9]+)")
        assert self.people(data.test) == {20, 21}
        assert not self.people(data.train) & self.people(data.validation)
        (root / "test" / "cat" / "person3_7.png").write_bytes(
            (root / "train" / "cat" / "person3_0.png").read_bytes()
        )
        with pytest.raises(
            ValueError, match=r"1 groups in several parts: 3 \(test, train\). Merge the parts"
        ):
            kd.data.image_folder(root, 5, group_by="person([0-9]+)")

    def test_patterns_that_do_not_fit(self, tmp_path):
        root = self.make(tmp_path / "photos", cat=range(3), dog=range(3))
        for pattern, message in (
            ("person", r"with one group in parentheses, .*Received: 'person', with 0 groups"),
            ("(person)(.)", "with 2 groups"),
            ("person(", r"Received: 'person\(' \(missing \)"),
            (r"cat/person(\d)", r"does not match 9 of 18: dog/person0_0.png, "),
        ):
            with pytest.raises(ValueError, match=message):
                kd.data.image_folder(root, 5, group_by=pattern)
        with pytest.raises(TypeError, match="group_by must be a string. Received: 3"):
            kd.data.image_folder(root, 5, group_by=3)
        for path in root.glob("cat/person2*"):
            path.unlink()
        with pytest.raises(ValueError, match="Class cat is in only 2 groups, but each of the 3"):
            kd.data.image_folder(root, 5, group_by="person(.)")


def test_names_that_only_look_like_those_of_parts(tmp_path):
    names = ["trainer", "contest", "valley", "device", "latest", "cat/images", "dog/images"]
    root = make_photos(tmp_path / "photos", **dict.fromkeys(names, 3))
    classes = ("cat", "contest", "device", "dog", "latest", "trainer", "valley")
    assert kd.data.image_folder(root, 8).class_names == classes


def test_class_names_choose_folders(photos):
    data = kd.data.image_folder(photos, 8, class_names=["dog", "cat"])
    assert data.class_names == ("dog", "cat")
    assert np.bincount(all_of(data)[1]).tolist() == [20, 10]
    with pytest.raises(ValueError, match=r"Missing: ape, cow. Available: cat, dog, eel"):
        kd.data.image_folder(photos, 8, class_names=["ape", "cat", "cow"])
    with pytest.raises(ValueError, match=r"two or more classes. Received: \['cat'\]"):
        kd.data.image_folder(photos, 8, class_names=["cat"])
    with pytest.raises(TypeError, match="class_names must be a sequence of strings. Received"):
        kd.data.image_folder(photos, 8, class_names="cat")


def test_the_document_keeps_ones_own_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "photos", **{"2025/cat": 5, "2025/dog": 8, "2026/cat": 2, "2026/dog": 3})
    with pytest.raises(ValueError, match="keep your own split with kd.data.Dataset.from_parts"):
        kd.data.image_folder(tmp_path / "photos")  # else it would need no code
    document = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", document, re.S)
    (block,) = [block for block in blocks if "Dataset.from_parts" in block]
    names = {}
    exec(block, names)
    data = names["data"]
    parts = (data.train, data.validation, data.test)
    assert [np.bincount(part.y).tolist() for part in parts] == [[4, 7], [1, 1], [2, 3]]
    assert data.normalization == kd.data.Normalization.fit(data.train.x)
    assert {path.parts[1] for path in data.test.x.paths} == {"2026"}
    x, y = all_of(data)  # those of the test are brighter by two classes
    np.testing.assert_array_equal(x.mean(axis=(1, 2, 3)) // 60, y + np.repeat([0, 2], [13, 5]))


def test_names_of_classes_must_go_into_a_file(photos):
    for raw, message in (
        (b"caf\xe9", r"must be UTF-8.*Received: b'caf\\xe9' in photos. Rename that folder"),
        (b"two\nlines", r"one line of text.*'two\\nlines'"),
    ):
        folder = photos / os.fsdecode(raw)
        folder.mkdir()
        with pytest.raises(ValueError, match=message):
            kd.data.image_folder(photos)
        folder.rmdir()
    # The same for names that do not come from folders.
    name = os.fsdecode(b"caf\xe9")
    message = r"must be text that UTF-8 can encode. Received: 'caf\\udce9'"
    with pytest.raises(ValueError, match=message):
        kd.data.pipeline(np.zeros((2, 4, 4, 1), "uint8"), [0, 1], class_names=["a", name])
    with pytest.raises(ValueError, match=message):
        kd.models.LeNet5((32, 32, 1), classes=["a", name])


def test_class_names_are_the_same_in_an_ascii_locale(tmp_path):
    make_photos(tmp_path / "photos", café=3, zèbre=3, naïf=3)
    code = "import sys, keras_dlcourse as kd; print(ascii(kd.data.image_folder(sys.argv[1], 8)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}.class_names))", tmp_path / "photos"],
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "('caf\\xe9', 'na\\xeff', 'z\\xe8bre')\n", done.stderr


def write_scans(root, bits, said=None):
    """Write grey images of so many bits in 16, brighter the later the class."""
    for number, name in enumerate(("healthy", "ill")):
        (root / name).mkdir(parents=True)
        for i in range(4):
            high, low = (2**bits - 1) * np.array([number + 1, number]) // 2
            values = rng.integers(low, high, (9, 9), endpoint=True).astype("uint16")
            values[0, 0] = high
            tags = TiffImagePlugin.ImageFileDirectory_v2()
            if said is not None:
                tags[281] = 2**said - 1
            Image.fromarray(values).save(root / name / f"{i}.tif", tiffinfo=tags)
    return root


def test_scans_that_do_not_fill_16_bits(tmp_path):
    scans = write_scans(tmp_path / "scans", 12)
    for options in ({}, {"skip_bad": True}):  # nothing is bad about them
        with pytest.raises(ValueError, match=r"\.tif: its values .* end at \d+.* bits=\d\d if"):
            kd.data.image_folder(scans, 9, channels=1, **options)
    for cache in (True, False):
        data = kd.data.image_folder(scans, 9, channels=1, bits=12, cache=cache)
        x, y = all_of(data)
        np.testing.assert_array_equal(x.max(axis=(1, 2, 3)), np.where(y, 255, 127))
    with pytest.raises(ValueError, match="bits must be an integer from 8 to 16"):
        kd.data.image_folder(tmp_path / "not even there", bits=32)


def test_one_scale_for_a_data_set(tmp_path):
    told = write_scans(tmp_path / "scans", 12, said=12)
    x, y = all_of(kd.data.image_folder(told, 9, channels=1))
    np.testing.assert_array_equal(x.max(axis=(1, 2, 3)), np.where(y, 255, 127))
    values = np.full((9, 9), 50_000, "uint16")
    Image.fromarray(values).save(told / "ill" / "other.tif")
    with pytest.raises(
        ValueError, match=r"same number of bits.*files: 12 in \S+, 16 in \S+other\.tif"
    ):
        kd.data.image_folder(told, 9, channels=1)
    # Black is black in any number of bits, and 8 are what they are.
    Image.fromarray(values * 0).save(told / "ill" / "other.tif")
    Image.fromarray(values.astype("uint8")).save(told / "ill" / "eight.png")
    assert len(all_of(kd.data.image_folder(told, 9, channels=1))[1]) == 10


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"image_size": 0}, ValueError, "image_size must be an integer of at least 1. Received: 0"),
        (
            {"image_size": (8, 8, 3)},
            ValueError,
            r"an integer or \(height, width\). Received: \(8, 8, 3\)",
        ),
        (
            {"image_size": "8"},
            TypeError,
            "image_size must be an integer of at least .*Received: '8'",
        ),
        ({"channels": 2}, ValueError, "channels must be one of 1, 3. Received: 2"),
        (
            {"validation": 0},
            ValueError,
            "validation must be a number above 0 and below 1. Received: 0",
        ),
        ({"validation": 0.5, "test": 0.5}, ValueError, "together below 1"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer of at least 1"),
        ({"seed": -3}, ValueError, "seed must be an integer of at least 0"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_read(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        kd.data.image_folder(tmp_path / "not even there", **arguments)


class Terminal:
    """A standard error that says that it is a terminal."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return True


@pytest.mark.parametrize(("patience", "shown"), [(0.0, True), (60.0, False)])
def test_progress_shows_in_a_terminal_when_it_takes_long(monkeypatch, patience, shown):
    monkeypatch.setattr("keras_dlcourse._progress._PATIENCE", patience)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    for _ in track(range(3), 3, "Reading images"):
        time.sleep(0.01)
    assert ("Reading images" in terminal.text) == shown


def test_progress_is_quiet_elsewhere(monkeypatch, capsys):
    monkeypatch.setattr("keras_dlcourse._progress._PATIENCE", 0.0)
    assert list(track(range(3), 3, "Reading images")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")
