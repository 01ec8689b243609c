"""Sanity check: the maps of a method must change when the learned weights are randomized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import spearmanr

from keras_dlcourse._progress import track
from keras_dlcourse.explain.engine.probe import INPUT, probe_of
from keras_dlcourse.explain.methods import MapFunction, function_of
from keras_dlcourse.graph.flat import flat_copy, open_block

SIMILAR = 0.5  # rank correlation above which two maps count as the same


@dataclass(frozen=True)
class SanityCheck:
    """Similarity of maps while a network's layers are randomized one by one, from its end.

    Attributes:
        method: Name of the method.
        layers: Names of the layers in the order in which their weights were randomized.
        similarities: After each layer, the mean absolute rank correlation (Spearman) of the maps
            with those of the original network, 0 to 1.
        passed: Whether the final similarity is at most 0.5. A method that fails shows the image
            rather than the network.
    """

    method: str
    layers: tuple[str, ...]
    similarities: tuple[float, ...]
    passed: bool

    def __str__(self) -> str:
        from keras_dlcourse._tables import text_table

        rows = [
            [name, f"{similarity:.2f}"]
            for name, similarity in zip(self.layers, self.similarities, strict=True)
        ]
        verdict = "passes" if self.passed else "fails: it shows the image, not the network"
        return f"{text_table(['randomized down to', 'similarity'], rows)}\n{self.method} {verdict}"


def sanity_check(
    method: str | MapFunction,
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    *,
    seed: int = 0,
    **options: Any,
) -> SanityCheck:
    """Randomize a network's weights layer by layer from its end, and check that the maps change.

    Args:
        method: A name in `kd.explain.METHODS`, or a function of a model, images and classes.
        model: A trained model that the method accepts. It is not modified.
        images: Images that the method accepts; about 10 are enough.
        classes: One class for all images, or one per image `(n,)`. None uses the class with the
            highest score of the original network.
        seed: Seed of the random weights, which are a permutation of each weight's own values.
        **options: Further arguments for the method.

    Returns:
        A `SanityCheck`; `print` it for a table.

    Raises:
        TypeError: As raised by the method; also if `method` is neither a name nor a function.
        ValueError: As raised by the method; also if the model has no weights.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3),
        ...     keras.layers.Flatten(), keras.layers.Dense(2)])
        >>> images = np.random.default_rng(0).random((2, 8, 8, 3))
        >>> sanity_check(lambda model, images, classes: images[..., 0], model, images, 1).passed
        False

    Reference:
        Adebayo et al. (2018), Sanity Checks for Saliency Maps, https://arxiv.org/abs/1810.03292
    """
    function = function_of(method)
    name = method if isinstance(method, str) else getattr(method, "__name__", "the function")
    if classes is None:
        classes = _top_classes(model, images)
    copy = flat_copy(model, open_block)
    layers = [layer for layer in reversed(copy.layers) if layer.trainable_weights]
    if not layers:
        raise ValueError(f"model {model.name!r} has no weights to randomize.")
    before = function(model, images, classes, **options)
    rng = np.random.default_rng(seed)
    similarities = []
    for layer in track(iter(layers), len(layers), "Randomizing"):
        layer.set_weights([rng.permuted(weight) for weight in layer.get_weights()])
        after = function(copy, images, classes, **options)
        similarities.append(_similarity(before, after))
    names = tuple(layer.name for layer in layers)
    return SanityCheck(name, names, tuple(similarities), similarities[-1] <= SIMILAR)


def _top_classes(model: keras.Model, images: Any) -> np.ndarray:
    scores = probe_of(model, layer=INPUT).forward(images).scores
    return np.asarray(scores).argmax(-1)


def _similarity(before: np.ndarray, after: np.ndarray) -> float:
    """Return the mean absolute rank correlation; a constant map has a correlation of 0."""
    found = []
    for first, second in zip(before, after, strict=True):
        if np.ptp(first) == 0 or np.ptp(second) == 0:
            found.append(0.0)
        else:
            found.append(abs(float(spearmanr(first.ravel(), second.ravel()).statistic)))
    return float(np.mean(found))
