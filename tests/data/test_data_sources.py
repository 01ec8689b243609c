"""Arrays, batches, Hugging Face data and Parquet files as a `Dataset`: `kd.data.as_dataset`."""

import importlib.util
import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_dlcourse as kd
from keras_dlcourse.data import as_dataset

N = 30


def arrays(count=N, start=0):
    """Images of one gray level each, their number; three classes in turn."""
    numbers = np.arange(start, start + count)
    return np.tile(numbers[:, None, None, None], (1, 6, 5, 3)).astype("uint8"), numbers % 3


def pairs(data):
    """Return the number and the label of each image, for each part."""
    return {
        part: [
            (int(image.max()), *np.atleast_1d(label).tolist())
            for image, label in zip(getattr(data, part).x[:], getattr(data, part).y, strict=True)
        ]
        for part in ("train", "validation", "test")
    }


def check(data, classes=("0", "1", "2"), sizes=(24, 3, 3)):
    """Check that each image is in one part, with its label."""
    found = pairs(data)
    assert data.class_names == classes
    assert tuple(map(len, found.values())) == sizes
    assert sorted(sum(found.values(), [])) == [(number, number % 3) for number in range(sum(sizes))]


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        x, y = arrays()
        rows = slice(index * 10, index * 10 + 10)
        return x[rows], y[rows]


@pytest.mark.parametrize(
    "source",
    [
        arrays,
        lambda: list(arrays()),
        lambda: tf.data.Dataset.from_tensor_slices(arrays()).shuffle(30).batch(7),
        lambda: Batches(),
        lambda: ((x, y) for x, y in [arrays(12), arrays(18, 12)]),
        lambda: [arrays(12), arrays(18, 12)],
        lambda: kd.data.pipeline(*arrays()),
        lambda: (arrays()[0], keras.utils.to_categorical(arrays()[1], 3)),
        lambda: (arrays()[0], arrays()[1][:, None].astype("float32")),
    ],
)
def test_one_source_is_split(source):
    data = as_dataset(source(), batch_size=4, seed=2)
    check(data)
    assert data.train.x.dtype == np.uint8
    assert (data.train.batch_size, data.train.seed) == (4, 2)


def test_parts_that_are_given():
    train, held, test = arrays(18), arrays(6, 18), arrays(6, 24)
    for data in (
        as_dataset((train, held, test)),
        as_dataset(train, held, test),
        as_dataset({"train": train, "val": held, "test": test}),
    ):
        check(data, sizes=(18, 6, 6))
        assert [number for number, _ in pairs(data)["test"]] == list(range(24, 30))
    data = as_dataset((arrays(24), test), validation=0.25)  # as keras.datasets
    check(data, sizes=(18, 6, 6))
    assert [number for number, _ in pairs(data)["test"]] == list(range(24, 30))
    with pytest.raises(ValueError, match="test must be given once"):
        as_dataset((train, test), test=test)
    with pytest.raises(ValueError, match="must have the keys train .* Received: train, other"):
        as_dataset({"train": train, "other": test})


def test_names_of_classes():
    x, y = arrays()
    names = np.array(["cat", "ant", "bee"])
    data = as_dataset((x, names[y]))
    assert data.class_names == ("ant", "bee", "cat")
    for number, label in pairs(data)["train"]:
        assert data.class_names[label] == names[number % 3]
    check(as_dataset((x, names[y]), class_names=names.tolist()), ("cat", "ant", "bee"))
    check(as_dataset((x, y), class_names=("a", "b", "c")), ("a", "b", "c"))
    check(as_dataset(kd.data.pipeline(x, y, class_names=("a", "b", "c"))), ("a", "b", "c"))
    batches = tf.data.Dataset.from_tensor_slices((x, names[y])).batch(8)
    assert as_dataset(batches).class_names == ("ant", "bee", "cat")
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    batches.class_names = ["a", "b", "c"]  # as image_dataset_from_directory
    check(as_dataset(batches), ("a", "b", "c"))


def test_several_classes_per_image():
    x, _ = arrays()
    y = np.array([[1, 0, 1], [0, 1, 0], [0, np.nan, 1]] * 10)
    data = as_dataset((x, y), class_names=("a", "b", "c"))
    for number, *labels in pairs(data)["train"]:
        assert labels == np.nan_to_num(y[number], nan=-1).tolist()
    one = as_dataset((x, y), validation=(x[1:2], y[1:2]))  # one class, by chance
    assert one.validation.y.tolist() == [[0, 1, 0]]


def test_images_read_on_access_stay_so(tmp_path):
    paths = []
    for number in range(9):
        paths.append(tmp_path / f"{number}.png")
        Image.new("L", (4, 4), number).save(paths[-1])
    data = as_dataset((kd.data.ImageFiles(paths, (4, 4)), np.arange(9) % 3))
    assert isinstance(data.train.x, kd.data.ImageFiles)
    check(data, sizes=(3, 3, 3))


def test_a_data_set_and_folders(tmp_path):
    data = kd.data.load("digits")
    assert as_dataset(data) is data
    with pytest.raises(ValueError, match="validation and test must be fractions if train is a Dat"):
        as_dataset(data, test=arrays())
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (4, 4), number).save(tmp_path / "photos" / name / f"{number}.png")
    data = as_dataset(tmp_path / "photos", test=0.25, image_size=8, channels=1)
    assert (data.name, data.image_shape, data.test.examples) == ("photos", (8, 8, 1), 2)


