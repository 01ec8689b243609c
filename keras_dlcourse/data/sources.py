"""Data of many kinds as a `Dataset`: arrays, `tf.data`, `PyDataset`, Hugging Face, Parquet."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import is_real
from keras_dlcourse._extras import require
from keras_dlcourse._files import user_path
from keras_dlcourse.data import checks
from keras_dlcourse.data.datasets import Dataset
from keras_dlcourse.data.examples import take
from keras_dlcourse.data.mask_labels import IGNORE, count_pixels, is_masks
from keras_dlcourse.data.multilabel import multi_hot, names_one_class
from keras_dlcourse.data.parts import find_part
from keras_dlcourse.data.pipeline import Pipeline
from keras_dlcourse.data.reading import list_some
from keras_dlcourse.data.split import check_fractions, split_indices
from keras_dlcourse.data.table import read_images
from keras_dlcourse.edge.description.labels import check_class_names
from keras_dlcourse.edge.vision.images import load_image, read_image

_PARTS = ("train", "validation", "test")
_FRACTION = 0.1
_PARQUET = {".parquet", ".pq"}
# Names of columns, if their types do not tell which is which.
_IMAGE = ("image", "img", "images", "picture", "photo")
_LABEL = ("label", "labels", "class", "category", "target")


def as_dataset(
    train: Any,
    validation: Any = _FRACTION,
    test: Any = _FRACTION,
    class_names: Sequence[str] | None = None,
    *,
    name: str = "data",
    columns: tuple[str, str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    channels: int = 3,
    crop: bool = False,
    batch_size: int = 32,
    seed: int = 0,
) -> Dataset:
    """Convert images and labels of many kinds to a data set in three parts.

    | kind of data | images and labels |
    |---|---|
    | `(x, y)` | arrays, or `ImageFiles` and an array, which are read on access |
    | `tf.data.Dataset`, `keras.utils.PyDataset`, PyTorch `DataLoader` | batches `(x, y)` |
    | Hugging Face `datasets.Dataset` | a column of images and one of labels |
    | path of a Parquet file, or of a folder with several | the same; needs `pyarrow` |
    | `Pipeline` | its `x` and `y` |

    A tuple of two of these is training and test data, as `keras.datasets` return them; one of three
    is training, validation and test data. A dictionary with such keys, like a Hugging Face
    `DatasetDict`, is the same. A `Dataset` is returned unchanged, and any other path is read by
    `read_images`.

    All images of batches, Hugging Face data and Parquet files are read into memory, each batch
    once. Sample weights are not accepted: create a `Dataset` of `Pipeline` for them.

    Args:
        train: The training data, or all parts.
        validation: Data like `train`, or the fraction of the training images of each class to use
            for validation.
        test: The same for testing.
        class_names: Names of the classes, in the order of their numbers. None takes those of the
            data; if they have none, text labels in sorted order, or the class numbers.
        name: Name of the data set. A path has its own.
        columns: Names of the columns with images and labels; None if they can be recognized.
        image_size: Height and width to resize stored images to; one integer for both. None keeps
            their size, which must then be the same; in folders and tables, it is 96.
        channels: Of stored images: 3 for RGB, 1 for gray.
        crop: Whether to crop stored images instead of stretching them, as in `image_folder`.
        batch_size: Number of images per batch.
        seed: Seed of the split and of the training order.

    Returns:
        A `Dataset`. Labels are class numbers `(n,)`, also if they were one-hot or text, or `(n,
        classes)` if images have several classes: 1, 0 and, where unknown, -1. Masks of class
        numbers `(n, height, width)` stay masks; 255 marks pixels without a label.

    Raises:
        TypeError: If `train` is none of these.
        ValueError: If images have different sizes, labels are missing or do not fit `class_names`,
            a class has no image for training, or the data have sample weights.
        ImportError: If `pyarrow` is needed and not installed.

    Example:
        >>> import numpy as np, keras_dlcourse as kd
        >>> x = np.zeros((20, 8, 8, 3), "uint8")
        >>> y = np.array(["cat", "dog"] * 10)
        >>> kd.data.as_dataset((x, y), test=(x[:4], y[:4]))
        <Dataset data: 8x8x3 images of 2 classes, 18 train, 2 validation, 4 test>
    """
    reader = _Reader(columns, image_size, channels, crop)
    sources = _list_parts(train, {"validation": validation, "test": test})
    whole = sources["train"]
    drawn = {part: sources[part] for part in _PARTS[1:] if is_real(sources[part])}
    if isinstance(whole, Dataset) or _is_folder_or_table(whole):
        if len(drawn) < len(sources) - 1:
            raise ValueError(
                "validation and test must be fractions if train is a Dataset, a folder or a table, "
                "which have parts of their own"
            )
        if isinstance(whole, Dataset):
            return whole
        return read_images(
            whole, **drawn, image_size=96 if image_size is None else image_size, channels=channels,
            crop=crop, class_names=class_names, batch_size=batch_size, seed=seed,
        )  # fmt: skip
    check_fractions(**drawn)
    parts = {
        part: reader.read(part, source) for part, source in sources.items() if part not in drawn
    }
    names, parts = _number_classes(parts, class_names)
    if drawn:
        x, y = parts["train"].x, parts["train"].y
        for part, rows in zip(
            ("train", *drawn), split_indices(y, tuple(drawn.values()), seed), strict=True
        ):
            parts[part] = _Part(x.subset(rows) if hasattr(x, "subset") else x[rows], y[rows])
    _check_parts(parts, names)
    found, held, tested = ((parts[part].x, parts[part].y) for part in _PARTS)
    return Dataset.from_parts(name, found, held, tested, names, batch_size=batch_size, seed=seed)


def _list_parts(train: Any, others: dict[str, Any]) -> dict[str, Any]:
    """Return the data of each part, or a fraction."""
    if isinstance(train, Mapping):
        found = {find_part(name) or name: data for name, data in train.items()}
        if len(found) < len(train) or not {"train"} <= set(found) <= set(_PARTS):
            raise ValueError(
                "train must have the keys train and perhaps validation and test, if it is a "
                f"dictionary of parts. Received: {', '.join(map(str, train))}"
            )
    elif isinstance(train, tuple) and len(train) in (2, 3) and all(map(_is_source, train)):
        names = ("train", "test") if len(train) == 2 else _PARTS
        found = dict(zip(names, train, strict=True))
    else:
        return {"train": train, **others}
    if given := [part for part in found if not is_real(others.get(part, 0.0))]:
        raise ValueError(f"{given[0]} must be given once. Received: it is in train, too")
    return {**others, **found}


def _is_source(value: Any) -> bool:
    """Return whether a value is data of a part by itself: not an array."""
    if isinstance(value, tuple | list):
        return len(value) == 2 and all(hasattr(array, "shape") for array in value)
    return isinstance(value, keras.utils.PyDataset) or _is_hugging(value) or _is_tf_data(value)


def _is_tf_data(value: Any) -> bool:
    return hasattr(value, "element_spec")


def _is_hugging(value: Any) -> bool:
    return hasattr(value, "column_names") and hasattr(value, "features")


def _is_folder_or_table(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) and not _parquet_files(value)


def _parquet_files(path: Any) -> list[Path]:
    place = user_path(path)
    if place.suffix.lower() in _PARQUET:
        return [place]
    return sorted(file for file in place.glob("*") if file.suffix.lower() in _PARQUET)


@dataclass(frozen=True)
class _Part:
    """Images and labels of a part, and the names of the classes that the data have, if any."""

    x: Any
    y: np.ndarray
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class _Rows:
    """Rows that have a stored image and a label each."""

    rows: Iterable[Mapping[str, Any]]
    image: str
    label: str
    class_names: tuple[str, ...] | None


@dataclass(frozen=True)
class _Reader:
    """How a part becomes arrays: arguments of `as_dataset`."""

    columns: tuple[str, str] | None
    image_size: int | tuple[int, int] | None
    channels: int
    crop: bool

    def read(self, part: str, source: Any) -> _Part:
        """Return the images and labels of a part."""
        if isinstance(source, str | os.PathLike):
            return self._read_rows(part, self._open_parquet(part, source))
        if _is_hugging(source):
            return self._read_rows(part, self._open_hugging(source))
        found = _read_arrays(part, source)
        if self.image_size is not None:
            raise ValueError(
                "image_size must be None for images in arrays and batches, which have a size. "
                f"Received: {self.image_size}. Resize them with keras.ops.image.resize."
            )
        return found

    def _open_hugging(self, source: Any) -> _Rows:
        features = source.features or {}
        image, label = self._choose_columns(
            source.column_names, lambda name: type(features.get(name)).__name__ == "Image"
        )
        names = getattr(features.get(label), "names", None)
        plain = source.with_format(None) if hasattr(source, "with_format") else source
        return _Rows(plain, image, label, None if names is None else tuple(names))

    def _open_parquet(self, part: str, path: Any) -> _Rows:
        require("reading Parquet files", "parquet", "pyarrow")
        from pyarrow import parquet

        files = _parquet_files(path)
        if not files:
            raise ValueError(f"{part} must be a Parquet file, like train. Received: {path}")
        if not files[0].is_file():
            raise FileNotFoundError(f"{files[0]} is not a file. Pass a Parquet file, or a folder.")
        schema = parquet.read_schema(files[0])
        image, label = self._choose_columns(
            schema.names, lambda name: str(schema.field(name).type).startswith(("struct", "binary"))
        )

        def rows() -> Iterator[Mapping[str, Any]]:
            for file in files:
                with parquet.ParquetFile(file) as opened:
                    for batch in opened.iter_batches(256, columns=[image, label]):
                        yield from batch.to_pylist()

        return _Rows(rows(), image, label, _hugging_names(schema.metadata, label))

    def _choose_columns(
        self, names: Sequence[str], is_image: Callable[[str], bool]
    ) -> tuple[str, str]:
        """Return the columns with the images and the labels."""
        if self.columns is not None:
            if missing := [name for name in self.columns if name not in names]:
                raise ValueError(
                    f"columns must be in the data. Missing: {', '.join(missing)}. Available: "
                    f"{', '.join(names)}"
                )
            return self.columns
        images = [name for name in names if is_image(name)] or [n for n in names if n in _IMAGE]
        labels = [name for name in names if name in _LABEL and name not in images]
        if len(images) != 1 or len(labels) != 1:
            raise ValueError(
                "columns must name the columns with images and labels, because they cannot be told "
                f"from {', '.join(names)}. Pass columns=('image', 'label')."
            )
        return images[0], labels[0]

    def _read_rows(self, part: str, found: _Rows) -> _Part:
        x, y = [], []
        for number, row in enumerate(found.rows):
            x.append(self._decode(row[found.image], f"image {number} of {part}"))
            y.append(row[found.label])
        sizes = sorted({image.shape[:2] for image in x})
        if not x:
            raise ValueError(f"{part} contains no images.")
        if len(sizes) > 1:
            raise ValueError(
                f"image_size must be given, because {part} has images of {len(sizes)} sizes, e.g. "
                f"{sizes[0]} and {sizes[-1]} (height, width)."
            )
        return _Part(np.stack(x), _one_array(part, y), found.class_names)

    def _decode(self, value: Any, place: str) -> np.ndarray:
        """Return the pixels of a stored image: PIL, bytes, a path, or a dictionary with these."""
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if value is None:
            raise ValueError(f"{place} is missing.")
        size = self.image_size
        try:
            if size is None:
                return read_image(value, self.channels)
            size = (size, size) if isinstance(size, int) else size
            return load_image(value, size, self.channels, self.crop)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None


def _hugging_names(metadata: Mapping[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    """Return the class names that Hugging Face's `datasets` write into Parquet files, if any."""
    content = json.loads((metadata or {}).get(b"huggingface", b"{}"))
    names = content.get("info", {}).get("features", {}).get(label, {}).get("names")
    return None if names is None else tuple(names)


