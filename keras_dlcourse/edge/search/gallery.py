"""New classes on the device without training: enroll a few images, identify others by distance."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.edge.search.gallery_file import (
    MATCHES,
    GalleryContent,
    InvalidGallery,
    check_label,
    check_made_with,
    file_hash,
    pack,
    unpack,
)
from keras_dlcourse.edge.search.identification import (
    UNKNOWN,
    Identity,
    check_threshold,
    class_means,
)
from keras_dlcourse.edge.search.nearest import check_metric, nearest
from keras_dlcourse.edge.search.vectors import SHORTEST, Vectors
from keras_dlcourse.edge.vision.embedder import ImageEmbedder


class Match(NamedTuple):
    """A template near an image.

    Attributes:
        label: Label of the template.
        distance: Distance of the template from the image's vector.
        row: Index of the template, in order of enrollment.
    """

    label: str
    distance: float
    row: int


class Gallery:
    """Labeled image vectors that identify other images.

    `label(I) = label of argmin_j d(f(I), t_j)`, or unknown if that distance is above the threshold;
    f is the embedder, and t_j are the vectors of all enrolled images, or their mean for each label.
    Classes are added from a few images, and removed, without training. One gallery can be shared
    between threads.

    Args:
        embedder: Embedder that turns images into vectors.
        match: `"nearest"` to compare with every template, `"mean"` with the mean of each label.
        threshold: Largest distance at which an image is identified; None identifies every image.
        metric: Distance between vectors: `"cosine"` (1 - cosine, from 0 to 2), `"euclidean"`, or
            `"dot"` (negative dot product).

    Raises:
        TypeError: If `embedder` is not an `ImageEmbedder`, or another argument has the wrong type.
        ValueError: If another argument is invalid.

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
            raise TypeError(
                f"embedder must be an ImageEmbedder. Received: {type(embedder).__name__}"
            )
        self._embedder, self._metric = embedder, check_metric(metric)
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
        """What images are compared with: all templates (`"nearest"`) or label means (`"mean"`)."""
        return self._match

    @match.setter
    def match(self, match: str) -> None:
        self._match: str = check_one_of("match", match, MATCHES)

    @property
    def threshold(self) -> float | None:
        """Largest distance at which an image is identified; None identifies every image."""
        return self._threshold

    @threshold.setter
    def threshold(self, threshold: float | None) -> None:
        self._threshold = None if threshold is None else check_threshold(threshold)

    @property
    def metric(self) -> str:
        """Name of the distance between vectors."""
        return self._metric

    @property
    def labels(self) -> tuple[str, ...]:
        """The enrolled labels, in order of first enrollment."""
        return tuple(self.counts)

    @property
    def counts(self) -> dict[str, int]:
        """Number of templates per label."""
        with self._lock:
            counts = dict.fromkeys(self._owners, 0)
            for label in self._owners:
                counts[label] += 1
        return counts

    def __len__(self) -> int:
        """Number of templates."""
        return len(self._owners)

    def enroll(self, label: str, images: Any) -> int:
        """Add images of a new or existing class; all of them, or none if there is an error.

        Args:
            label: Name of the class: one line of text other than `"unknown"`.
            images: Sequence of images as in `ImageEmbedder.embed`, or uint8 array of shape
                (n, height, width, channels), at least one.

        Returns:
            The number of templates that the label now has.

        Raises:
            InvalidImage: If an image cannot be read.
            TypeError: If `label` or `images` has the wrong type.
            ValueError: If the label is invalid, there are no images, or an image's vector is not
                finite or, for the cosine distance, is zero and so has no direction.
        """
        label = check_label(label)
        if label == UNKNOWN:
            raise ValueError(
                f"label must not be {UNKNOWN!r}, which is reserved for images of no enrolled class"
            )
        vectors = self._embed(images)
        if not len(vectors):
            raise ValueError(f"there are no images to enroll {label!r} from. Pass at least one.")
        if self._metric == "cosine":
            short = np.flatnonzero(np.linalg.norm(vectors, axis=1) < SHORTEST)
            if short.size:
                raise ValueError(
                    f"the model returns zeros for {_images(short)}. Zero vectors have no direction "
                    "and cannot be compared by cosine distance."
                )
        with self._lock:
            self._vectors.add(vectors)
            self._owners += [label] * len(vectors)
            self._means = None
            return self._owners.count(label)

    def remove(self, label: str) -> int:
        """Remove a label with all its templates, and return their number.

        Args:
            label: An enrolled label.

        Raises:
            ValueError: If the label is not enrolled.
        """
        with self._lock:
            rows = [row for row, owner in enumerate(self._owners) if owner == label]
            if not rows:
                known = ", ".join(dict.fromkeys(self._owners)) or "none"
                raise ValueError(f"label {label!r} is not enrolled. Enrolled labels: {known}")
            self._vectors.remove(rows)
            self._owners = [owner for owner in self._owners if owner != label]
            self._means = None
        return len(rows)

    def identify(self, image: Any) -> Identity:
        """Identify an image by the nearest template, or return `"unknown"`.

        Args:
            image: An image as in `ImageEmbedder.embed`.

        Returns:
            An `Identity`: label (`"unknown"` beyond the threshold), distance, the nearest label
            regardless of distance, and the row of the template (for class means, of the label).

        Raises:
            InvalidImage: If the image cannot be read.
            TypeError: If the image has an unsupported type.
            ValueError: If nothing is enrolled, or the image's vector is not finite.
        """
        self._check_filled()
        return self._identities(self._check_finite(self._embedder.embed(image)[None]))[0]

    def identify_many(self, images: Any) -> list[Identity]:
        """Identify each image: `identify` for several images.

        Args:
            images: Sequence of images as in `identify`, or uint8 array of shape
                (n, height, width, channels).
        """
        self._check_filled()
        vectors = self._embed(images)
        return self._identities(vectors) if len(vectors) else []

    def search(self, image: Any, k: int = 5) -> list[Match]:
        """Return the templates nearest to an image, nearest first, regardless of the threshold.

        Args:
            image: An image as in `identify`.
            k: Maximum number of templates.
        """
        self._check_filled()
        vectors = self._check_finite(self._embedder.embed(image)[None])
        with self._lock:
            rows, distances = nearest(vectors, self._vectors, k, metric=self._metric)
            pairs = zip(rows[0].tolist(), distances[0].tolist(), strict=True)
            return [Match(self._owners[row], distance, row) for row, distance in pairs]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the gallery to one file, atomically.

        The file records the SHA-256 of the model and all other settings that affect the vectors.

        Args:
            path: Path of the file, conventionally `.kdg`; an existing file is replaced.

        Raises:
            OSError: If it cannot be written; an existing file is then left unchanged.
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
        """Load a gallery written by `save`.

        Args:
            path: Path of the file.
            embedder: The embedder that it was made with: the same file with the same options.

        Raises:
            InvalidGallery: If it is not a gallery, or is damaged.
            ValueError: If it was made with another model or with other options.
            OSError: If it cannot be read.
        """
        from keras_dlcourse._files import user_path  # imported here because the import is slow

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
        except ValueError as error:  # vectors that cannot be searched
            raise InvalidGallery(f"{what} is not a valid gallery: {error}") from error
        gallery._owners = list(content.labels)
        return gallery

    def _check_filled(self) -> None:
        if not self._owners:
            raise ValueError(
                "the gallery is empty, so no image can be identified. Enroll images first."
            )

    def _embed(self, images: Any) -> np.ndarray:
        """Return the vectors of several images after checking that they are finite."""
        if isinstance(images, str | bytes | os.PathLike) or not isinstance(
            images, Sequence | np.ndarray
        ):
            raise TypeError(
                f"images must be a sequence of images. Received: {type(images).__name__}. Pass a "
                "single image in a list."
            )
        return self._check_finite(self._embedder.embed_many(images))

    def _check_finite(self, vectors: np.ndarray) -> np.ndarray:
        wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if wrong.size:
            raise ValueError(
                f"the model returns NaN or infinity for {_images(wrong)}. Check its weights and "
                "its normalization."
            )
        return vectors

    def _identities(self, vectors: np.ndarray) -> list[Identity]:
        limit = np.inf if self._threshold is None else self._threshold
        with self._lock:
            templates, owners = self._choose_templates()
            rows, distances = nearest(vectors, templates, 1, metric=self._metric)
            found = zip(rows[:, 0].tolist(), distances[:, 0].tolist(), strict=True)
            return [
                Identity(owners[row] if distance <= limit else UNKNOWN, distance, owners[row], row)
                for row, distance in found
            ]

    def _choose_templates(self) -> tuple[Vectors, list[str]]:
        """Return the vectors that images are compared with, and their labels; the lock is held."""
        if self._match == "nearest":
            return self._vectors, self._owners
        if self._means is None:
            means, labels = class_means(self._vectors, self._owners, metric=self._metric)
            self._means = Vectors.over(means), labels
        return self._means


def _images(numbers: np.ndarray) -> str:
    """List the first few images by index."""
    named = ", ".join(map(str, numbers[:5].tolist()))
    return f"image{'' if len(numbers) == 1 else 's'} {named}{', ...' if len(numbers) > 5 else ''}"
