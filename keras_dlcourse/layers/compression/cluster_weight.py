"""Clustering: a weight has only a few different values."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import check_integer
from keras_dlcourse.layers.compression.compressed import PACKAGE, WeightTransform

INITS = ("kmeans++", "linear", "density")
MOST_FITTED = 100_000  # maximum number of values for k-means


@keras.saving.register_keras_serializable(package=PACKAGE)
class ClusterWeight(WeightTransform):
    """Replace each value of a weight with the nearest of a few centroids.

    Both the centroids and the underlying weights are trained (the latter straight-through), which
    moves values from one cluster to another: the nearest centroid is found again in each call. The
    gradient of a centroid is the mean of the gradients of its values. (The plain gradient is their
    sum, thousands of times as large as the gradient of a weight: no step size would fit both.)

    With `axis=None` the weight has at most `clusters` different values. With an axis, centroids are
    in units of the largest absolute value of each channel, and always include -1 and 1: int8
    quantization with one scale per channel then gives at most `clusters` different *codes*, while
    `clusters` different values would become different codes in each channel.

    Args:
        clusters: Number of values or codes, at least 2; with an axis at least 3.
        keep_zeros: Whether 0 is one of the centroids, so that zeros remain 0.
        axis: The axis of output channels, if each channel has its own scale.
        **kwargs: `name` and `trainable`, as for every Keras layer.

    Raises:
        ValueError: If there are too few clusters.

    Example:
        >>> import numpy as np
        >>> cluster = ClusterWeight(clusters=2)
        >>> weight = np.array([[1.0, 1.2], [-3.0, -2.8]], "float32")
        >>> cluster.build(weight.shape)
        >>> cluster.fit_centroids(weight)
        >>> ops.convert_to_numpy(cluster(weight)).astype("float64").round(3).tolist()
        [[1.1, 1.1], [-2.9, -2.9]]

    Reference:
        Han et al., "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained
        Quantization and Huffman Coding", ICLR 2016, https://arxiv.org/abs/1510.00149
    """

    def __init__(
        self,
        clusters: int = 16,
        keep_zeros: bool = False,
        axis: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep_zeros = bool(keep_zeros)
        self.axis = None if axis is None else int(axis)
        self.fixed = ((-1.0, 1.0) if axis is not None else ()) + ((0.0,) if keep_zeros else ())
        self.clusters = check_clusters(clusters, len(self.fixed))

    def build(self, input_shape: Any) -> None:
        """Create the trained centroids."""
        self.centroids = self.add_state(
            "centroids", (self.clusters - len(self.fixed),), "zeros", trainable=True
        )

    def call(self, weight: Any) -> Any:
        """Return the weight, with each value replaced by its centroid."""
        scale = self._scale(weight)
        numbers = ops.reshape(ops.stop_gradient(weight) / scale, (-1,))
        fixed = ops.convert_to_tensor(self.fixed, "float32")
        centroids = ops.sort(ops.concatenate([self.centroids.value, fixed]))
        middles = ops.stop_gradient((centroids[1:] + centroids[:-1]) / 2)
        nearest = ops.searchsorted(middles, numbers)
        members = ops.segment_sum(ops.ones_like(numbers), nearest, self.clusters)
        share = 1.0 / ops.maximum(members, 1.0)
        held = ops.stop_gradient(centroids)
        centroids = held + (centroids - held) * share  # same values, smaller gradient
        clustered = ops.reshape(ops.take(centroids, nearest), weight.shape) * scale
        return clustered + (weight - ops.stop_gradient(weight))

    def fit_centroids(self, weight: Any, init: str = "kmeans++", seed: int = 0) -> None:
        """Fit the centroids to the values of a weight.

        Args:
            weight: The weight before clustering.
            init: `"kmeans++"` (k-means with that initialization), `"linear"` (evenly spaced between
                the smallest and largest value) or `"density"` (equally many values per centroid).
            seed: Random seed of k-means.
        """
        weight = ops.convert_to_tensor(weight, "float32")
        numbers = ops.convert_to_numpy(weight / self._scale(weight)).ravel()
        free = numbers[~np.isin(numbers, self.fixed)]  # the rest have fixed centroids
        wanted = self.clusters - len(self.fixed)
        self.centroids.assign(_choose_initial(free if len(free) else numbers, wanted, init, seed))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this transform."""
        return {
            **super().get_config(),
            "clusters": self.clusters,
            "keep_zeros": self.keep_zeros,
            "axis": self.axis,
        }

    def _scale(self, weight: Any) -> Any:
        """Return the unit of the centroids: 1, or one value per channel."""
        if self.axis is None:
            return ops.ones(())
        others = [n for n in range(len(weight.shape)) if n != self.axis % len(weight.shape)]
        scale = ops.max(ops.abs(weight), axis=others, keepdims=True)
        return ops.stop_gradient(ops.where(scale > 0, scale, ops.ones_like(scale)))


def check_clusters(clusters: Any, fixed: int = 0) -> int:
    """Return the number of clusters as an int, or raise an error if it is too small."""
    clusters = check_integer("clusters", clusters, least=2)
    if clusters <= fixed:
        raise ValueError(
            f"clusters must be an integer of at least {fixed + 1}, because {fixed} of them are "
            f"fixed. Received: {clusters}"
        )
    return clusters


def _choose_initial(numbers: np.ndarray, clusters: int, init: str, seed: int) -> np.ndarray:
    if init == "linear":
        return np.linspace(numbers.min(), numbers.max(), clusters)
    if init == "density":
        return np.quantile(numbers, (np.arange(clusters) + 0.5) / clusters)
    if init != "kmeans++":
        raise ValueError(f"init must be one of {', '.join(map(repr, INITS))}. Received: {init!r}")
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(seed)
    if len(numbers) > MOST_FITTED:
        numbers = rng.choice(numbers, MOST_FITTED, replace=False)
    different = np.unique(numbers)
    if len(different) <= clusters:
        return np.pad(different, (0, clusters - len(different)), mode="edge")
    means = KMeans(clusters, init="k-means++", n_init=1, random_state=seed)
    return means.fit(numbers[:, None]).cluster_centers_[:, 0]
