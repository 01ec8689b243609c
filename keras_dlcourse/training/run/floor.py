"""What simple methods reach on the same split: the floor that a network has to be above."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_dlcourse.data import Dataset, Examples, Pipeline, hog, take
from keras_dlcourse.data.mask_labels import IGNORE, count_pixels
from keras_dlcourse.metrics.mask_scores import mean_iou
from keras_dlcourse.report.curves import PRECISION_RECALL, areas
from keras_dlcourse.report.one_vs_rest import one_vs_rest

LIMIT = 5_000  # training images; with more, the methods take minutes
PIXELS = 20_000, 100_000  # for training and for testing, drawn from images
_PIXEL_IMAGES = 1_000  # that these pixels are drawn from, at most
_TREES, _LEAF = 20, 10  # trees, and training pixels in a leaf, at least
_LEAST_SIDE = 16  # pixels; smaller images have too few edges to count


def measure_floor(data: Dataset, limit: int = LIMIT) -> dict[str, float]:
    """Measure the accuracy of methods without a network on the test part.

    A linear support vector machine and the nearest neighbor, on histograms of oriented gradients,
    and always giving the most frequent class. They are fitted on the training part only.

    Args:
        data: The data set.
        limit: Maximum number of training images, drawn with a fixed seed.

    Returns:
        The accuracy of each method by its name, in descending order.

    Example:
        >>> import keras_dlcourse as kd
        >>> list(measure_floor(kd.data.load("fashion_mnist_small"), limit=200))  # doctest: +SKIP
        ['HOG and linear SVM', 'HOG and nearest neighbor', 'most frequent class']
    """
    from sklearn.neighbors import KNeighborsClassifier

    train, test = take(data.train, limit, seed=0), take(data.test)
    methods: dict[str, Any] = {
        "linear SVM": _make_svm(),
        "nearest neighbor": KNeighborsClassifier(1),
    }
    name, features = _describe(train), [find_features(part) for part in (train, test)]
    floor = {
        f"{name} and {method}": float(
            model.fit(features[0], train.labels).score(features[1], test.labels)
        )
        for method, model in methods.items()
    }
    frequent = np.bincount(np.asarray(train.labels)).argmax()
    floor["most frequent class"] = float((np.asarray(test.labels) == frequent).mean())
    return dict(sorted(floor.items(), key=lambda item: -item[1]))


def measure_label_floor(data: Dataset, limit: int = LIMIT) -> dict[str, float]:
    """Measure the mean average precision of methods without a network, for several labels an image.

    A linear support vector machine for each label, on histograms of oriented gradients, and always
    giving the most frequent set of labels, whose mean average precision is the mean share of images
    that have a label. They are fitted on the training part only; unknown labels are left out.

    Args:
        data: The data set, with labels `(n, classes)`.
        limit: Maximum number of training images, drawn with a fixed seed.

    Returns:
        The mean average precision of each method by its name, in descending order.

    Example:
        >>> list(measure_label_floor(data))  # doctest: +SKIP
        ['HOG and one linear SVM per label', 'most frequent set of labels']
    """
    train, test = take(data.train, limit, seed=0), take(data.test)
    labels = np.asarray(test.labels)
    x, held_out = find_features(train), find_features(test)
    columns = [_rank_by_svm(x, column, held_out) for column in np.asarray(train.labels).T]
    scores = {
        f"{_describe(train)} and one linear SVM per label": np.stack(columns, axis=1),
        "most frequent set of labels": np.tile(find_frequent_set(train.labels), (len(labels), 1)),
    }
    floor = {
        name: float(np.nanmean(areas(PRECISION_RECALL, one_vs_rest(labels, values))))
        for name, values in scores.items()
    }
    return dict(sorted(floor.items(), key=lambda item: -item[1]))


def find_frequent_set(labels: Any) -> np.ndarray:
    """Return the most frequent row of labels `(n, classes)`.

    Example:
        >>> find_frequent_set([[1, 0], [0, 1], [0, 1]]).tolist()
        [0, 1]
    """
    sets, counts = np.unique(np.asarray(labels), axis=0, return_counts=True)
    return np.asarray(sets[counts.argmax()])


def _rank_by_svm(x: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Return scores of held-out images for one label."""
    known = labels >= 0
    if len(np.unique(labels[known])) < 2:  # of a random choice of the training images
        return np.zeros(len(held_out))
    model = _make_svm().fit(x[known], labels[known])
    return np.asarray(model.decision_function(held_out))


