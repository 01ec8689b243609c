"""Gradient-free maps: mask parts of an image and measure the change of the score."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse.explain.engine.inputs import places_of, require_images
from keras_dlcourse.explain.engine.probe import INPUT, probe_of
from keras_dlcourse.explain.engine.scaling import resize_and_scale, resize_maps, to_unit
from keras_dlcourse.explain.engine.variants import Variants


def score_cam(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    *,
    baseline: float = 0.0,
    **options: Any,
) -> np.ndarray:
    """Score-CAM: feature maps, each weighted by the score of the image masked with it.

        map = ReLU(sum_k w_k A_k),   w = softmax over k of S_c(X * H_k) - S_c(baseline)

    H_k is feature map k, resized to the image and scaled to 0..1. It costs one forward pass per
    channel of the layer, in batches of `batch_size`, and no gradient.

    Args:
        model: See `grad_cam`.
        images: See `grad_cam`.
        classes: One class for all images, or one per image `(n,)`. None uses the class with the
            highest score.
        raw: See `grad_cam`.
        baseline: Pixel value where the mask is 0; it should carry no evidence.
        **options: See `grad_cam`.

    Returns:
        See `grad_cam`; shape `(n, height, width)`.

    Raises:
        TypeError: See `grad_cam`.
        ValueError: See `grad_cam`.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3),
        ...     keras.layers.Flatten(), keras.layers.Dense(2)])
        >>> score_cam(model, np.random.default_rng(0).random((2, 8, 8, 3)), 1).shape
        (2, 8, 8)

    Reference:
        Wang et al. (2020), Score-CAM, https://arxiv.org/abs/1910.01279
    """
    probe = probe_of(model, **options)
    variants = Variants(probe, images, classes)
    require_images(variants.images.shape, "score_cam")
    features, size = variants.plain.features, variants.images.shape[1:3]

    def masked(index: int, image: np.ndarray, numbers: range) -> np.ndarray:
        masks = _masks(features[index][..., numbers.start : numbers.stop], size)
        return baseline + masks[..., None] * (image - baseline)

    channels = features.shape[-1]
    scores = np.zeros((len(features), channels), "float32")
    for index, at, found in variants.compute(channels, masked, "Score-CAM"):
        scores[index, at.start : at.stop] = found.values
    # The score of the baseline is the same for all k, so it cancels in the softmax.
    weights = np.exp(scores - scores.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    maps = np.maximum(np.einsum("nhwk,nk->nhw", features, weights), 0)
    return maps if raw else resize_and_scale(maps, size)


def occlusion(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    *,
    patch: int | tuple[int, ...] | None = None,
    stride: int | tuple[int, ...] | None = None,
    value: float = 0.0,
    **options: Any,
) -> np.ndarray:
    """Occlusion: how much the score drops when a patch of the image is covered.

    Args:
        model: See `saliency`.
        images: See `saliency`.
        classes: See `saliency`.
        raw: Whether to return the unscaled mean drop over each pixel's patches, in units of the
            score.
        patch: Height and width of the patch in pixels (for series, its number of steps; for
            volumes, its depth, height and width). None uses a fifth of the image, or one feature
            of a vector.
        stride: Pixels from one patch to the next; None uses half a patch. The last patch ends at
            the border.
        value: Value of covered pixels.
        **options: See `saliency`.

    Returns:
        Float32 maps, shaped as for `saliency`: the mean drop over all patches that cover a pixel,
        scaled to 0..1; with `raw`, unscaled.

    Raises:
        TypeError: See `saliency`.
        ValueError: See `saliency`; also if `patch` or `stride` does not fit the image.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(),
        ...     keras.layers.Dense(2)])
        >>> occlusion(model, np.ones((4, 8, 8, 3)), 1, patch=2).shape
        (4, 8, 8)

    Reference:
        Zeiler and Fergus (2014), Visualizing and Understanding Convolutional Networks,
        https://arxiv.org/abs/1311.2901
    """
    variants = Variants(probe_of(model, layer=INPUT, **options), images, classes)
    size = places_of(variants.images.shape)
    if patch is None:  # the features of a vector have no neighbors
        patch = 1 if variants.images.ndim == 2 else tuple(-(-edge // 5) for edge in size)
    sides = _sides("patch", patch, size)
    default = tuple(max(1, side // 2) for side in sides)
    steps = _sides("stride", default if stride is None else stride, size)
    patches = [
        tuple(slice(start, start + side) for start, side in zip(corner, sides, strict=True))
        for corner in itertools.product(*map(_starts, size, sides, steps))
    ]

    def covered(index: int, image: np.ndarray, numbers: range) -> np.ndarray:
        copies = np.repeat(image[None], len(numbers), axis=0)
        for copy, number in zip(copies, numbers, strict=True):
            copy[patches[number]] = value
        return copies

    falls, counts = np.zeros((len(variants.images), *size)), np.zeros(size)
    for place in patches:
        counts[place] += 1
    for index, at, found in variants.compute(len(patches), covered, "Occlusion"):
        for number, score in zip(at, found.values, strict=True):
            falls[index][patches[number]] += variants.plain.values[index] - score
    maps = (falls / np.maximum(counts, 1)).astype("float32")
    return maps if raw else to_unit(maps)


def _masks(features: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return each channel resized to the image and scaled to 0..1, `(channels, h, w)`."""
    planes = np.moveaxis(features, -1, 0).astype("float32")
    low, high = (end((1, 2), keepdims=True) for end in (planes.min, planes.max))
    planes = (planes - low) / np.where(high > low, high - low, 1)
    return resize_maps(planes, size)


def _sides(name: str, given: Any, size: tuple[int, ...]) -> tuple[int, ...]:
    """Return one length per axis of the image, from a single value or one per axis."""
    sides = (given,) * len(size) if np.ndim(given) == 0 else tuple(given)
    whole = all(isinstance(side, int | np.integer) and not isinstance(side, bool) for side in sides)
    if (
        len(sides) != len(size)
        or not whole
        or not all(0 < side <= edge for side, edge in zip(sides, size, strict=True))
    ):
        count = {1: "one integer", 2: "one or two integers"}.get(
            len(size), f"one or {len(size)} integers"
        )
        raise ValueError(
            f"{name} must be {count} above 0, no larger than the image, "
            f"{' x '.join(map(str, size))}. Received: {given!r}."
        )
    return tuple(map(int, sides))


def _starts(edge: int, patch: int, stride: int) -> list[int]:
    """Return the start positions of patches; the last patch ends at the border."""
    starts = list(range(0, edge - patch + 1, stride))
    return starts if starts[-1] == edge - patch else [*starts, edge - patch]
