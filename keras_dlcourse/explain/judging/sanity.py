"""Does a method show what the network has learned? It must not look the same without that."""

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

SIMILAR = 0.5  # rank correlation above which two maps show the same


@dataclass(frozen=True)
class SanityCheck:
    """How similar maps stay while a network forgets, layer by layer, from its end.

    Attributes:
        method: The method's name.
        layers: Names of the layers in the order in which their weights were made random.
        similarities: After each, the mean absolute rank correlation (Spearman) of the maps with
            those of the network as it was, 0 to 1.
        passed: Whether it is at most 0.5 in the end. A method that fails shows the image rather
            than the network.
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
        verdict = "passes" if self.passed else "fails: it shows the image, not what was learned"
        return f"{text_table(['random from here on', 'similarity'], rows)}\n{self.method} {verdict}"


def sanity_check(
    method: str | MapFunction,
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    *,
    seed: int = 0,
    **options: Any,
) -> SanityCheck:
    """Make a network's weights random, layer by layer from its end, and see whether maps change.

    Args:
        method: A name in `kd.explain.METHODS`, or a function of a model, images and classes.
        model: A trained model, as the method takes it. It is left as it was.
        images: As the method takes them; some 10 say enough.
        classes: One for all images, or `(n,)`; None takes the class with the highest score of the
            network as it is.
        seed: Of the random weights: each kernel's own numbers, in another order.
        **options: Further arguments of the method.

    Returns:
        A `SanityCheck`; `print` it for a table.

    Raises:
        TypeError: As the method, and if `method` is neither a name nor a function.
        ValueError: As the method, and if the model has no weights.

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
        raise ValueError(f"model {model.name!r} has no weights that could be made random")
    before = function(model, images, classes, **options)
    rng = np.random.default_rng(seed)
    similarities = []
    for layer in track(iter(layers), len(layers), "Forgetting"):
        layer.set_weights([rng.permuted(weight) for weight in layer.get_weights()])
        after = function(copy, images, classes, **options)
        similarities.append(_similarity(before, after))
    names = tuple(layer.name for layer in layers)
    return SanityCheck(name, names, tuple(similarities), similarities[-1] <= SIMILAR)


def _top_classes(model: keras.Model, images: Any) -> np.ndarray:
    scores = probe_of(model, layer=INPUT).forward(images).scores
    return np.asarray(scores).argmax(-1)


def _similarity(before: np.ndarray, after: np.ndarray) -> float:
    """Return the mean absolute rank correlation; a map that is the same everywhere has none."""
    found = []
    for first, second in zip(before, after, strict=True):
        if np.ptp(first) == 0 or np.ptp(second) == 0:
            found.append(0.0)
        else:
            found.append(abs(float(spearmanr(first.ravel(), second.ravel()).statistic)))
    return float(np.mean(found))
