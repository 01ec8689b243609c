import hashlib
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import keras_dlcourse as kd
from keras_dlcourse.data.idx import write_idx

SHIPPED = Path(kd.data.__file__).parent / "fashion_mnist_small"
PARTS = {"train": 1000, "validation": 100, "test": 200}  # images a class


@pytest.fixture(scope="module")
def small():
    return kd.data.load("fashion_mnist_small")


def test_shipped_files_are_those_that_were_made():
    lines = (SHIPPED / "SHA256SUMS").read_text().splitlines()
    sums = dict(reversed(line.split()) for line in lines)
    assert set(sums) == {path.name for path in SHIPPED.glob("*.xz")}
    for name, expected in sums.items():
        assert hashlib.sha256((SHIPPED / name).read_bytes()).hexdigest() == expected
    # The sums themselves: what was published once stays what it is.
    assert sums["test-images-idx3-ubyte.xz"].startswith("8c46d1047e0c769d")
    assert sums["train-images-idx3-ubyte.xz"].startswith("916331d99a26b34b")


def test_shipped_files_are_small_and_licensed():
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 5_000_000
    licence = (SHIPPED / "LICENSE").read_text()
    assert "MIT License" in licence
    assert "Zalando SE" in licence


def test_shipped_part_is_balanced_and_disjoint(small):
    seen = set()
    for part, per_class in PARTS.items():
        pipeline = getattr(small, part)
        assert pipeline.x.shape == (10 * per_class, 28, 28, 1)
        assert np.bincount(pipeline.y).tolist() == [per_class] * 10
        images = {image.tobytes() for image in pipeline.x}
        assert len(images) == 10 * per_class
        assert not images & seen
        seen |= images


def test_shipped_part_is_made_of_what_it_says(small):
    """Trousers are tall and dark at both sides, bags are wide: labels belong to their images."""
    x, y = small.train.x[..., 0].astype(float), small.train.y
    trouser, bag = (small.class_names.index(name) for name in ("Trouser", "Bag"))
    side = x[:, :, :4].mean(axis=(1, 2))
    assert side[y == trouser].mean() < 5 < 30 < side[y == bag].mean()


def test_normalization_is_of_the_training_part_only(small):
    values = small.train.x.astype("float64")
    assert small.normalization.mean == (np.round(values.mean()),)
    np.testing.assert_allclose(small.normalization.std, values.std(), rtol=0.01)
    for part in PARTS:
        assert getattr(small, part).normalization is small.normalization


def test_data_set_says_what_it_is(small):
    assert small.image_shape == (28, 28, 1)
    assert [getattr(small, part).shuffle for part in PARTS] == [True, False, False]
    assert repr(small) == (
        "<Dataset fashion_mnist_small: 28x28x1 images of 10 classes, "
        "10000 train, 1000 validation, 2000 test>"
    )
    assert len(small.class_names) == 10
    assert small.train.class_names == small.class_names
    with pytest.raises(AttributeError):
        small.name = "other"


def test_seed_and_batch_size_are_of_the_training_order():
    one = kd.data.load("digits", seed=3, batch_size=100)
    other = kd.data.load("digits", seed=4)
    assert one.train.seed == 3
    assert one.test.batch_size == 100
    np.testing.assert_array_equal(one.test.x, other.test.x)
    assert (one.train.order(0) != other.train.order(0)).any()


def test_digits_are_those_of_scikit_learn():
    data = kd.data.load("digits")
    parts = [data.train, data.validation, data.test]
    assert [part.examples for part in parts] == [1259, 179, 359]
    y = np.concatenate([part.y for part in parts])
    assert np.bincount(y).tolist() == np.bincount(load_digits().target).tolist()
    x = np.concatenate([part.x for part in parts])
    assert (x.shape[1:], x.dtype) == ((28, 28, 1), "uint8")
    # Linear interpolation between the centres of the 8 pixels, in each direction.
    along = np.array(
        [np.interp((np.arange(28) + 0.5) * 8 / 28 - 0.5, range(8), e) for e in np.eye(8)]
    )
    expected = np.round(load_digits().images * 255 / 16)
    expected = np.einsum("nij,ia,jb->nab", expected, along, along)
    for index in range(0, len(x), 60):
        difference = np.abs(expected - x[index, ..., 0]).max(axis=(1, 2))
        nearest = difference.argmin()
        assert difference[nearest] <= 1
        assert load_digits().target[nearest] == y[index]
    assert data.class_names[3] == "3"


def make_fashion(folder, train=40, test=20):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, n in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (n, 28, 28)).astype("uint8")
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", (np.arange(n) % 10).astype("uint8"))
    return folder


def test_full_fashion_mnist_from_a_folder_and_from_keras_cache(tmp_path, monkeypatch):
    folder = make_fashion(tmp_path / "datasets" / "fashion-mnist")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras_dlcourse.data.datasets._DEBIAN", tmp_path / "none")
    for data in (
        kd.data.load("fashion_mnist"),
        kd.data.load("fashion_mnist", folder=folder),
    ):
        assert [data.train.examples, data.validation.examples, data.test.examples] == [30, 10, 20]
        assert data.class_names[9] == "Ankle boot"


def test_debian_package_comes_before_the_cache(tmp_path, monkeypatch):
    make_fashion(tmp_path / "datasets" / "fashion-mnist")
    debian = make_fashion(tmp_path / "debian", test=10)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras_dlcourse.data.datasets._DEBIAN", debian)
    assert kd.data.load("fashion_mnist").test.examples == 10


def test_missing_files_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr("keras_dlcourse.data.datasets._DEBIAN", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"(?s)keras.*apt install.*load_data.*folder="):
        kd.data.load("fashion_mnist")
    with pytest.raises(FileNotFoundError, match="not in .*elsewhere"):
        kd.data.load("fashion_mnist", folder=tmp_path / "elsewhere")


def test_damaged_and_mixed_up_files(tmp_path):
    folder = make_fashion(tmp_path / "f")
    images = folder / "t10k-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte.gz is damaged"):
        kd.data.load("fashion_mnist", folder=folder)
    images.write_bytes((folder / "train-images-idx3-ubyte.gz").read_bytes())
    with pytest.raises(ValueError, match="do not belong together"):
        kd.data.load("fashion_mnist", folder=folder)


def test_unknown_name_and_needless_directory(tmp_path):
    with pytest.raises(
        ValueError, match="'fashion_mnist', 'fashion_scenes', 'digits'. Received: 'mnist'"
    ):
        kd.data.load("mnist")
    with pytest.raises(ValueError, match="digits is not read from a folder"):
        kd.data.load("digits", folder=tmp_path)
