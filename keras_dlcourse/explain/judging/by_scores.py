"""Judge maps by what a model says when the pixels they mark are taken away or shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse._progress import track
from keras_dlcourse.data import checks
from keras_dlcourse.explain.engine.inputs import checked_classes, checked_inputs

_BLURRED, _MEAN, _ZERO = "blur", "mean", "zero"


@dataclass(frozen=True, eq=False)
class Curves:
    """How a class's score changes while pixels are replaced.

    Attributes:
        shares: Share of the pixels that was replaced, `(steps + 1,)`, from 0 to 1.
        scores: What the model says of the class, `(n, steps + 1)`.
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
    """What a model says of images of which only what the map marks is left.

    Attributes:
        before: Scores of the whole images, `(n,)`.
        after: Scores of the images times their maps, `(n,)`.
        drops: Share of the score that is lost, `(n,)`: max(0, before - after) / before.
        increases: Whether the score rises, `(n,)`.
    """

    before: np.ndarray
    after: np.ndarray
    drops: np.ndarray
    increases: np.ndarray

    @property
    def average_drop(self) -> float:
        """Mean share of the score that is lost, 0 to 1; lower is better."""
        return float(self.drops.mean())

    @property
    def increase_in_confidence(self) -> float:
        """Share of the images whose score rises, 0 to 1; higher is better."""
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
    """Take away the pixels that maps mark, the most important first, and watch the score fall.

    The faster it falls, the better the map: a small area is good. Pixels of one step are replaced
    together; of equal ones those further up and left go first.

    Args:
        model: A model with one image input and class scores or probabilities as its output.
        images: `(n, height, width, channels)`, prepared as for `model.predict`.
        maps: `(n, height, width)`, from 0 to 1.
        classes: One for all images, or `(n,)`; None takes the one with the highest score.
        steps: In how many equal steps the pixels go.
        baseline: What is put in their place: `"zero"`, `"mean"` (of the image, by channel) or
            `"blur"`.
        sigma: Standard deviation of the blur in pixels; None takes a 20th of the longer side.
        batch_size: Images computed at a time.

    Returns:
        Curves and areas, one for each image.

    Raises:
        ValueError: If images, maps or classes do not fit, or an argument is out of its range.

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
    return judged.curves(judged.images, other, steps, "deleting")


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
    """Show the pixels that maps mark, the most important first, and watch the score rise.

    The faster it rises, the better the map: a large area is good. Shown they are on a blurred
    image, in which pixels make no sharp edges.

    Args:
        model: A model with one image input and class scores or probabilities as its output.
        images: `(n, height, width, channels)`, prepared as for `model.predict`.
        maps: `(n, height, width)`, from 0 to 1.
        classes: One for all images, or `(n,)`; None takes the one with the highest score.
        steps: In how many equal steps the pixels come.
        baseline: What is there before: `"blur"`, `"mean"` (of the image, by channel) or `"zero"`.
        sigma: Standard deviation of the blur in pixels; None takes a 20th of the longer side.
        batch_size: Images computed at a time.

    Returns:
        Curves and areas, one for each image.

    Raises:
        ValueError: If images, maps or classes do not fit, or an argument is out of its range.

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
    return judged.curves(other, judged.images, steps, "inserting")


