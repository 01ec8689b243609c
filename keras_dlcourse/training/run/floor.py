"""What simple methods reach on the same split: the floor that a network has to be above."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_dlcourse.data import Dataset, Examples, hog, take

LIMIT = 5_000  # training images; with more, the methods take minutes
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
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    train, test = take(data.train, limit, seed=0), take(data.test)
    methods: dict[str, Any] = {
        "linear SVM": make_pipeline(StandardScaler(), LinearSVC(C=1e-3, random_state=0)),
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
