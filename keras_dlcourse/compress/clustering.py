"""Clustering: restrict each kernel to a few distinct values, which compress well."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.compress.transformed import (
    Kernel,
    add_transforms,
    kernels,
    open_except,
)
from keras_dlcourse.layers import ClusterWeight
from keras_dlcourse.layers.compression.cluster_weight import INITS, check_clusters

UNITS = ("channel", "layer")


def cluster(
    model: keras.Model,
    clusters: int = 16,
    init: str = "kmeans++",
    keep_zeros: bool = True,
    per: str = "channel",
    skip: Sequence[str] = (),
    depthwise: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Return a copy of a model whose kernels hold only a few distinct values, even in training.

    Compile and fit it like any model, for an epoch or two at a small learning rate: training
    updates the centroids as well as the assignment of weights to them. Then make it
    quantization-aware, `strip` it, or export it unchanged. As with pruning, the file is smaller
    only when compressed; see `sizes`.

    Args:
        model: A built functional or Sequential model, pruned or not. It is not modified.
        clusters: Number of distinct values (or int8 codes) per kernel.
        init: How centroids are initialized: `"kmeans++"`, `"linear"` or `"density"`.
        keep_zeros: Whether 0 is one of the centroids of each kernel that contains zeros, so that
            pruned weights stay pruned.
        per: `"channel"`: each kernel has one set of centroids, in units of the largest absolute
            value of each output channel, so that int8 files hold at most `clusters` distinct
            codes per kernel. `"layer"`: centroids are in the kernel's own unit, for float files.
            Measured on random kernels of 73,728 values whose channels differ in magnitude:
            `"channel"` reduces 74 codes to 16, the int8 codes zip 11 % smaller, and the
            signal-to-noise ratio of the worst channel rises from 9 to 18 dB; in float the kernel
            zips 43 % larger.
        skip: Names of layers to leave unchanged; `*` is a wildcard. For a composite layer or
            nested model, everything inside it is skipped.
        depthwise: Whether to also cluster depthwise convolutions, which have few weights.
        seed: Seed of k-means.

    Returns:
        A functional model with the same inputs and outputs.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If an argument is out of range, the model is unbuilt, subclassed or already
            clustered, or a name in `skip` matches nothing.

    Example:
        >>> model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(32)])
        >>> clustered = cluster(model, 16, per="layer")
        >>> np.unique(clustered.layers[1].bake().kernel.numpy()).size
        16

    Reference:
        Han et al., "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained
        Quantization and Huffman Coding", ICLR 2016, https://arxiv.org/abs/1510.00149
    """
    check_clusters(clusters, 3 if per == "channel" and keep_zeros else 2 if per == "channel" else 0)
    for argument, value, known in (("init", init, INITS), ("per", per, UNITS)):
        check_one_of(argument, value, known)
    graph, left_out = open_except(model, skip)
    chosen = {id(k.layer) for k in kernels(graph) if _is_chosen(k, left_out, depthwise)}
    if not chosen:
        raise ValueError(f"model {model.name!r} has no layer to cluster.")

    def transform(kernel: Kernel) -> ClusterWeight | None:
        if id(kernel.layer) not in chosen:
            return None
        values = keras.ops.convert_to_numpy(kernel.values)
        made = ClusterWeight(
            clusters,
            keep_zeros=keep_zeros and bool(np.any(values == 0)),
            axis=kernel.outputs if per == "channel" else None,
        )
        made.build(values.shape)
        made.fit_centroids(values, init, seed)
        return made

    return add_transforms(graph, transform)


def _is_chosen(kernel: Kernel, left_out: set[str], depthwise: bool) -> bool:
    if any(isinstance(transform, ClusterWeight) for transform in kernel.transforms):
        raise ValueError(
            f"Layer {kernel.layer.name!r} is already clustered. Call strip(model) first."
        )
    return kernel.layer.name not in left_out and (depthwise or not kernel.is_depthwise)
