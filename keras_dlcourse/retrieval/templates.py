"""Identification by templates: a class is known as soon as there are pictures of it, untrained."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import keras
import numpy as np

from keras_dlcourse.edge.search.identification import (
    Identity,
    checked_labels,
    checked_threshold,
    class_means,
    identify,
)
from keras_dlcourse.edge.search.nearest import checked_metric, nearest
from keras_dlcourse.edge.search.vectors import Vectors
from keras_dlcourse.retrieval.features import Extractor, checked_finite
from keras_dlcourse.retrieval.open_set import OpenSetThreshold, open_set_threshold

BY = ("template", "class_mean")


class Templates:
    """Pictures of known classes, by which a network names others: `argmin_j |f(I) - f(T_j)|`.

    Embeddings of templates are computed once, when they are added. `edge.identify` does the same on
    the device.

    Args:
        model: The network f.
        layer: Whose output embeds an image, as for `features`; None as there.
        by: `"template"` takes the nearest of all templates, `"class_mean"` the nearest mean of a
            class's templates, which one odd template cannot mislead.
        metric: `"cosine"`, `"euclidean"` or `"dot"`.
        threshold: Largest distance at which a class is believed, else `"unknown"`; None believes
            all. `choose_threshold` finds one.
        batch_size: Images computed at a time.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If an argument is none of those named.

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
        if by not in BY:
            raise ValueError(f"by must be 'template' or 'class_mean', got {by!r}")
        self.by, self.metric = by, checked_metric(metric)
        self.threshold = None if threshold is None else checked_threshold(threshold)
        self.labels: list[Any] = []
        self._extract = Extractor(model, layer, batch_size)
        self._vectors: Vectors | None = None
        self._means: tuple[Vectors, list[Any]] | None = None

    @property
    def classes(self) -> list[Any]:
        """Known classes, in the order in which they were added."""
        return list(dict.fromkeys(self.labels))

    @property
    def embeddings(self) -> np.ndarray:
        """Embeddings of all templates, `(templates, dimension)` float32, for a device's gallery."""
        return self._filled().rows()

    def add(self, images: Any, labels: Sequence[Hashable]) -> None:
        """Add templates, of new classes or of known ones.

        Args:
            images: As for `features`.
            labels: The class of each.

        Raises:
            ValueError: If images do not fit the model or there is not one label for each.
        """
        rows = self._embedded(images)
        values = checked_labels(labels, len(rows))
        if self._vectors is None:
            self._vectors = Vectors(rows)
        else:
            self._vectors.add(rows)
        self.labels += values
        self._means = None

    def remove(self, label: Hashable) -> None:
        """Forget a class.

        Args:
            label: Its label.

        Raises:
            KeyError: If it is not known.
        """
        if label not in self.labels:
            raise KeyError(f"no template is labelled {label!r}; known are {self.classes[:20]}")
        vectors = self._filled()
        vectors.remove([row for row, name in enumerate(self.labels) if name == label])
        self.labels = [name for name in self.labels if name != label]
        self._means = None

    def identify(self, images: Any) -> list[Identity]:
        """Name images.

        Args:
            images: As for `features`.

        Returns:
            For each its label, or `"unknown"`; the distance; and the nearest class, however far.

        Raises:
            ValueError: If there are no templates, or images do not fit the model.
        """
        gallery, labels = self._gallery()
        rows = self._embedded(images)
        return identify(rows, gallery, labels, threshold=self.threshold, metric=self.metric)

    def choose_threshold(
        self, images: Any, labels: Sequence[Hashable], false_accept_rate: float = 0.01
    ) -> OpenSetThreshold:
        """Set the threshold by validation images, so that few strangers are taken for someone.

        Strangers are the images of classes without templates. If there are none, every image plays
        the stranger: its distance is that to the nearest *other* class, as if its own were unknown.

        Args:
            images: Validation images, none of them a template.
            labels: The class of each, known or not.
            false_accept_rate: Share of strangers that may be accepted.

        Returns:
            The threshold, which is used from now on, and the rates that it had.

        Raises:
            ValueError: If no image is of a known class, or there are no strangers because one class
                is all there is.
        """
        gallery, names = self._gallery()
        rows = self._embedded(images)
        values = checked_labels(labels, len(rows))
        known = np.array([value in set(names) for value in values], bool)
        if not known.any():
            raise ValueError(
                f"no validation image is of a known class ({names[:10]}), so nobody would be "
                "accepted; check the labels"
            )
        found = nearest(rows, gallery, 1, metric=self.metric).distances[:, 0]
        strangers = found[~known] if not known.all() else self._to_others(rows, values)
        chosen = open_set_threshold(found[known], strangers, false_accept_rate)
        self.threshold = chosen.threshold
        return chosen

    def _to_others(self, rows: np.ndarray, values: list[Any]) -> np.ndarray:
        """Return the distance of each image from the nearest class that is not its own."""
        gallery, names = self._gallery()
        if len(set(names)) < 2:
            raise ValueError(
                "there is one known class only, and all validation images are of it: give images "
                "of strangers too"
            )
        result = np.empty(len(rows), np.float32)
        for label in dict.fromkeys(values):
            own = np.array([value == label for value in values])
            rest = [row for row, name in enumerate(names) if name != label]
            others = Vectors.over(gallery.rows(rest))
            result[own] = nearest(rows[own], others, 1, metric=self.metric).distances[:, 0]
        return result

    def _embedded(self, images: Any) -> np.ndarray:
        return checked_finite(self._extract(images)[0])

    def _filled(self) -> Vectors:
        if self._vectors is None or not len(self._vectors):
            raise ValueError("there are no templates: add images of the classes first")
        return self._vectors

    def _gallery(self) -> tuple[Vectors, list[Any]]:
        vectors = self._filled()
        if self.by == "template":
            return vectors, self.labels
        if self._means is None:
            means, names = class_means(vectors, self.labels, metric=self.metric)
            self._means = Vectors.over(means), names
        return self._means