def _read_arrays(part: str, source: Any) -> _Part:
    """Return the images and labels of arrays, a pipeline, or batches."""
    if isinstance(source, Pipeline):
        if source.sample_weight is not None:
            raise _refuse_weights(part)
        return _Part(source.x, _labels_of(part, source.y), source.class_names)
    if isinstance(source, tuple | list) and len(source) == 2 and hasattr(source[0], "shape"):
        x, y = source
        return _Part(checks.images(x), _labels_of(part, y))
    if isinstance(source, tuple) and len(source) == 3:
        raise _refuse_weights(part)
    if isinstance(source, str | bytes | Mapping) or not isinstance(
        source, Iterable | keras.utils.PyDataset
    ):
        raise TypeError(
            f"{part} must be (x, y) of arrays, batches such as a tf.data.Dataset or a PyDataset, a "
            "Hugging Face Dataset, the path of a Parquet file, or a kd.data.Dataset. Received: "
            f"{type(source).__name__}"
        )
    if _has_weights(source):
        raise _refuse_weights(part)
    found = take(source)
    x = found.inputs if found.pixels is None else found.pixels
    names = getattr(source, "class_names", None)
    names = None if names is None else tuple(names)
    return _Part(checks.images(x), _labels_of(part, found.labels), names)


def _has_weights(batches: Any) -> bool:
    """Return whether batches contain sample weights. A generator cannot be asked."""
    if isinstance(batches, keras.utils.PyDataset):
        first = batches[0]
    elif isinstance(batches, Iterator):
        return False
    else:
        first = next(iter(batches), None)
    return isinstance(first, tuple | list) and len(first) > 2


