"""Validation of a pipeline's arguments: each check returns the converted value or raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_dlcourse.data.mask_labels import IGNORE, check_masks, count_pixels, is_masks
from keras_dlcourse.data.multilabel import classes_of, names_one_class
from keras_dlcourse.edge.description.normalization import Normalization

_CHUNK = 1 << 24  # values checked at a time: bounds the memory of the check


def is_lazy(x: Any) -> bool:
    """Return whether `x` reads its images on access, e.g. `ImageFiles`."""
    return (
        not hasattr(x, "__array__")
        and isinstance(getattr(x, "dtype", None), np.dtype)
        and all(hasattr(x, name) for name in ("shape", "__len__", "__getitem__"))
    )


def images(x: Any) -> Any:
    """Return images of rank 4, uint8 or finite floats. Lazily read images are returned unread."""
    x = x if is_lazy(x) else _one_array(x)
    if len(x.shape) != 4:
        hint = ". Add the channel axis with x[..., None]." if len(x.shape) == 3 else ""
        raise ValueError(
            "x must be images of shape (n, height, width, channels). Received: shape "
            f"{x.shape}{hint}"
        )
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise TypeError(
            f"x must be uint8 or float images. Received: {x.dtype}. Convert pixels in 0..255 with "
            "x.astype('uint8')."
        )
    if 0 in x.shape:
        raise ValueError(f"x must contain at least one image. Received: shape {tuple(x.shape)}")
    if x.dtype.kind == "f" and not is_lazy(x):
        _check_finite(x)
    return x


def _one_array(x: Any) -> np.ndarray:
    """Return images as one array, or raise ValueError if their sizes differ."""
    try:
        array = np.asarray(x)
    except ValueError:  # raised for a list of arrays with different shapes
        array = np.empty(0, object)
    if array.dtype == object:
        shapes = sorted({np.shape(image) for image in x})
        if len(shapes) > 1:
            raise ValueError(
                f"x must be images of one size. Received: {len(shapes)} sizes, "
                f"{', '.join(map(str, shapes[:5]))}{', ...' * (len(shapes) > 5)}. Resize them "
                "first, e.g. with keras.ops.image.resize, or read a folder of files with "
                "kd.data.image_folder(..., image_size=...)."
            )
    return array


def _check_finite(x: np.ndarray) -> None:
    step = max(1, _CHUNK // x[0].size)
    bad = [
        start + np.flatnonzero(~np.isfinite(x[start : start + step]).all(axis=(1, 2, 3)))
        for start in range(0, len(x), step)
    ]
    where = np.concatenate(bad)
    if where.size:
        raise ValueError(
            f"x has NaN or infinite pixels in {where.size} of {len(x)} images, first in image "
            f"{where[0]}. Repair or remove those images."
        )


def labels(y: Any, shape: tuple[int, ...], names: tuple[str, ...] | None) -> Any:
    """Return labels as int32 or float32, one per example, within the range of `names`.

    Labels of several tasks may be missing: NaN, or a class number below 0. Masks that are uint8 or
    are read on access are returned as they are.

    Args:
        y: The labels.
        shape: Shape of the images, `(n, height, width, channels)`.
        names: Names of the classes, or None.
    """
    if y is None:
        return None
    examples = shape[0]
    if isinstance(y, Mapping):
        return {task: _numbers(f"y[{task!r}]", part, examples) for task, part in y.items()}
    values = y if is_lazy(y) else np.asarray(y)
    has_masks = is_masks(values) and tuple(values.shape) == tuple(shape[:3])
    if has_masks or is_lazy(values) or (names is not None and values.ndim > 2):
        return _masks(values, shape, names)
    y = _numbers("y", values, examples)
    if not np.isfinite(y).all():
        hint = " Mark unknown labels with -1 where labels are 0 and 1." * (y.ndim == 2)
        raise ValueError(
            f"y has NaN or infinite values, first at {np.argwhere(~np.isfinite(y))[0]}.{hint}"
        )
    if names is not None:
        _check_classes(y, len(names))
    return y


def _numbers(name: str, y: Any, examples: int) -> np.ndarray:
    """Return labels as int32 or float32, one per example."""
    y = np.asarray(y)
    if y.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must be numeric. Received: {y.dtype}. Number the classes with "
            "class_names, y = numpy.unique(y, return_inverse=True)."
        )
    _check_length(name, y, examples)
    return y.astype("float32" if y.dtype.kind == "f" else "int32")


def _masks(y: Any, shape: tuple[int, ...], names: tuple[str, ...] | None) -> Any:
    """Return masks as uint8, unread, or int32; raise an error unless they fit images and names."""
    check_masks("y", y)
    _check_length("y", y, shape[0])
    if tuple(y.shape) != tuple(shape[:3]):
        raise ValueError(
            f"y must be masks as large as the images, {tuple(shape[1:3])}. Received: "
            f"{tuple(y.shape[1:])}"
        )
    if is_lazy(y):
        return y
    counts = count_pixels(y)
    classes = IGNORE if names is None else len(names)
    wrong = counts[:, classes:IGNORE] > 0
    if wrong.any():
        values = classes + np.flatnonzero(wrong.any(axis=0))
        raise ValueError(
            f"y must be class numbers 0..{classes - 1}, because class_names has {classes} names, "
            f"or {IGNORE} for pixels without a label. Received: "
            f"{', '.join(map(str, values[:10]))}, first in mask {wrong.any(axis=1).argmax()}"
        )
    return y if y.dtype == np.uint8 else y.astype("int32")


def _check_classes(y: np.ndarray, classes: int) -> None:
    if y.ndim == 2 and y.shape[1] > 1:
        if y.shape[1] != classes:
            raise ValueError(
                f"y is one-hot with {y.shape[1]} classes, but class_names has {classes} names."
            )
        return
    wrong = np.flatnonzero((y < 0) | (y >= classes) | (y != np.floor(y)))
    if wrong.size:
        raise ValueError(
            f"y must be class numbers 0..{classes - 1}, because class_names has {classes} names. "
            f"Received: {wrong.size} other values, first {y.ravel()[wrong[0]]} at index {wrong[0]}"
        )


def normalization(value: Normalization | None, channels: int) -> Normalization | None:
    """Return a normalization with one value, or one value per channel."""
    if value is None:
        return None
    if not isinstance(value, Normalization):
        raise TypeError(
            "normalization must be a keras_dlcourse.data.Normalization or None. Received: "
            f"{value!r}"
        )
    if len(value.mean) not in (1, channels):
        raise ValueError(
            f"normalization has {len(value.mean)} means, but the images have {channels} channels."
        )
    return value


def weights(
    sample_weight: Any, class_weight: Mapping[int, float] | None, y: Any, n: int
) -> np.ndarray | None:
    """Return the product of sample and class weights as float32, or None without weights."""
    result = None
    if sample_weight is not None:
        result = np.asarray(sample_weight, "float32")
        _check_length("sample_weight", result, n)
        by_pixel = is_masks(y) and result.shape == tuple(y.shape)
        good = np.isfinite(result) & (result >= 0)
        if not (result.ndim == 1 or by_pixel) or not good.all():
            where = "" if good.all() else f", first wrong at {np.argwhere(~good)[0].tolist()}"
            raise ValueError(
                "sample_weight must be one finite number of 0 or more per example"
                f"{', or per pixel of the masks' * is_masks(y)}. Received: shape "
                f"{result.shape} with values from {result.min()} to {result.max()}{where}"
            )
    if class_weight is not None:
        by_class = _class_weights(class_weight, y)
        result = by_class if result is None else result * by_class
    return result


def _class_weights(class_weight: Mapping[int, float], y: Any) -> np.ndarray:
    if y is None:
        raise ValueError("class_weight needs labels. Pass y.")
    if is_masks(y):
        raise ValueError(
            "class_weight needs labels with one class per image. For masks, use a loss that has "
            "weights by class, or sample_weight of their shape."
        )
    if isinstance(y, Mapping):
        raise ValueError("class_weight needs labels of one task. Use sample_weight for several.")
    if y.ndim == 2 and y.shape[1] > 1 and not names_one_class(y):
        raise ValueError(
            "class_weight needs labels with one class per image. For multi-label data, use "
            "kd.losses.WeightedBinaryCrossentropy(positive_weight=kd.data.positive_weights(y))."
        )
    classes = classes_of(y).astype(int)
    result = np.ones(len(y), "float32")
    for number, weight in class_weight.items():
        if not (np.isfinite(weight) and weight >= 0):
            raise ValueError(
                f"class_weight must be 0 or more. Received: {weight} for class {number!r}"
            )
        if not (classes == number).any():
            raise ValueError(
                f"class_weight contains class {number!r}, which is not among the labels "
                f"{np.unique(classes).tolist()[:20]}."
            )
        result[classes == number] = weight
    return result


def _check_length(name: str, values: np.ndarray, n: int) -> None:
    if values.ndim == 0 or len(values) != n:
        raise ValueError(
            f"{name} must have one entry for each of the {n} images in x. Received: shape "
            f"{values.shape}"
        )
