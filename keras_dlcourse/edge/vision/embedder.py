"""Image in, vector out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.runtime.sandbox import Limits
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.image_model import ImageModel


class ImageEmbedder(ImageModel):
    """Turns images into vectors with a `.tflite` file; like images give vectors close together.

    Reads, checks and feeds the file as `ImageClassifier` does; the file's metadata say what its
    pixels go through, or `mean` and `std` do. One embedder can be called from several threads.

    Args:
        model: Path or bytes of a `.tflite` file, or a `ModelFile`.
        mean: What is subtracted from pixels (0 to 255): one number or one per channel, instead of
            the file's. Given together with `std`.
        std: What they are divided by then.
        threads: Threads to compute on; None leaves it to the runtime, which takes one.
        crop: How images of other sizes are made to fit: False stretches them, True crops their
            centre. Take what training took.
        bits: How many bits the values of grey images have that are stored in 16, see `read_image`.
        untrusted: Whether to run the model in a process of its own, so that one that crashes, or
            takes too much time or memory, does not end this one: True, or the `Limits`.
        l2_normalize: Whether to divide each vector by its Euclidean length. For files that do not
            end in `L2_NORMALIZATION`, as those of `kd.models.embedding_model` do.

    Raises:
        InvalidModel: If the file is damaged or no `.tflite` file, or the runtime refuses it;
            `ModelStopped` if it is untrusted and crashed or was stopped.
        ValueError: If it gives no vector for an image, or its pixels' normalisation is not known.
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
        self._l2_normalize = l2_normalize
        self._options["l2_normalize"] = l2_normalize

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        return self._width

    @property
    def settings(self) -> dict[str, Any]:
        """What besides the file decides on the vectors, in types that JSON knows."""
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
                or (height, width, 1, 3 or 4). Other sizes than the model's are resized.

        Returns:
            float32 array of shape (dimensions,).

        Raises:
            InvalidImage: If the image cannot be read.
            TypeError: If it is of another type, or an array of another dtype.
            ValueError: If the array has another shape.
        """
        vector: np.ndarray = self._unit(self.run(self._load(image)[None])[0].reshape(1, -1))[0]
        return vector

    def embed_many(self, images: Any) -> np.ndarray:
        """Return the vector of each image: `embed` for several.

        Args:
            images: Sequence of what `embed` takes, or uint8 array of shape
                (n, height, width, channels).

        Returns:
            float32 array of shape (n, dimensions).
        """
        return self._unit(self._vectors(images))

    @staticmethod
    def cosine_similarity(u: np.ndarray, v: np.ndarray) -> float:
        """Return the cosine of the angle between two vectors, from -1 to 1.

        Args:
            u: Array of shape (dimensions,).
            v: The same.

        Raises:
            ValueError: If the shapes differ, or a vector is zero.

        Example:
            >>> ImageEmbedder.cosine_similarity(np.array([3.0, 4.0]), np.array([4.0, 3.0]))
            0.96
        """
        u, v = (np.asarray(vector, np.float64) for vector in (u, v))
        if u.shape != v.shape or u.ndim != 1:
            raise ValueError(
                f"u and v must be vectors of one length, got shapes {u.shape} and {v.shape}"
            )
        lengths = float(np.sqrt((u @ u) * (v @ v)))
        if lengths == 0:
            raise ValueError("the cosine with a vector of zeros is not defined")
        return float(u @ v) / lengths

    def _unit(self, vectors: np.ndarray) -> np.ndarray:
        """Return the vectors at length 1 if that was asked for; zeros stay zeros."""
        if not self._l2_normalize:
            return vectors
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(lengths, np.float32(1e-6))
