"""New classes on the device without training: enrolled from a few images, named by distance."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_dlcourse.edge.search.gallery_file import (
    MATCHES,
    GalleryContent,
    InvalidGallery,
    check_made_with,
    checked_label,
    file_hash,
    pack,
    unpack,
)
from keras_dlcourse.edge.search.identification import (
    UNKNOWN,
    Identity,
    checked_threshold,
    class_means,
)
from keras_dlcourse.edge.search.nearest import METRICS, nearest
from keras_dlcourse.edge.search.vectors import SHORTEST, Vectors
from keras_dlcourse.edge.vision.embedder import ImageEmbedder


class Match(NamedTuple):
    """A template near an image.

    Attributes:
        label: Its label.
        distance: Its distance from the image's vector.
        row: Its number among the templates, in the order of enrolment.
    """

    label: str
    distance: float
    row: int


class Gallery:
    """Labelled vectors of images, by which other images are named.

    `label(I) = label of argmin_j d(f(I), t_j)`, or unknown if that distance is above the threshold;
    f is the embedder, and t_j are the vectors of all enrolled images, or their mean for each label.
    A class is added with a few images and removed again without training anything. One gallery can
    be used from several threads.

    Args:
        embedder: What turns images into vectors.
        match: `"nearest"` to compare with every template, `"mean"` with the mean of each label's.
        threshold: Largest distance at which an image is named; None names every image.
        metric: How vectors are compared: `"cosine"` (distance 1 - cosine, from 0 to 2),
            `"euclidean"`, or `"dot"` (minus the scalar product).

    Raises:
        TypeError: If `embedder` is none.
        ValueError: If another argument is out of its range.

    Example:
        >>> gallery = Gallery(ImageEmbedder("embedder.int8.tflite"))  # doctest: +SKIP
        >>> gallery.enroll("my mug", ["mug1.jpg", "mug2.jpg"])  # doctest: +SKIP
        >>> gallery.identify("photo.jpg").label  # doctest: +SKIP
        'my mug'
    """

    def __init__(
        self,
        embedder: ImageEmbedder,
        *,
        match: str = "nearest",
        threshold: float | None = None,
        metric: str = "cosine",
    ) -> None:
        if not isinstance(embedder, ImageEmbedder):
            raise TypeError(f"embedder must be an ImageEmbedder, got {type(embedder).__name__}")
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
        self._embedder, self._metric = embedder, metric
        self._model = file_hash(embedder.model_file.content)
        self._lock = threading.Lock()
        self._vectors = Vectors(dimension=embedder.dimensions)
        self._owners: list[str] = []
        self._means: tuple[Vectors, list[str]] | None = None
        self.match, self.threshold = match, threshold

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @property
    def match(self) -> str:
        """What an image is compared with: `"nearest"` of all templates, or the `"mean"` of each."""
        return self._match

    @match.setter
    def match(self, match: str) -> None:
        if match not in MATCHES:
            raise ValueError(f"match must be one of {', '.join(MATCHES)}, got {match!r}")
        self._match = match

    @property
    def threshold(self) -> float | None:
        """Largest distance at which an image is named; None names every image."""
        return self._threshold

    @threshold.setter
    def threshold(self, threshold: float | None) -> None:
        self._threshold = None if threshold is None else checked_threshold(threshold)

    @property
    def metric(self) -> str:
        """How vectors are compared."""
        return self._metric

    @property
    def labels(self) -> tuple[str, ...]:
        """The enrolled labels, the first one first."""
        return tuple(self.counts)

    @property
    def counts(self) -> dict[str, int]:
        """How many templates each label has."""
        with self._lock:
            counts = dict.fromkeys(self._owners, 0)
            for label in self._owners:
                counts[label] += 1
        return counts

    def __len__(self) -> int:
        """Number of templates."""
        return len(self._owners)

    def enroll(self, label: str, images: Any) -> int:
        """Add images of a class, known or new; all of them or, on an error, none.

        Args:
            label: What to call it: one line of text, but not `"unknown"`.
            images: Sequence of what `ImageEmbedder.embed` takes, or uint8 array of shape
                (n, height, width, channels), at least one.

        Returns:
            How many templates the label has now.

        Raises:
            InvalidImage: If an image cannot be read.
            TypeError: If label or images are of another type.
            ValueError: If the label cannot be used, there is no image, or the model gives no
                finite vector for one, or zeros, which have no direction.
        """
        label = checked_label(label)
        if label == UNKNOWN:
            raise ValueError(f"label {UNKNOWN!r} is what images of no enrolled class are called")
        vectors = self._embedded(images)
        if not len(vectors):
            raise ValueError(f"there are no images to enroll {label!r} from: give at least one")
        if self._metric == "cosine":
            short = np.flatnonzero(np.linalg.norm(vectors, axis=1) < SHORTEST)
            if short.size:
                raise ValueError(
                    f"the model gives zeros for {_images(short)}, which have no direction to "
                    "compare by cosine"
                )
        with self._lock:
            self._vectors.add(vectors)
            self._owners += [label] * len(vectors)
            self._means = None
            return self._owners.count(label)

    def remove(self, label: str) -> int:
        """Remove a label with all its templates, and return how many these were.

        Args:
            label: An enrolled label.

        Raises:
            ValueError: If it is not enrolled.
        """
        with self._lock:
            rows = [row for row, owner in enumerate(self._owners) if owner == label]
            if not rows:
                known = ", ".join(dict.fromkeys(self._owners)) or "none"
                raise ValueError(f"label {label!r} is not enrolled; enrolled are: {known}")
            self._vectors.remove(rows)
            self._owners = [owner for owner in self._owners if owner != label]
            self._means = None
        return len(rows)

    def identify(self, image: Any) -> Identity:
        """Name an image by what is nearest, or call it unknown.

        Args:
            image: What `ImageEmbedder.embed` takes.

        Returns:
            An `Identity`: label (`"unknown"` beyond the threshold), distance, the nearest label
            whatever its distance, and the row of the template (for class means, of the label).

        Raises:
            InvalidImage: If the image cannot be read.
            TypeError: If it is of another type.
            ValueError: If nothing is enrolled, or the model gives no finite vector for the image.
        """
        self._check_filled()
        return self._identities(self._finite(self._embedder.embed(image)[None]))[0]

    def identify_many(self, images: Any) -> list[Identity]:
        """Name each image: `identify` for several.

        Args:
            images: Sequence of what `identify` takes, or uint8 array of shape
                (n, height, width, channels).
        """
        self._check_filled()
        vectors = self._embedded(images)
        return self._identities(vectors) if len(vectors) else []

    def search(self, image: Any, k: int = 5) -> list[Match]:
        """Return the templates nearest to an image, the nearest first, whatever the threshold.

        Args:
            image: What `identify` takes.
            k: How many at most.
        """
        self._check_filled()
        vectors = self._finite(self._embedder.embed(image)[None])
        with self._lock:
            rows, distances = nearest(vectors, self._vectors, k, metric=self._metric)
            pairs = zip(rows[0].tolist(), distances[0].tolist(), strict=True)
            return [Match(self._owners[row], distance, row) for row, distance in pairs]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file, whole or not at all.

        It is bound to the model by its SHA-256, and to what else decides on the vectors.

        Args:
            path: The file, by custom `.kdg`; an old one is replaced.

        Raises:
            OSError: If it cannot be written; then an old file is as it was.
        """
        from keras_dlcourse._files import write_bytes

        with self._lock:
            content = GalleryContent(
                model=self._model,
                settings=self._embedder.settings,
                match=self._match,
                metric=self._metric,
                threshold=self._threshold,
                labels=tuple(self._owners),
                vectors=self._vectors.rows(),
            )
        write_bytes(path, pack(content))

    @classmethod
    def load(cls, path: str | os.PathLike[str], embedder: ImageEmbedder) -> Gallery:
        """Read what `save` wrote.

        Args:
            path: The file.
            embedder: The embedder that it was made with: the same file, under the same options.

        Raises:
            InvalidGallery: If it is no gallery, or a damaged one.
            ValueError: If it was made with another model, or under other options.
            OSError: If it cannot be read.
        """
        from keras_dlcourse._files import user_path  # here, because it takes time to import

        what = os.fspath(path)
        content = unpack(user_path(path).read_bytes(), what)
        gallery = cls(
            embedder,
            match=content.match,
            threshold=content.threshold,
            metric=content.metric,
        )
        check_made_with(content, gallery._model, embedder, what)
        try:
            gallery._vectors.add(content.vectors)
        except ValueError as error:  # vectors that no search can take
            raise InvalidGallery(f"{what} is not a gallery that can be read: {error}") from error
        gallery._owners = list(content.labels)
        return gallery

    def _check_filled(self) -> None:
        if not self._owners:
            raise ValueError("the gallery is empty, so nothing can be named: enroll images first")

    def _embedded(self, images: Any) -> np.ndarray:
        """Return the vectors of several images, checked to be finite."""
        if isinstance(images, str | bytes | os.PathLike) or not isinstance(
            images, Sequence | np.ndarray
        ):
            raise TypeError(
                f"images must be a sequence of images, got {type(images).__name__}; put a single "
                "one into a list"
            )
        return self._finite(self._embedder.embed_many(images))

    def _finite(self, vectors: np.ndarray) -> np.ndarray:
        wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if wrong.size:
            raise ValueError(
                f"the model gives NaN or infinity for {_images(wrong)}: its weights or its "
                "normalization are at fault"
            )
        return vectors

    def _identities(self, vectors: np.ndarray) -> list[Identity]:
        limit = np.inf if self._threshold is None else self._threshold
        with self._lock:
            templates, owners = self._compared()
            rows, distances = nearest(vectors, templates, 1, metric=self._metric)
            found = zip(rows[:, 0].tolist(), distances[:, 0].tolist(), strict=True)
            return [
                Identity(owners[row] if distance <= limit else UNKNOWN, distance, owners[row], row)
                for row, distance in found
            ]

    def _compared(self) -> tuple[Vectors, list[str]]:
        """Return what images are compared with, and its labels; the lock is held."""
        if self._match == "nearest":
            return self._vectors, self._owners
        if self._means is None:
            means, labels = class_means(self._vectors, self._owners, metric=self._metric)
            self._means = Vectors.over(means), labels
        return self._means


def _images(numbers: np.ndarray) -> str:
    """Name images by their places, the first few of them."""
    named = ", ".join(map(str, numbers[:5].tolist()))
    return f"image{'' if len(numbers) == 1 else 's'} {named}{', ...' if len(numbers) > 5 else ''}"
