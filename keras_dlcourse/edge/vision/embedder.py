"""Image in, vector out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_flag
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.runtime.sandbox import Limits
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.image_model import ImageModel


class ImageEmbedder(ImageModel):
    """Embeds images as vectors with a `.tflite` file; similar images have nearby vectors.

    Reads, checks and runs the file as `ImageClassifier` does. The normalization comes from the
    file's metadata or from `mean` and `std`. One embedder can be shared between threads.

    Args:
        model: Path or bytes of a `.tflite` file, or a `ModelFile`.
        mean: Value to subtract from pixels (0 to 255), one number or one per channel, instead of
            the file's. Must be passed together with `std`.
        std: Value to divide by afterwards.
        threads: Number of threads; None leaves it to the runtime, which uses one.
        crop: How to fit images of other sizes: False stretches them, True center-crops them. Use
            the same setting as in training.
        bits: Number of significant bits in 16-bit grayscale images, see `read_image`.
        untrusted: Whether to run the model in a separate process, so that this process survives if
            the model crashes or takes too much time or memory: True, or the `Limits`.
        l2_normalize: Whether to divide each vector by its Euclidean length. Use it for files that
            do not end in `L2_NORMALIZATION`; those of `kd.models.embedding_model` do.

    Raises:
        InvalidModel: If the file is damaged or not a `.tflite` file, or the runtime rejects it;
            `ModelStopped` if it is untrusted and crashed or was stopped.
        ValueError: If its output is not a vector, or the normalization of its pixels is unknown.
        OSError: If the file cannot be read.
        ImportError: If no interpreter is installed.

    Example:
        >>> embedder = ImageEmbedder("embedder.int8.tflite")  # doctest: +SKIP
        >>> embedder.embed("shirt.png").shape  # doctest: +SKIP
        (64,)
    """

    _kind = "an image embedder"
    _gives = "one vector, shape (batch, dimensions)"
    _values = "embeddings"
    _for_one = "embed"

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | ModelFile,
        *,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        threads: int | None = None,
        crop: bool = False,
        bits: int | None = None,
        l2_normalize: bool = False,
        untrusted: bool | Limits = False,
    ) -> None:
        super().__init__(
            model, mean=mean, std=std, threads=threads, crop=crop, bits=bits, untrusted=untrusted
        )
        self._l2_normalize = check_flag("l2_normalize", l2_normalize)
        self._options["l2_normalize"] = l2_normalize

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        return self._width

    @property
    def settings(self) -> dict[str, Any]:
        """Settings besides the file that affect the vectors, in JSON-serializable types."""
        normalization: Normalization | None = self._normalization
        return {
            "normalization": None if normalization is None else normalization.to_dict(),
            "crop": bool(self._crop),
            "bits": self._bits,
            "l2_normalize": bool(self._l2_normalize),
        }

    def embed(self, image: Any) -> np.ndarray:
        """Return the vector of an image.

        Args:
            image: Path, bytes of an image file, PIL image, or uint8 array of shape (height, width)
                or (height, width, 1, 3 or 4). Images of other sizes than the model's are resized.

        Returns:
            float32 array of shape (dimensions,).

        Raises:
            InvalidImage: If the image cannot be read.
            TypeError: If the image has an unsupported type or dtype.
            ValueError: If the array has an unsupported shape.
        """
        vector: np.ndarray = self._normalize(self.run(self._load(image)[None])[0].reshape(1, -1))[0]
        return vector

    def embed_many(self, images: Any) -> np.ndarray:
        """Return the vector of each image: `embed` for several images.

        Args:
            images: Sequence of images as in `embed`, or uint8 array of shape
                (n, height, width, channels).

        Returns:
            float32 array of shape (n, dimensions).
        """
        return self._normalize(self._vectors(images))

    @staticmethod
    def cosine_similarity(u: np.ndarray, v: np.ndarray) -> float:
        """Return the cosine of the angle between two vectors, from -1 to 1.

        Args:
            u: Array of shape (dimensions,).
            v: Array of the same shape.

        Raises:
            ValueError: If the shapes differ, or a vector is zero.

        Example:
            >>> ImageEmbedder.cosine_similarity(np.array([3.0, 4.0]), np.array([4.0, 3.0]))
            0.96
        """
        u, v = (np.asarray(vector, np.float64) for vector in (u, v))
        if u.shape != v.shape or u.ndim != 1:
            raise ValueError(
                "u and v must be vectors of the same length. Received: shapes "
                f"{u.shape} and {v.shape}"
            )
        lengths = float(np.sqrt((u @ u) * (v @ v)))
        if lengths == 0:
            raise ValueError("u and v must not be zero vectors, whose cosine is undefined")
        return float(u @ v) / lengths

    def _normalize(self, vectors: np.ndarray) -> np.ndarray:
        """Return the vectors, scaled to length 1 if `l2_normalize`; zero vectors stay zero."""
        if not self._l2_normalize:
            return vectors
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(lengths, np.float32(1e-6))
