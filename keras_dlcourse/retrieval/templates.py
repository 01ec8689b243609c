"""Identification by templates: adding a class takes a few images and no training."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.edge.search.identification import (
    Identity,
    check_labels,
    check_threshold,
    class_means,
    identify,
)
from keras_dlcourse.edge.search.nearest import check_metric, nearest
from keras_dlcourse.edge.search.vectors import Vectors
from keras_dlcourse.retrieval.features import Extractor, check_finite
from keras_dlcourse.retrieval.open_set import OpenSetThreshold, open_set_threshold

BY = ("template", "class_mean")


class Templates:
    """Identifies images by templates, images of known classes: `argmin_j |f(I) - f(T_j)|`.

    Embeddings of templates are computed once, when they are added. `edge.identify` does the same on
    the device.

    Args:
        model: The network f.
        layer: Layer whose output is the embedding; see `features`, also for None.
        by: `"template"` uses the nearest template; `"class_mean"` uses the nearest class mean of
            templates, which is robust against a single odd template.
        metric: `"cosine"`, `"euclidean"` or `"dot"`.
        threshold: Largest accepted distance; beyond it, the label is `"unknown"`. None accepts any
            distance. `choose_threshold` finds one.
        batch_size: Number of images per batch.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If an argument is not one of these values.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Identity()])
        >>> templates = Templates(model, threshold=0.2)
        >>> templates.add(np.array([[1.0, 0.0], [0.0, 1.0]]), ["cat", "dog"])
        >>> found = templates.identify(np.array([[5.0, 1.0], [1.0, 1.0]]))
        >>> [identity.label for identity in found], templates.classes
        (['cat', 'unknown'], ['cat', 'dog'])
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        layer: str | None = None,
        by: str = "template",
        metric: str = "cosine",
        threshold: float | None = None,
        batch_size: int = 32,
    ) -> None:
        check_one_of("by", by, BY)
        self.by, self.metric = by, check_metric(metric)
        self.threshold = None if threshold is None else check_threshold(threshold)
        self.labels: list[Any] = []
        self._extract = Extractor(model, layer, batch_size)
        self._vectors: Vectors | None = None
        self._means: tuple[Vectors, list[Any]] | None = None

    @property
    def classes(self) -> list[Any]:
        """Known classes, in the order they were added."""
        return list(dict.fromkeys(self.labels))

    @property
    def embeddings(self) -> np.ndarray:
        """Embeddings of all templates, `(templates, dimension)` float32, e.g. for a device."""
        return self._require_vectors().rows()

    def add(self, images: Any, labels: Sequence[Hashable]) -> None:
        """Add templates of new or known classes.

        Args:
            images: As for `features`.
            labels: Class of each image.

        Raises:
            ValueError: If images do not match the model, or there is not one label per image.
        """
        rows = self._embed(images)
        values = check_labels(labels, len(rows))
        if self._vectors is None:
            self._vectors = Vectors(rows)
        else:
            self._vectors.add(rows)
        self.labels += values
        self._means = None

    def remove(self, label: Hashable) -> None:
        """Remove a class.

        Args:
            label: Label of the class.

        Raises:
            KeyError: If the class is not known.
        """
        if label not in self.labels:
            raise KeyError(
                f"no template has the label {label!r}. Known labels: {self.classes[:20]}."
            )
        vectors = self._require_vectors()
        vectors.remove([row for row, name in enumerate(self.labels) if name == label])
        self.labels = [name for name in self.labels if name != label]
        self._means = None

    def identify(self, images: Any) -> list[Identity]:
        """Identify images.

        Args:
            images: As for `features`.

        Returns:
            For each image: its label, or `"unknown"`; the distance; and the nearest class at any
            distance.

        Raises:
            ValueError: If there are no templates, or images do not match the model.
        """
        gallery, labels = self._gallery()
        rows = self._embed(images)
        return identify(rows, gallery, labels, threshold=self.threshold, metric=self.metric)

    def choose_threshold(
        self, images: Any, labels: Sequence[Hashable], false_accept_rate: float = 0.01
    ) -> OpenSetThreshold:
        """Choose the threshold from validation images, for a given false accept rate.

        Strangers are the images of classes without templates. If there are none, every image is
        also used as a stranger, by its distance to the nearest *other* class, as if its own class
        were unknown.

        Args:
            images: Validation images, none of them a template.
            labels: Class of each image, known or not.
            false_accept_rate: Fraction of strangers that may be accepted.

        Returns:
            The threshold, which is used from now on, and its rates on these images.

        Raises:
            ValueError: If no image is of a known class, or there are no strangers because there is
                only one class.
        """
        gallery, names = self._gallery()
        rows = self._embed(images)
        values = check_labels(labels, len(rows))
        known = np.array([value in set(names) for value in values], bool)
        if not known.any():
            raise ValueError(
                f"no validation image is of a known class ({names[:10]}), so none could be "
                "accepted. Check the labels."
            )
        found = nearest(rows, gallery, 1, metric=self.metric).distances[:, 0]
        strangers = found[~known] if not known.all() else self._measure_to_others(rows, values)
        chosen = open_set_threshold(found[known], strangers, false_accept_rate)
        self.threshold = chosen.threshold
        return chosen

    def _measure_to_others(self, rows: np.ndarray, values: list[Any]) -> np.ndarray:
        """Return the distance of each image to the nearest other class."""
        gallery, names = self._gallery()
        if len(set(names)) < 2:
            raise ValueError(
                "there is only one known class, and all validation images are of it. Pass images "
                "of strangers, too."
            )
        result = np.empty(len(rows), np.float32)
        for label in dict.fromkeys(values):
            own = np.array([value == label for value in values])
            rest = [row for row, name in enumerate(names) if name != label]
            others = Vectors.over(gallery.rows(rest))
            result[own] = nearest(rows[own], others, 1, metric=self.metric).distances[:, 0]
        return result

    def _embed(self, images: Any) -> np.ndarray:
        return check_finite(self._extract(images)[0])

    def _require_vectors(self) -> Vectors:
        if self._vectors is None or not len(self._vectors):
            raise ValueError("there are no templates. Add images of the classes first.")
        return self._vectors

    def _gallery(self) -> tuple[Vectors, list[Any]]:
        vectors = self._require_vectors()
        if self.by == "template":
            return vectors, self.labels
        if self._means is None:
            means, names = class_means(vectors, self.labels, metric=self.metric)
            self._means = Vectors.over(means), names
        return self._means
