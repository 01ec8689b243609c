"""Random changes of training images that do not change what they show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_dlcourse.data import Examples, Pipeline, take
from keras_dlcourse.data.pipeline import rebuild
from keras_dlcourse.layers import RandomAffine
from keras_dlcourse.training.run.floor import find_features

_LEVELS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "light": {"degrees": 10.0, "shear": 8.0, "scale": (0.85, 1.15), "translation": 0.08},
    "strong": {"degrees": 20.0, "shear": 12.0, "scale": (0.7, 1.3), "translation": 0.15},
}
LEVELS = tuple(_LEVELS)
_FOLDS = 5
_LEAST_MARGIN = 1e-6  # between the scores of two classes, which are 2 apart
_LIMIT = 2_000  # images that decide about mirroring


def build_augmentation(
    level: str, flip: bool, seed: int, masks: Mapping[str, int] | None = None
) -> keras.layers.Layer | None:
    """Return the layer that augments images in training.

    Args:
        level: One of `LEVELS`.
        flip: Whether to mirror half of the images.
        seed: Seed of the layer.
        masks: Masks that move with the images, as for `RandomAffine`.

    Returns:
        The layer; None if it would change nothing.

    Example:
        >>> build_augmentation("light", flip=False, seed=0).degrees
        10.0
        >>> build_augmentation("none", flip=False, seed=0)
    """
    amounts = _LEVELS[level]
    if amounts is None and not flip:
        return None
    return RandomAffine(
        **(amounts or {}),
        horizontal_flip=flip,
        fill_mode="nearest",  # a black border would be a mark of augmented images
        masks=masks,
        seed=seed,
        name="augmentation",
    )


def add_augmentation(model: keras.Model, augmentation: keras.layers.Layer | None) -> keras.Model:
    """Return a model for training: the same weights, after augmentation of its input."""
    if augmentation is None:
        return model
    inputs = [keras.Input(batch_shape=one.shape, dtype=one.dtype) for one in model.inputs]
    return keras.Model(inputs[0], model(augmentation(inputs[0])), name=f"{model.name}_in_training")


def augment_pixels(data: Pipeline, augmentation: keras.layers.Layer, least: int) -> Pipeline:
    """Return at least so many images: those of a pipeline, and changed copies of them.

    For calibration with too few images; training does not need it.

    Args:
        data: Pixels from 0 to 255.
        augmentation: The layer that changes them.
        least: The number of images to return, at least.

    Returns:
        A pipeline without labels.
    """
    given = np.asarray(data.x[:])
    copies = [given]
    while sum(map(len, copies)) < least:
        changed = augmentation(given.astype("float32"), training=True)
        copies.append(np.round(keras.ops.convert_to_numpy(changed)).astype(given.dtype))
    return rebuild(data, x=np.concatenate(copies), y=None, sample_weight=None, shuffle=False)


def can_mirror(data: Pipeline) -> tuple[bool, str]:
    """Find out whether mirrored images still show what their labels say.

    Digits and letters do not, most photographs do. A simple classifier decides: it is trained on
    some of the images, once with and once without their mirror images, and tested on the others.
    They are refused if it is worse with them by more than one standard error: of few images, one
    more or less that is right says nothing. If images have any number of labels, it is right if it
    ranks all of an image's labels before the others; images with unknown labels are left out.

    Args:
        data: The training images with integer labels, `(n,)`, or `(n, classes)` of 1, 0 and -1.

    Returns:
        Whether they may be mirrored, and a sentence with both accuracies.

    Example:
        >>> import numpy as np, keras_dlcourse as kd
        >>> left = np.zeros((20, 16, 16, 1), "uint8")
        >>> left[:, 4:12, :8] = 255
        >>> images = np.concatenate([left, left[:, :, ::-1]])
        >>> can_mirror(kd.data.pipeline(images, np.arange(40) // 20))[0]
        False
    """
    some = take(data, _LIMIT, seed=0)
    labels = np.asarray(some.labels)
    several = labels.ndim == 2
    known = (labels >= 0).all(axis=1) if several else np.ones(len(labels), bool)
    labels = labels[known]
    counts = labels.sum(axis=0) if several else np.unique(labels, return_counts=True)[1]
    folds = min(_FOLDS, int(counts.min()))
    if folds < 2:
        return False, "there are too few images to find out whether they may be mirrored"
    features = find_features(some)[known], find_features(_mirror(some))[known]
    without, with_mirrored = _compare(*features, labels, folds)
    # The standard error of a paired comparison, of the examples that only one of them gets right.
    lost, gained = np.sum(without & ~with_mirrored), np.sum(with_mirrored & ~without)
    is_worse = lost - gained > np.sqrt(lost + gained)
    does = "ranks the labels right in" if several else "reaches"
    found = (
        f"a simple classifier {does} {with_mirrored.mean():.1%} with mirrored images and "
        f"{without.mean():.1%} without"
    )
    return not is_worse, found


def _mirror(examples: Examples) -> Examples:
    pixels = None if examples.pixels is None else examples.pixels[:, :, ::-1]
    return Examples(inputs=examples.inputs[:, :, ::-1], labels=examples.labels, pixels=pixels)


def _is_right(model: Any, x: NDArray, labels: NDArray) -> NDArray[np.bool_]:
    """Return which examples a classifier gets right, and not by rounding alone.

    If the mirror image of one class is another class, nothing but rounding tells them apart.
    """
    scores = model.decision_function(x)
    if scores.ndim == 1:  # two classes: one score, of the second class
        scores = np.stack([-scores, scores], axis=1)
    true = labels == 1 if labels.ndim == 2 else model.classes_[None] == labels[:, None]
    least = np.where(true, scores, np.inf).min(axis=1)
    others = np.where(true, -np.inf, scores).max(axis=1)
    return np.asarray(least > others + _LEAST_MARGIN)


def _compare(
    features: NDArray, mirrored: NDArray, labels: NDArray, folds: int
) -> NDArray[np.bool_]:
    """Return which held-out images are right without and with mirrored images in training."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import KFold, StratifiedKFold

    right = np.zeros((2, len(labels)), bool)
    folded = KFold if labels.ndim == 2 else StratifiedKFold
    splits = folded(folds, shuffle=True, random_state=0).split(features, labels)
    for rows, held_out in splits:
        both = np.concatenate([features[rows], mirrored[rows]]), np.concatenate([labels[rows]] * 2)
        for number, (x, y) in enumerate([(features[rows], labels[rows]), both]):
            model = RidgeClassifier(alpha=10.0).fit(x, y)
            right[number, held_out] = _is_right(model, features[held_out], labels[held_out])
    return right
