"""What a data set consists of, and what is wrong with it: `kd.data.summarize`."""

import shutil

import numpy as np
import pytest
from PIL import Image

import keras_dlcourse as kd

rng = np.random.default_rng(0)


def noise(count):
    return rng.integers(0, 200, (count, 16, 16, 3)).astype("uint8")


def dataset(parts, labels=None, classes=("cat", "dog")):
    labels = labels or [np.arange(len(part)) % 2 for part in parts]
    return kd.data.Dataset.from_parts("mine", *zip(parts, labels, strict=True), classes)


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for part, count in (("train", 6), ("val", 3), ("test", 3)):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for number, pixels in enumerate(noise(count)):
                image = Image.fromarray(pixels).resize((20 + number, 30))
                image.save(root / part / name / f"{number}.{'jpg' if number == 0 else 'png'}")
    return root


def test_a_clean_folder(photos):
    summary = kd.data.summarize(kd.data.image_folder(photos, 16))
    assert summary.passed and not summary.conflicts and not summary.unreadable
    assert summary.formats == {"PNG": 18, "JPEG": 6}
    assert summary.stored_sizes == ((20, 30), (25, 30))
    assert summary.examples == {"train": 12, "validation": 6, "test": 6}
    assert {part: counts.tolist() for part, counts in summary.class_counts.items()} == {
        "train": [6, 6], "validation": [3, 3], "test": [3, 3],
    }  # fmt: skip
    assert summary.lines() == ["24 images in 2 classes, 12 of each: 12 train, 6 validation, 6 test"]
    assert str(summary) == (
        "photos: images of 16x16x3 in 2 classes\n"
        " class                          train   validation   test\n"
        "──────────────────────────────────────────────────────────\n"
        " cat                                6            3      3\n"
        " dog                                6            3      3\n"
        " all images                        12            6      6\n"
        " identical to an earlier part       –            0      0\n"
        " similar to an earlier part         –            0      0\n"
        "\n"
        "Files: 18 PNG, 6 JPEG, from 20x30 to 25x30 pixels (width x height)\n"
        "No leaks, no unreadable files."
    )


def test_faults_of_a_folder_are_named(photos):
    shutil.copy(photos / "train/cat/1.png", photos / "test/dog/a copy.png")
    shutil.copy(photos / "val/dog/1.png", photos / "test/dog/a.png")
    bright = np.asarray(Image.open(photos / "train/dog/2.png")) // 2 + 60
    Image.fromarray(bright.astype("uint8")).save(photos / "val/dog/bright.png")
    (photos / "train/cat/bad.png").write_bytes(b"x")
    with pytest.warns(UserWarning, match="1 of 28"):
        data = kd.data.image_folder(photos, 16, skip_bad=True)
    summary = kd.data.summarize(data)
    assert not summary.passed
    assert (summary.count("test", "exact"), summary.count("test", "similar")) == (2, 0)
    assert (summary.count("validation", "exact"), summary.count("validation", "similar")) == (0, 1)
    first, similar, exact, labels, unreadable = summary.lines()
    assert first.startswith("27 images")
    assert similar.startswith(
        "Leak: 1 of the 7 validation images is similar to images of another part, e.g. "
        "val/dog/bright.png (validation) and train/dog/2.png (train). "
    )
    assert exact.startswith(
        "Leak: 2 of the 8 test images are identical to images of another part, e.g. "
        "test/dog/a copy.png (test) and train/cat/1.png (train). "
    )
    assert labels == (
        "Labels: 1 image is identical to one with another label, e.g. test/dog/a copy.png (test): "
        "dog and train/cat/1.png (train): cat"
    )
    assert unreadable.startswith("Unreadable: 1 file is skipped, e.g. ")
    assert "bad.png is not an image" in unreadable
    assert all(line in str(summary) for line in (similar, exact, labels, unreadable))


def test_images_that_only_look_alike_are_no_fault():
    train = noise(6)
    summary = kd.data.summarize(dataset([train, noise(2), train[:2] + 20]))
    assert summary.count("test", "similar") == 2 and summary.passed
    assert "test[0] and train[0]" in summary.lines()[1]


def test_as_find_leaks_says():
    train, test = noise(20), noise(8)
    test[3], test[5] = train[4], train[7] + 10
    data = dataset([train, noise(4), test])
    found = kd.data.summarize(data).leaks["train", "test"]
    expected = kd.data.find_leaks(data.train, data.test)
    np.testing.assert_array_equal(found.exact, expected.exact)
    np.testing.assert_array_equal(found.similar, expected.similar)
    assert found.exact.tolist() == [[4, 3]]


def test_several_classes_per_image():
    y = np.array([[1, 0, -1], [0, 0, 0], [1, 1, 0]])
    data = dataset([noise(3), noise(3), noise(3)], [y] * 3, ("a", "b", "c"))
    assert kd.data.summarize(data).class_counts["test"].tolist() == [2, 1, 0]
    same = noise(3)
    data = dataset([same, same, noise(3)], [y, y[::-1], y], ("a", "b", "c"))
    assert kd.data.summarize(data).conflicts == (
        "validation[0]: a | b and train[0]: a",
        "validation[2]: a and train[2]: a | b",
    )


def test_many_classes_and_many_pairs(monkeypatch):
    names = tuple(f"class {number}" for number in range(30))
    counts = np.arange(30) % 15 + 1
    labels = np.repeat(np.arange(30), counts)
    x = noise(len(labels))
    data = dataset([x, x[:30], x[:30]], [labels, labels[:30], labels[:30]], names)
    monkeypatch.setattr("keras_dlcourse.data.leaks._MOST_PAIRS", 20)
    summary = kd.data.summarize(data)
    text = str(summary)
    assert "of which the 20 smallest are shown" in text and text.count("class ") == 21
    assert "too many" in text and "more than a million pairs" in text and not summary.passed


def test_what_is_no_data_set():
    with pytest.raises(TypeError, match=r"data must be a kd.data.Dataset, .* Received: ndarray"):
        kd.data.summarize(noise(3))
    data = dataset([noise(3)] * 3, [{"size": np.ones(3)}] * 3)
    with pytest.raises(ValueError, match=r"data.train must have class numbers, .* Received: dict"):
        kd.data.summarize(data)
