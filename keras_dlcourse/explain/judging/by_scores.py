"""Evaluate maps by a model's scores when the pixels they mark are removed or shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse._checks import check_integer, check_number, check_one_of
from keras_dlcourse._progress import track
from keras_dlcourse.explain.engine.inputs import check_classes, check_inputs

_BLURRED, _MEAN, _ZERO = "blur", "mean", "zero"


@dataclass(frozen=True, eq=False)
class Curves:
    """Scores of a class while pixels are replaced.

    Attributes:
        shares: Fraction of pixels replaced, `(steps + 1,)`, from 0 to 1.
        scores: Score of the class, `(n, steps + 1)`.
        areas: Area under each image's curve, `(n,)`, by the trapezoidal rule.
    """

    shares: np.ndarray
    scores: np.ndarray
    areas: np.ndarray

    @property
    def mean(self) -> float:
        """Mean area over the images."""
        return float(self.areas.mean())


@dataclass(frozen=True, eq=False)
class Drops:
    """Scores of images before and after masking them with their maps.

    Attributes:
        before: Scores of the whole images, `(n,)`.
        after: Scores of the images multiplied by their maps, `(n,)`.
        drops: Fraction of the score that is lost, `(n,)`: max(0, before - after) / before.
        increases: Whether the score increases, `(n,)`.
    """

    before: np.ndarray
    after: np.ndarray
    drops: np.ndarray
    increases: np.ndarray

    @property
    def average_drop(self) -> float:
        """Mean fraction of the score that is lost, 0 to 1; lower is better."""
        return float(self.drops.mean())

    @property
    def increase_in_confidence(self) -> float:
        """Fraction of images whose score increases, 0 to 1; higher is better."""
        return float(self.increases.mean())


def deletion(
    model: keras.Model,
    images: Any,
    maps: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    steps: int = 50,
    baseline: str = _ZERO,
    sigma: float | None = None,
    batch_size: int = 32,
) -> Curves:
    """Remove the pixels that maps mark, most important first, and record the drop of the score.

    The faster it drops, the better the map: a small area is good. The pixels of one step are
    replaced together; among equal values, those further up and left go first.

    Args:
        model: A model with one image input and class scores or probabilities as its output.
        images: `(n, height, width, channels)`, prepared as for `model.predict`.
        maps: `(n, height, width)`, from 0 to 1.
        classes: One class for all images, or one per image `(n,)`. None uses the class with the
            highest score.
        steps: Number of equal steps in which the pixels are removed.
        baseline: Replacement for removed pixels: `"zero"`, `"mean"` (of the image, per channel) or
            `"blur"`.
        sigma: Standard deviation of the blur in pixels; None uses 1/20 of the longer side.
        batch_size: Number of images per batch.

    Returns:
        Curves and areas, one for each image.

    Raises:
        ValueError: If images, maps or classes do not match, or an argument is out of range.

    Example:
        >>> model = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=5)
        >>> rng = np.random.default_rng(0)
        >>> curves = deletion(model, rng.random((2, 32, 32, 3)), rng.random((2, 32, 32)), steps=8)
        >>> curves.scores.shape, curves.areas.shape
        ((2, 9), (2,))

    Reference:
        Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box
        Models", BMVC 2018, https://arxiv.org/abs/1806.07421
    """
    judged = _Judged(model, images, maps, classes, batch_size)
    other = _baseline(judged.images, baseline, sigma)
    return judged.curves(judged.images, other, steps, "Deletion")


def insertion(
    model: keras.Model,
    images: Any,
    maps: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    steps: int = 50,
    baseline: str = _BLURRED,
    sigma: float | None = None,
    batch_size: int = 32,
) -> Curves:
    """Show the pixels that maps mark, most important first, and record the rise of the score.

    The faster it rises, the better the map: a large area is good. By default, they are shown on a
    blurred image, where they create fewer sharp edges.

    Args:
        model: A model with one image input and class scores or probabilities as its output.
        images: `(n, height, width, channels)`, prepared as for `model.predict`.
        maps: `(n, height, width)`, from 0 to 1.
        classes: One class for all images, or one per image `(n,)`. None uses the class with the
            highest score.
        steps: Number of equal steps in which the pixels are shown.
        baseline: Initial image: `"blur"`, `"mean"` (of the image, per channel) or `"zero"`.
        sigma: Standard deviation of the blur in pixels; None uses 1/20 of the longer side.
        batch_size: Number of images per batch.

    Returns:
        Curves and areas, one for each image.

    Raises:
        ValueError: If images, maps or classes do not match, or an argument is out of range.

    Example:
        >>> model = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=5)
        >>> rng = np.random.default_rng(0)
        >>> insertion(model, rng.random((2, 32, 32, 3)), rng.random((2, 32, 32)), steps=4).shares
        array([0.  , 0.25, 0.5 , 0.75, 1.  ])

    Reference:
        Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box
        Models", BMVC 2018, https://arxiv.org/abs/1806.07421
    """
    judged = _Judged(model, images, maps, classes, batch_size)
    other = _baseline(judged.images, baseline, sigma)
    return judged.curves(other, judged.images, steps, "Insertion")


def average_drop(
    model: keras.Model,
    images: Any,
    maps: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    batch_size: int = 32,
) -> Drops:
    """Multiply images by their maps and measure how much of the score is lost.

        drop = max(0, before - after) / before,   increase = after > before

    Scores must not be negative, as for probabilities. If a score is 0, its drop is 0.

    Args:
        model: A model with one image input and class probabilities as its output.
        images: `(n, height, width, channels)`, prepared as for `model.predict`. Pixels that the map
            does not mark become 0, so 0 should be neutral: black, or the mean.
        maps: `(n, height, width)`, from 0 to 1.
        classes: One class for all images, or one per image `(n,)`. None uses the class with the
            highest score.
        batch_size: Number of images per batch.

    Returns:
        Scores, drops and increases, one for each image.

    Raises:
        ValueError: If images, maps or classes do not match, or a score is below 0.

    Example:
        >>> model = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=5)
        >>> images = np.random.default_rng(0).random((2, 32, 32, 3))
        >>> average_drop(model, images, np.ones((2, 32, 32))).average_drop
        0.0

    Reference:
        Chattopadhay et al., "Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep
        Convolutional Networks", WACV 2018, https://arxiv.org/abs/1710.11063
    """
    judged = _Judged(model, images, maps, classes, batch_size)
    before = judged.scores(judged.images)
    if (before < 0).any():
        raise ValueError(
            "average_drop needs scores of at least 0, such as probabilities. Received: "
            f"{before.min():.4g}. Add a softmax to the model."
        )
    after = judged.scores(judged.images * judged.maps[..., None])
    lost = np.maximum(before - after, 0)
    drops = np.divide(lost, before, out=np.zeros_like(lost), where=before > 0)
    return Drops(before, after, drops, after > before)


class _Judged:
    """A model, images, their maps and classes, after validation."""

    def __init__(
        self,
        model: keras.Model,
        images: Any,
        maps: ArrayLike,
        classes: ArrayLike | None,
        batch_size: int,
    ) -> None:
        if not isinstance(model, keras.Model):
            raise TypeError(f"model must be a keras.Model. Received: {type(model).__name__}.")
        self.batch_size = check_integer("batch_size", batch_size)
        self.model = model
        if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
            raise ValueError(
                f"model {model.name!r} must have one image input and one output of scores (n, "
                f"classes). Received: {len(model.inputs)} inputs, and outputs of shape "
                f"{', '.join(str(tensor.shape[1:]) for tensor in model.outputs)}."
            )
        (self.images,) = check_inputs(model, images)
        self.maps = _check_maps(maps, self.images)
        self.classes: np.ndarray | None = None
        if classes is None:
            self.classes = self._predict(self.images).argmax(-1)
        else:
            count = int(model.outputs[0].shape[-1])
            chosen = check_classes(classes, len(self.images), count)
            if chosen.ndim != 1:
                raise ValueError(f"classes must be one per image. Received: {chosen.shape}.")
            self.classes = chosen

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Return the score of each image's class, `(n,)`."""
        outputs = self._predict(images)
        return np.take_along_axis(outputs, self.classes[:, None], axis=1)[:, 0]  # type: ignore[index]

    def curves(self, start: np.ndarray, end: np.ndarray, steps: int, what: str) -> Curves:
        """Replace pixels of `start` with those of `end`, most important first."""
        pixels = self.maps[0].size
        steps = check_integer("steps", steps)
        if steps > pixels:
            raise ValueError(f"steps must be at most the {pixels} pixels. Received: {steps}.")
        counts = np.round(np.linspace(0, pixels, steps + 1)).astype(int)
        ranks = np.empty((len(start), pixels), int)
        order = np.argsort(-self.maps.reshape(len(start), -1), axis=1, kind="stable")
        np.put_along_axis(ranks, order, np.arange(pixels)[None], axis=1)
        ranks = ranks.reshape(self.maps.shape)[..., None]
        scores = np.stack(
            [
                self.scores(np.where(ranks < count, end, start))
                for count in track(counts, len(counts), what)
            ],
            axis=1,
        )
        shares = counts / pixels
        areas = ((scores[:, 1:] + scores[:, :-1]) / 2 * np.diff(shares)).sum(axis=1)
        return Curves(shares, scores, areas)

    def _predict(self, images: np.ndarray) -> np.ndarray:
        outputs = self.model.predict(images, batch_size=self.batch_size, verbose=0)
        return np.asarray(outputs, "float64")