def _refuse_weights(part: str) -> ValueError:
    return ValueError(
        f"{part} must be images and labels. Received: sample weights, too. Create the parts with "
        "kd.data.pipeline(x, y, sample_weight=...), and of them a kd.data.Dataset."
    )


def _labels_of(part: str, y: Any) -> np.ndarray:
    if y is None or isinstance(y, Mapping):
        found = "none" if y is None else f"labels of {len(y)} tasks"
        raise ValueError(f"{part} must have one array of labels. Received: {found}")
    return _one_array(part, y)


def _one_array(part: str, y: Any) -> np.ndarray:
    """Return labels as an array: text, class numbers `(n,)`, `(n, classes)`, or masks."""
    if checks.is_lazy(y):
        y = y[:]
    try:
        y = np.asarray(y) if isinstance(y, np.ndarray | list) else keras.ops.convert_to_numpy(y)
    except ValueError:
        raise ValueError(
            f"{part} must have one label per image. Received: lists of different lengths. Convert "
            "several labels per image to (n, classes) of 0 and 1."
        ) from None
    if y.dtype == object and all(isinstance(label, str | bytes) for label in y.ravel()):
        y = np.array([label.decode() if isinstance(label, bytes) else label for label in y.ravel()])
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 4 and y.shape[3] == 1:
        y = y[..., 0]
    if not is_masks(y) and (y.dtype.kind not in "biufU" or y.ndim not in (1, 2)):
        raise ValueError(
            f"{part} must have labels that are text, class numbers (n,), (n, classes) of 0 and 1, "
            "or masks of whole class numbers, (n, height, width). Received: "
            f"{y.dtype} of shape {y.shape}"
        )
    return y


