"""Maps without gradients: cover parts of an image and see what the score does."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse.explain.engine.inputs import places_of, require_images
from keras_dlcourse.explain.engine.probe import INPUT, probe_of
from keras_dlcourse.explain.engine.scaling import enlarged, scaled, to_unit
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
    """Score-CAM: feature maps, each weighted by the score of the image seen through it.

        map = ReLU(sum_k w_k A_k),   w = softmax over k of S_c(X * H_k) - S_c(baseline)

    H_k is feature map k, enlarged to the image and brought to 0..1. It costs as many images as the
    layer has channels, computed `batch_size` at a time, and no gradient.

    Args:
        model: See `grad_cam`.
        images: See `grad_cam`.
        classes: One for all images, or `(n,)` one for each; None takes the class with the highest
            score.
        raw: See `grad_cam`.
        baseline: What stands where the mask is 0: the number of a pixel without evidence.
        **options: See `grad_cam`.

    Returns:
        As `grad_cam`, `(n, height, width)`.

    Raises:
        TypeError: As `grad_cam`.
        ValueError: As `grad_cam`.

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
    for index, at, found in variants.each(channels, masked, "Score-CAM"):
        scores[index, at.start : at.stop] = found.values
    # The baseline's score is the same for all k, so it drops out of the softmax.
    weights = np.exp(scores - scores.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    maps = np.maximum(np.einsum("nhwk,nk->nhw", features, weights), 0)
    return maps if raw else scaled(maps, size)


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
    """Occlusion: how much the score falls when a patch of the image is covered.

    Args:
        model: See `saliency`.
        images: See `saliency`.
        classes: See `saliency`.
        raw: Whether to return the mean fall of each pixel's patches in the unit of the score, not
            scaled.
        patch: Height and width of the patch in pixels (of series its steps, of volumes its depth,
            height and width); None for a fifth of the image, and for one feature of a vector.
        stride: Pixels from patch to patch; None for half a patch. The last one ends at the border.
        value: What a covered pixel holds.
        **options: See `saliency`.

    Returns:
        Float32 maps as those of `saliency`: for each pixel the mean over all patches that cover
        it, scaled to 0..1; with `raw`, as it is.

    Raises:
        TypeError: As `saliency`.
        ValueError: As `saliency`, and if patch or stride do not fit the image.

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
    if patch is None:  # the features of a vector have no neighbours
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
    for index, at, found in variants.each(len(patches), covered, "Occlusion"):
        for number, score in zip(at, found.values, strict=True):
            falls[index][patches[number]] += variants.plain.values[index] - score
    maps = (falls / np.maximum(counts, 1)).astype("float32")
    return maps if raw else to_unit(maps)


def _masks(features: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return each channel enlarged to the image and brought to 0..1, `(channels, h, w)`."""
    planes = np.moveaxis(features, -1, 0).astype("float32")
    low, high = (end((1, 2), keepdims=True) for end in (planes.min, planes.max))
    planes = (planes - low) / np.where(high > low, high - low, 1)
    return enlarged(planes, size)


def _sides(name: str, given: Any, size: tuple[int, ...]) -> tuple[int, ...]:
    """Return a length for each axis of the image, given as one for all or one for each."""
    sides = (given,) * len(size) if np.ndim(given) == 0 else tuple(given)
    whole = all(isinstance(side, int | np.integer) and not isinstance(side, bool) for side in sides)
    if (
        len(sides) != len(size)
        or not whole
        or not all(0 < side <= edge for side, edge in zip(sides, size, strict=True))
    ):
        count = {1: "one whole number", 2: "one or two whole numbers"}.get(
            len(size), f"one or {len(size)} whole numbers"
        )
        raise ValueError(
            f"{name} must be {count} of pixels, above 0 and no larger than the image, "
            f"{' x '.join(map(str, size))}. Received: {given!r}"
        )
    return tuple(map(int, sides))


def _starts(edge: int, patch: int, stride: int) -> list[int]:
    """Return where patches start, so that the last one ends at the border."""
    starts = list(range(0, edge - patch + 1, stride))
    return starts if starts[-1] == edge - patch else [*starts, edge - patch]