def _check_maps(maps: ArrayLike, images: np.ndarray) -> np.ndarray:
    planes = np.asarray(maps, "float32")
    if images.ndim != 4 or planes.shape != images.shape[:3]:
        raise ValueError(
            f"maps must have the shape {images.shape[:3]}, (n, height, width) of the images. "
            f"Received: {planes.shape}."
        )
    if not (np.isfinite(planes).all() and planes.min() >= 0 and planes.max() <= 1):
        raise ValueError(
            f"maps must hold values from 0 to 1. Received: {planes.min():.4g} to "
            f"{planes.max():.4g}. Compute them without raw=True."
        )
    return planes


def _baseline(images: np.ndarray, kind: str, sigma: float | None) -> np.ndarray:
    check_one_of("baseline", kind, tuple(_BASELINE))
    if sigma is not None and kind != _BLURRED:
        raise ValueError(f"sigma requires baseline='blur'. Received: baseline={kind!r}.")
    return _BASELINE[kind](images, sigma)


def _zero(images: np.ndarray, sigma: float | None) -> np.ndarray:
    return np.zeros_like(images)


def _mean(images: np.ndarray, sigma: float | None) -> np.ndarray:
    return np.broadcast_to(images.mean((1, 2), keepdims=True), images.shape)


def _blur(images: np.ndarray, sigma: float | None) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    default = max(images.shape[1:3]) / 20
    width = default if sigma is None else check_number("sigma", sigma, above=0)
    return np.asarray(gaussian_filter(images, (0, width, width, 0)), "float32")


_BASELINE: dict[str, Callable[[np.ndarray, float | None], np.ndarray]] = {
    _BLURRED: _blur,
    _MEAN: _mean,
    _ZERO: _zero,
}