def _make_svm() -> Any:
    """Return a linear support vector machine on standardized features."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    return make_pipeline(StandardScaler(), LinearSVC(C=1e-3, random_state=0))


def _describe(examples: Examples) -> str:
    return "pixels" if _is_small(examples) else "HOG"


def find_features(examples: Examples) -> np.ndarray:
    """Return histograms of oriented gradients, or the pixels of very small images."""
    images = examples.inputs if examples.pixels is None else examples.pixels
    if _is_small(examples):
        return images.reshape(len(images), -1).astype("float32")
    cell = 8 if min(images.shape[1:3]) >= 48 else 4
    return np.asarray(hog(images, cell=cell))


def _is_small(examples: Examples) -> bool:
    return bool(min(examples.inputs.shape[1:3]) < _LEAST_SIDE)


def measure_mask_floor(data: Dataset, pixels: tuple[int, int] = PIXELS) -> dict[str, float]:
    """Measure the mean IoU of methods without a network, for masks.

    A random forest that sees the color and the position of a single pixel, and always giving the
    most frequent class. They are fitted on the training part only.

    Args:
        data: The data set, with masks.
        pixels: Numbers of training and of test pixels of the forest, drawn with a fixed seed.

    Returns:
        The mean IoU of each method by its name, in descending order.

    Example:
        >>> list(measure_mask_floor(data))  # doctest: +SKIP
        ['color and position of each pixel', 'most frequent class']
    """
    from sklearn.ensemble import RandomForestClassifier

    classes = len(data.class_names)
    train, test = (
        _draw_pixels(part, count)
        for part, count in zip((data.train, data.test), pixels, strict=True)
    )
    forest = RandomForestClassifier(_TREES, min_samples_leaf=_LEAF, random_state=0).fit(*train)
    counts = [count_pixels(part.y).sum(axis=0)[:classes] for part in (data.train, data.test)]
    floor = {
        "color and position of each pixel": _iou_of(forest.predict(test[0]), test[1], classes),
        "most frequent class": _iou_of_one(int(counts[0].argmax()), counts[1]),
    }
    return dict(sorted(floor.items(), key=lambda item: -item[1]))


def _draw_pixels(part: Pipeline, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return color and position, `(n, channels + 2)`, and class of some labeled pixels."""
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(part.examples)[:_PIXEL_IMAGES])
    each = -(-pixels // len(rows))
    features, labels = [], []
    for row in rows.tolist():
        image, mask = (np.asarray(array[[row]])[0] for array in (part.x, part.y))
        places = np.argwhere(mask != IGNORE)
        places = places[rng.permutation(len(places))[:each]]
        features.append(np.hstack([image[tuple(places.T)], places]))
        labels.append(mask[tuple(places.T)])
    return np.concatenate(features), np.concatenate(labels)


def _iou_of(predicted: np.ndarray, true: np.ndarray, classes: int) -> float:
    """Return the mean IoU of class numbers `(n,)`."""
    counted = (true[true == predicted], true, predicted)
    return mean_iou(np.stack([np.bincount(one, minlength=classes) for one in counted]))


def _iou_of_one(frequent: int, counts: np.ndarray) -> float:
    """Return the mean IoU of always giving one class, from the test pixels of each class."""
    always = np.zeros_like(counts)
    always[frequent] = counts.sum()
    return mean_iou(np.stack([np.minimum(counts, always), counts, always]))