def _number_classes(
    parts: dict[str, _Part], class_names: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, _Part]]:
    """Return the names of the classes, and the parts with labels by number."""
    train = parts["train"]
    own = next((part.class_names for part in parts.values() if part.class_names), None)
    names = class_names if class_names is not None else own
    if train.y.dtype.kind == "U":
        names = sorted(set(train.y.tolist())) if names is None else names
    elif names is None:
        last = train.y.shape[1] if train.y.ndim == 2 else _last_class(train.y) + 1
        names = [str(number) for number in range(max(last, 1))]
    names = check_class_names(names)
    labels = {part: _numbers(part, data.y, names) for part, data in parts.items()}
    if all(y.ndim == 2 and names_one_class(y) for y in labels.values()):
        labels = {part: y.argmax(axis=1) for part, y in labels.items()}
    return names, {part: replace(data, y=labels[part]) for part, data in parts.items()}


def _last_class(y: np.ndarray) -> int:
    """Return the largest class number."""
    return int(y.max(initial=0, where=y != IGNORE) if is_masks(y) else y.max())


def _numbers(part: str, y: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Return class numbers `(n,)`, `(n, classes)` if an image has several, or masks."""
    if y.dtype.kind == "U":
        number_of = {name: number for number, name in enumerate(names)}
        if unknown := sorted(set(y.ravel().tolist()) - set(names)):
            raise ValueError(
                f"class_names must have all labels of {part}. Missing: {list_some(unknown)}"
            )
        return np.array([number_of[label] for label in y.tolist()])
    if y.ndim == 2 and y.shape[1] != len(names):
        raise ValueError(
            f"class_names must have a name for each of the {y.shape[1]} columns of the labels of "
            f"{part}. Received: {len(names)} names"
        )
    if y.ndim == 2:
        return np.nan_to_num(multi_hot(y, f"the labels of {part}"), nan=-1).astype("int32")
    if is_masks(y):
        return y  # checked by `Pipeline`
    numbers = y.astype(int)
    if (numbers != y).any() or numbers.min() < 0 or numbers.max() >= len(names):
        wrong = y[(numbers != y) | (numbers < 0) | (numbers >= len(names))][0]
        raise ValueError(
            f"the labels of {part} must be class numbers 0..{len(names) - 1}. Received: {wrong}"
        )
    return numbers


def _check_parts(parts: Mapping[str, _Part], names: tuple[str, ...]) -> None:
    """Raise ValueError unless the parts fit together and each class can be trained."""
    train = parts["train"]
    for part, data in parts.items():
        if data.x.shape[1:] != train.x.shape[1:] or data.y.ndim != train.y.ndim:
            raise ValueError(
                f"{part} must have images and labels like train. Received: images of "
                f"{data.x.shape[1:]} and labels of shape {data.y.shape}, but train has "
                f"{train.x.shape[1:]} and {train.y.shape}"
            )
    present: np.ndarray
    if is_masks(train.y):
        present = np.asarray(count_pixels(train.y)[:, : len(names)].any(axis=0))
    elif train.y.ndim == 2:
        present = np.asarray((train.y == 1).any(axis=0))
    else:
        present = np.isin(range(len(names)), train.y)
    if not present.all():
        missing = [name for name, shown in zip(names, present, strict=True) if not shown]
        raise ValueError(f"Each class must have images for training. Missing: {list_some(missing)}")
