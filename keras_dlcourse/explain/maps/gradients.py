"""Which pixels a class score depends on: gradients with respect to the image."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse._checks import check_integer, check_number
from keras_dlcourse.explain.engine.probe import INPUT, Probe, probe_of
from keras_dlcourse.explain.engine.scaling import to_unit
from keras_dlcourse.explain.engine.variants import Variants
from keras_dlcourse.explain.maps.guided import guided_copy


def saliency(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    **options: Any,
) -> np.ndarray:
    """Saliency: the magnitude of the gradient of a class score with respect to each pixel.

    Args:
        model: A functional or Sequential model; it may have nested models and several inputs and
            outputs.
        images: `(n, height, width, channels)`, prepared as for `model.predict`; or series
            `(n, steps, channels)`, volumes or videos `(n, depth, height, width, channels)`, or
            vectors `(n, features)`. For a model with several inputs, a list or dict of arrays, as
            for `predict`.
        classes: One class for all images, or one per image `(n,)`. None uses the class with the
            highest score. Scores are before softmax or sigmoid.
        raw: Whether to return the gradients themselves, in the shape of the images.
        **options: `target`, `output`, `image_input` and `batch_size`, as for `GradientMapper`.

    Returns:
        Float32 maps `(n, height, width)`: the largest absolute gradient over each pixel's channels,
        scaled so that the smallest value in the image is 0 and the largest is 1. In large images,
        the highest 0.5 % are clipped to 1, because otherwise a few pixels would dim all others. For
        series `(n, steps)`, for volumes `(n, depth, height, width)`, for vectors `(n, features)`.
        With `raw`, the gradients.

    Raises:
        TypeError: If `model` is not a Keras model or an argument has the wrong type.
        ValueError: If the model has no graph, or an argument does not match it.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(),
        ...     keras.layers.Dense(2)])
        >>> saliency(model, np.ones((4, 8, 8, 3)), 1).shape
        (4, 8, 8)
        >>> model = keras.Sequential([keras.Input((30,)), keras.layers.Dense(2)])
        >>> saliency(model, np.ones((4, 30))).shape
        (4, 30)

    Reference:
        Simonyan, Vedaldi and Zisserman (2014), Deep Inside Convolutional Networks,
        https://arxiv.org/abs/1312.6034
    """
    return _reduce_channels(_probe(model, options)(images, classes).gradients, raw)


def smooth_grad(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    *,
    samples: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    **options: Any,
) -> np.ndarray:
    """SmoothGrad: the mean gradient over noisy copies of an image.

    Args:
        model: See `saliency`.
        images: See `saliency`.
        classes: See `saliency`; all noisy copies use the class of the original image.
        raw: See `saliency`.
        samples: Number of noisy copies per image.
        noise: Standard deviation of the noise, as a fraction of the image's range, at least 0.
        seed: Seed of the noise.
        **options: See `saliency`.

    Returns:
        See `saliency`.

    Raises:
        TypeError: See `saliency`.
        ValueError: See `saliency`; also if `samples` or `noise` is out of range.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(),
        ...     keras.layers.Dense(2)])
        >>> smooth_grad(model, np.ones((4, 8, 8, 3)), 1, samples=5).shape
        (4, 8, 8)

    Reference:
        Smilkov et al. (2017), SmoothGrad, https://arxiv.org/abs/1706.03825
    """
    check_integer("samples", samples)
    check_number("noise", noise, least=0)
    variants = Variants(_probe(model, options), images, classes)
    rng = np.random.default_rng(seed)

    def noisy(index: int, image: np.ndarray, numbers: range) -> np.ndarray:
        spread = noise * np.ptp(image)
        return image + rng.normal(0, spread, (len(numbers), *image.shape)).astype("float32")

    gradients = np.zeros(variants.images.shape, "float32")
    for index, _, found in variants.compute(samples, noisy, "SmoothGrad", gradients=True):
        gradients[index] += found.gradients.sum(0) / samples
    return _reduce_channels(gradients, raw)


def integrated_gradients(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    *,
    baseline: ArrayLike = 0.0,
    steps: int = 64,
    **options: Any,
) -> np.ndarray:
    """Integrated gradients: the contribution of each pixel to a score, relative to a baseline.

        (x - b) * integral over a from 0 to 1 of dS/dx at b + a (x - b)

    By completeness, the attributions sum to the score minus the score of the baseline. The integral
    is computed by Gauss-Legendre quadrature.

    Args:
        model: See `saliency`.
        images: See `saliency`.
        classes: See `saliency`; the class of the image is used along the whole path.
        raw: Whether to return the signed attributions, in the shape of the images.
        baseline: An image without evidence: one number, or an array that broadcasts against the
            images. 0 is black for pixels that start at 0, and the mean color for standardized ones.
        steps: Number of points along the path.
        **options: See `saliency`.

    Returns:
        Maps shaped as for `saliency`: the absolute sum over each pixel's channels, scaled to 0..1.
        With `raw`, the attributions.

    Raises:
        TypeError: See `saliency`.
        ValueError: See `saliency`; also if `steps` or `baseline` is invalid.

    Warns:
        UserWarning: If the sum of an image's attributions is off by more than 5 %.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(),
        ...     keras.layers.Dense(2, use_bias=False)])
        >>> images = np.random.default_rng(0).random((4, 8, 8, 3))
        >>> parts = integrated_gradients(model, images, 1, raw=True, steps=4)
        >>> bool(np.allclose(parts.sum((1, 2, 3)), model.predict(images, verbose=0)[:, 1],
        ...     atol=1e-4))
        True

    Reference:
        Sundararajan, Taly and Yan (2017), Axiomatic Attribution for Deep Networks,
        https://arxiv.org/abs/1703.01365
    """
    check_integer("steps", steps)
    variants = Variants(_probe(model, options), images, classes)
    try:
        start = np.broadcast_to(np.asarray(baseline, "float32"), variants.images.shape)
    except ValueError:
        raise ValueError(
            f"baseline must broadcast against images of shape {variants.images.shape}. Received: "
            f"{np.shape(baseline)}."
        ) from None
    # Map the quadrature points from -1..1 to 0..1.
    points, weights = np.array(np.polynomial.legendre.leggauss(steps), "float32") / 2
    points += 0.5

    def between(index: int, image: np.ndarray, numbers: range) -> np.ndarray:
        share = points[numbers].reshape(-1, *[1] * image.ndim)
        return start[index] + share * (image - start[index])

    gradients = np.zeros(variants.images.shape, "float32")
    for index, at, found in variants.compute(
        steps, between, "Integrated gradients", gradients=True
    ):
        gradients[index] += np.tensordot(weights[at], found.gradients, 1)
    parts = gradients * (variants.images - start)
    _warn_if_incomplete(variants, start, parts)
    return parts if raw else _scale(np.abs(parts if parts.ndim == 2 else parts.sum(-1)))


def guided_backprop(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    **options: Any,
) -> np.ndarray:
    """Guided backpropagation: gradients that pass through a ReLU only where they are positive.

    The maps show sharp edges, but hardly change when the weights of the last layers are randomized
    (Adebayo et al., 2018), so they mostly show what the early layers see. Arguments, return value
    and errors are as for `saliency`; only ReLU and ReLU6 are guided.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)),
        ...     keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten(),
        ...     keras.layers.Dense(2)])
        >>> guided_backprop(model, np.ones((4, 8, 8, 3)), 1).shape
        (4, 8, 8)

    Reference:
        Springenberg et al. (2015), Striving for Simplicity, https://arxiv.org/abs/1412.6806
    """
    return _reduce_channels(
        Probe(guided_copy(model), layer=INPUT, **options)(images, classes).gradients, raw
    )


def _probe(model: keras.Model, options: dict[str, Any]) -> Probe:
    return probe_of(model, layer=INPUT, **options)


def _reduce_channels(gradients: np.ndarray, raw: bool) -> np.ndarray:
    if raw:
        return gradients
    sizes = np.abs(gradients)
    return _scale(sizes if sizes.ndim == 2 else sizes.max(-1))  # a vector has no channels


def _scale(maps: np.ndarray) -> np.ndarray:
    """Scale maps to 0..1, with the highest 0.5 % clipped lest one pixel dim the rest."""
    most = np.quantile(maps, 0.995, axis=tuple(range(1, maps.ndim)), keepdims=True, method="higher")
    return to_unit(np.minimum(maps, most))


def _warn_if_incomplete(variants: Variants, start: np.ndarray, parts: np.ndarray) -> None:
    """Warn if the attributions do not sum to the score difference."""
    missing = np.zeros(len(parts))
    for index, _, found in variants.compute(1, lambda i, image, _: start[i : i + 1], "Baseline"):
        expected = float(variants.plain.values[index] - found.values[0])
        missing[index] = abs(parts[index].sum() - expected) / max(abs(expected), 1e-6)
    if missing.max() > 0.05:
        warnings.warn(
            f"The attributions of {int((missing > 0.05).sum())} of {len(parts)} images miss the "
            f"difference of their scores by up to {missing.max():.0%}. Increase steps.",
            stacklevel=3,
        )
