"""Which pixels the score of a class depends on: gradients by the image."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

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
    """Saliency: the size of the gradient of a class's score by each pixel.

    Args:
        model: A functional or Sequential model, with nested models, several inputs and outputs.
        images: `(n, height, width, channels)`, prepared as for `model.predict`; or series
            `(n, steps, channels)`, volumes or videos `(n, depth, height, width, channels)`, or
            vectors `(n, features)`. For a model with several inputs a list or dict of arrays, as
            for `predict`.
        classes: One for all images, or `(n,)` one for each. None takes the class with the highest
            score. Scores are those before softmax or sigmoid.
        raw: Whether to return the gradients themselves, in the shape of the images.
        **options: `target`, `output`, `image_input` and `batch_size`, as for `GradientMapper`.

    Returns:
        Float32 maps `(n, height, width)`: the largest absolute gradient of each pixel's channels,
        scaled from 0, the least in the image, to 1, the most; of large images the highest 0.5 % are
        1, because a few pixels would dim all others. Of series `(n, steps)`, of volumes `(n, depth,
        height, width)`, of vectors `(n, features)`. With `raw`, the gradients.

    Raises:
        TypeError: If `model` is no Keras model or an argument has another type.
        ValueError: If the model has no graph, or an argument does not fit it.

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
    return _drawn(_probe(model, options)(images, classes).gradients, raw)


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
    """SmoothGrad: the mean gradient of noisy copies of an image. Arguments as for `saliency`.

    Args:
        model: See `saliency`.
        images: See `saliency`.
        classes: See `saliency`; the noisy copies are asked for the class of the image.
        raw: See `saliency`.
        samples: Noisy copies of each image.
        noise: Standard deviation of the noise, as a share of the image's range, at least 0.
        seed: Of the noise.
        **options: See `saliency`.

    Returns:
        As `saliency`.

    Raises:
        TypeError: As `saliency`.
        ValueError: As `saliency`, and if `samples` or `noise` is out of range.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(),
        ...     keras.layers.Dense(2)])
        >>> smooth_grad(model, np.ones((4, 8, 8, 3)), 1, samples=5).shape
        (4, 8, 8)

    Reference:
        Smilkov et al. (2017), SmoothGrad, https://arxiv.org/abs/1706.03825
    """
    _check_count("samples", samples)
    if not 0 <= noise < np.inf:
        raise ValueError(f"noise must be a share of the image's range, from 0. Received: {noise!r}")
    variants = Variants(_probe(model, options), images, classes)
    rng = np.random.default_rng(seed)

    def noisy(index: int, image: np.ndarray, numbers: range) -> np.ndarray:
        spread = noise * np.ptp(image)
        return image + rng.normal(0, spread, (len(numbers), *image.shape)).astype("float32")

    gradients = np.zeros(variants.images.shape, "float32")
    for index, _, found in variants.each(samples, noisy, "SmoothGrad", gradients=True):
        gradients[index] += found.gradients.sum(0) / samples
    return _drawn(gradients, raw)


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
    """Integrated gradients: how much of a score each pixel brings in, beginning at a baseline.

        (x - b) * integral over a from 0 to 1 of dS/dx at b + a (x - b)

    By completeness all of them add up to the score less the baseline's. The integral is taken by
    Gauss-Legendre quadrature.

    Args:
        model: See `saliency`.
        images: See `saliency`.
        classes: See `saliency`; the class of the image is meant all the way.
        raw: Whether to return the attributions, in the shape of the images, with their signs.
        baseline: An image without evidence: one number, or an array that broadcasts against the
            images. 0 is black for pixels from 0, and the mean colour for standardised ones.
        steps: Points on the way.
        **options: See `saliency`.

    Returns:
        Maps as those of `saliency`: the absolute sum over each pixel's channels, scaled to 0..1.
        With `raw`, the attributions.

    Raises:
        TypeError: As `saliency`.
        ValueError: As `saliency`, and if `steps` or `baseline` does not fit.

    Warns:
        UserWarning: If an image's attributions miss its score by more than 5 %.

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
    _check_count("steps", steps)
    variants = Variants(_probe(model, options), images, classes)
    try:
        start = np.broadcast_to(np.asarray(baseline, "float32"), variants.images.shape)
    except ValueError:
        raise ValueError(
            f"baseline must broadcast against images of shape {variants.images.shape}. Received: "
            f"{np.shape(baseline)}"
        ) from None
    # From -1..1, where the quadrature is defined, to 0..1.
    points, weights = np.array(np.polynomial.legendre.leggauss(steps), "float32") / 2
    points += 0.5

    def between(index: int, image: np.ndarray, numbers: range) -> np.ndarray:
        share = points[numbers].reshape(-1, *[1] * image.ndim)
        return start[index] + share * (image - start[index])

    gradients = np.zeros(variants.images.shape, "float32")
    for index, at, found in variants.each(steps, between, "Integrated gradients", gradients=True):
        gradients[index] += np.tensordot(weights[at], found.gradients, 1)
    parts = gradients * (variants.images - start)
    _warn_if_incomplete(variants, start, parts)
    return parts if raw else _scaled(np.abs(parts if parts.ndim == 2 else parts.sum(-1)))


def guided_backprop(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    **options: Any,
) -> np.ndarray:
    """Guided backpropagation: gradients that pass a ReLU only where they are positive.

    Sharp pictures of edges; but they hardly change when the last layers are made random (Adebayo et
    al., 2018), so read them as what the early layers see. Arguments, result and errors as for
    `saliency`; only ReLU and ReLU6 are guided.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)),
        ...     keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten(),
        ...     keras.layers.Dense(2)])
        >>> guided_backprop(model, np.ones((4, 8, 8, 3)), 1).shape
        (4, 8, 8)

    Reference:
        Springenberg et al. (2015), Striving for Simplicity, https://arxiv.org/abs/1412.6806
    """
    return _drawn(Probe(guided_copy(model), layer=INPUT, **options)(images, classes).gradients, raw)


def _probe(model: keras.Model, options: dict[str, Any]) -> Probe:
    return probe_of(model, layer=INPUT, **options)


def _drawn(gradients: np.ndarray, raw: bool) -> np.ndarray:
    if raw:
        return gradients
    sizes = np.abs(gradients)
    return _scaled(sizes if sizes.ndim == 2 else sizes.max(-1))  # a vector has no channels


def _scaled(maps: np.ndarray) -> np.ndarray:
    """Bring maps to 0..1; of large images the highest 0.5 % are 1, or one pixel dims the rest."""
    most = np.quantile(maps, 0.995, axis=tuple(range(1, maps.ndim)), keepdims=True, method="higher")
    return to_unit(np.minimum(maps, most))


def _check_count(name: str, number: Any) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} must be a whole number above 0. Received: {number!r}")


def _warn_if_incomplete(variants: Variants, start: np.ndarray, parts: np.ndarray) -> None:
    """Compare what the attributions add up to with the difference of the scores."""
    missing = np.zeros(len(parts))
    for index, _, found in variants.each(1, lambda i, image, _: start[i : i + 1], "Baseline"):
        expected = float(variants.plain.values[index] - found.values[0])
        missing[index] = abs(parts[index].sum() - expected) / max(abs(expected), 1e-6)
    if missing.max() > 0.05:
        warnings.warn(
            f"the attributions of {int((missing > 0.05).sum())} of {len(parts)} images miss the "
            f"difference of their scores by up to {missing.max():.0%}; raise steps",
            stacklevel=3,
        )