@pytest.mark.parametrize(
    ("train", "options", "error", "message"),
    [
        (3, {}, TypeError, r"train must be \(x, y\) of arrays, .* Received: int"),
        (arrays()[0], {}, ValueError, "train must have one array of labels. Received: none"),
        ((*arrays(), np.ones(N)), {}, ValueError, "train must be images and labels.*weights"),
        ([(*arrays(), np.ones(N))], {}, ValueError, "train must be images and labels.*weights"),
        (kd.data.pipeline(*arrays(), sample_weight=np.ones(N)), {}, ValueError, "sample weights"),
        (arrays(), {"test": arrays()[0]}, ValueError, "test must have one array of labels"),
        (arrays(), {"validation": 1.5}, ValueError, "validation must be a number above 0"),
        (arrays(), {"image_size": 9}, ValueError, "image_size must be None for images in arrays"),
        (arrays(), {"class_names": ["a", "b"]}, ValueError, r"train must be class numbers 0\.\.1"),
        (arrays(), {"class_names": list("abcd")}, ValueError, "for training. Missing: d"),
        ((arrays()[0], arrays()[1] + 0.5), {}, ValueError, "must be class numbers.*Received: 0.5"),
        ((arrays()[0], arrays()[1] - 1), {}, ValueError, "must be class numbers.*Received: -1"),
        ((arrays()[0], np.full(N, "a")), {"class_names": ["b", "c"]}, ValueError,
         "class_names must have all labels of train. Missing: a"),
        (arrays(), {"test": (np.zeros((3, 4, 4, 3), "uint8"), np.arange(3))}, ValueError,
         r"test must have images and labels like train. Received: images of \(4, 4, 3\)"),
        ((arrays()[0], {"a": arrays()[1]}), {}, ValueError, "Received: labels of 1 tasks"),
    ],
)  # fmt: skip
def test_what_does_not_fit(train, options, error, message):
    with pytest.raises(error, match=message):
        as_dataset(train, **options)


class Hugging:
    """What is used of `datasets.Dataset`."""

    class Image:
        """The type of a column with images."""

    class ClassLabel:
        """The type of a column with class numbers."""

        names = ("ant", "bee", "cat")

    def __init__(self, images, labels, columns=("img", "fine_label")):
        self.column_names = list(columns)
        self.features = dict(zip(columns, (self.Image(), self.ClassLabel()), strict=True))
        self.rows = [
            dict(zip(columns, row, strict=True)) for row in zip(images, labels, strict=True)
        ]

    def with_format(self, kind):
        assert kind is None
        return self

    def __iter__(self):
        return iter(self.rows)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_hugging_face_data():
    x, y = arrays()
    stored = [Image.fromarray(image) for image in x]
    names = ("ant", "bee", "cat")
    check(as_dataset(Hugging(stored, y, ("picture", "label"))), names)
    with pytest.raises(ValueError, match="columns must name .* told from img, fine_label"):
        as_dataset(Hugging(stored, y))
    source = Hugging([{"bytes": png(image), "path": None} for image in x], y)
    data = as_dataset(source, columns=("img", "fine_label"), image_size=(4, 4), channels=1)
    check(data, names)
    assert data.image_shape == (4, 4, 1)
    parts = {"train": Hugging(stored[:24], y[:24]), "test": Hugging(stored[24:], y[24:])}
    check(as_dataset(parts, columns=("img", "fine_label")), names, (21, 3, 6))
    with pytest.raises(ValueError, match=r"Missing: image. Available: img, fine_label"):
        as_dataset(source, columns=("image", "fine_label"))
    stored[3] = stored[3].resize((9, 9))
    with pytest.raises(ValueError, match=r"image_size must be given, because train has .* 2 sizes"):
        as_dataset(Hugging(stored, y, ("image", "label")))
    source.rows[4]["img"] = {"bytes": b"x", "path": None}
    with pytest.raises(ValueError, match="image 4 of train: the image of 1 bytes is not an image"):
        as_dataset(source, columns=("img", "fine_label"))
    source.rows[4]["img"] = None
    with pytest.raises(ValueError, match="image 4 of train is missing"):
        as_dataset(source, columns=("img", "fine_label"))


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"Parquet files needs pyarrow.*\[parquet\]"):
        as_dataset(tmp_path / "images.parquet")


def test_parquet_files(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def write(name, x, y, **metadata):
        images = [{"bytes": png(image), "path": "a.png"} for image in x]
        table = pyarrow.table({"image": images, "label": y})
        parquet.write_table(table.replace_schema_metadata(metadata), tmp_path / name)
        return tmp_path / name

    x, y = arrays()
    names = ("ant", "bee", "cat")
    features = {"info": {"features": {"label": {"names": names}}}}
    check(as_dataset(write("a.parquet", x[:20], y[:20], huggingface=json.dumps(features)),
                     test=write("b.parquet", x[20:], y[20:])), names, (17, 3, 10))  # fmt: skip
    check(as_dataset(tmp_path), names)  # both files
    text = write("text.parquet", x, np.array(names)[y])
    check(as_dataset(text), names)
    raw = pyarrow.table({"picture": [png(image) for image in x], "label": y, "id": y})
    parquet.write_table(raw, tmp_path / "raw.parquet")
    check(as_dataset(str(tmp_path / "raw.parquet")))
    with pytest.raises(FileNotFoundError, match="nothing.parquet is not a file"):
        as_dataset(tmp_path / "nothing.parquet")