def average_drop(
    model: keras.Model,
    images: Any,
    maps: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    batch_size: int = 32,
) -> Drops:
    """Multiply images by their maps and see how much of the score is lost.

        drop = max(0, before - after) / before,   increase = after > before

    The scores must be above 0, as probabilities are; where one is 0 nothing can be lost.

    Args:
        model: A model with one image input and class probabilities as its output.
        images: `(n, height, width, channels)`, prepared as for `model.predict`. What the map does
            not mark becomes 0, so 0 should mean nothing: black, or the mean.
        maps: `(n, height, width)`, from 0 to 1.
        classes: One for all images, or `(n,)`; None takes the one with the highest score.
        batch_size: Images computed at a time.

    Returns:
        Scores, drops and increases, one for each image.

    Raises:
        ValueError: If images, maps or classes do not fit, or a score is below 0.

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
            "average_drop needs scores from 0 on, such as probabilities; the model gives "
            f"{before.min():.4g}. Put a softmax behind it."
        )
    after = judged.scores(judged.images * judged.maps[..., None])
    lost = np.maximum(before - after, 0)
    drops = np.divide(lost, before, out=np.zeros_like(lost), where=before > 0)
    return Drops(before, after, drops, after > before)


class _Judged:
    """A model, images, their maps and classes, checked."""

    def __init__(
        self,
        model: keras.Model,
        images: Any,
        maps: ArrayLike,
        classes: ArrayLike | None,
        batch_size: int,
    ) -> None:
        if not isinstance(model, keras.Model):
            raise TypeError(f"model must be a keras.Model. Received: {type(model).__name__}")
        self.batch_size = checks.whole_number("batch_size", batch_size, least=1)
        self.model = model
        if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
            raise ValueError(
                f"model {model.name!r} must have one image input and one output of scores (n, "
                f"classes). It has {len(model.inputs)} inputs and outputs of shape "
                f"{', '.join(str(tensor.shape[1:]) for tensor in model.outputs)}"
            )
        (self.images,) = checked_inputs(model, images)
        self.maps = _checked_maps(maps, self.images)
        self.classes: np.ndarray | None = None
        if classes is None:
            self.classes = self._predict(self.images).argmax(-1)
        else:
            count = int(model.outputs[0].shape[-1])
            chosen = checked_classes(classes, len(self.images), count)
            if chosen.ndim != 1:
                raise ValueError(f"classes must be one for each image. Got {chosen.shape}")
            self.classes = chosen

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Return what the model says of each image's class, `(n,)`."""
        outputs = self._predict(images)
        return np.take_along_axis(outputs, self.classes[:, None], axis=1)[:, 0]  # type: ignore[index]

    def curves(self, start: np.ndarray, end: np.ndarray, steps: int, what: str) -> Curves:
        """Replace pixels of `start` by those of `end`, the most important first."""
        pixels = self.maps[0].size
        steps = checks.whole_number("steps", steps, least=1)
        if steps > pixels:
            raise ValueError(f"steps must be at most {pixels}, the pixels. Received: {steps}")
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


def _checked_maps(maps: ArrayLike, images: np.ndarray) -> np.ndarray:
    planes = np.asarray(maps, "float32")
    if images.ndim != 4 or planes.shape != images.shape[:3]:
        raise ValueError(
            f"maps must have the shape {images.shape[:3]}, (n, height, width) of the images. "
            f"Received: {planes.shape}"
        )
    if not (np.isfinite(planes).all() and planes.min() >= 0 and planes.max() <= 1):
        raise ValueError(
            f"maps must hold numbers from 0 to 1. Received: {planes.min():.4g} to "
            f"{planes.max():.4g}. Methods give such unless raw=True"
        )
    return planes


def _baseline(images: np.ndarray, kind: str, sigma: float | None) -> np.ndarray:
    if kind not in _BASELINE:
        raise ValueError(f"baseline must be one of {', '.join(_BASELINE)}. Received: {kind!r}")
    if sigma is not None and kind != _BLURRED:
        raise ValueError(f"sigma belongs to baseline='blur'. Received: baseline={kind!r}")
    return _BASELINE[kind](images, sigma)


def _zero(images: np.ndarray, sigma: float | None) -> np.ndarray:
    return np.zeros_like(images)


def _mean(images: np.ndarray, sigma: float | None) -> np.ndarray:
    return np.broadcast_to(images.mean((1, 2), keepdims=True), images.shape)


def _blur(images: np.ndarray, sigma: float | None) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    width = max(images.shape[1:3]) / 20 if sigma is None else sigma
    if not 0 < width < np.inf:
        raise ValueError(f"sigma must be a number of pixels above 0. Received: {sigma!r}")
    return np.asarray(gaussian_filter(images, (0, width, width, 0)), "float32")


_BASELINE: dict[str, Callable[[np.ndarray, float | None], np.ndarray]] = {
    _BLURRED: _blur,
    _MEAN: _mean,
    _ZERO: _zero,
}
