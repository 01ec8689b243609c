"""All explanation methods, by name, behind a common interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.explain.engine.inputs import check_classes, check_inputs
from keras_dlcourse.explain.engine.mapper import GradientMapper, image_size
from keras_dlcourse.explain.engine.probe import INPUT, probe_of
from keras_dlcourse.explain.engine.weighting import WEIGHTINGS
from keras_dlcourse.explain.maps.augmented import augmented_grad_cam
from keras_dlcourse.explain.maps.cam import ClassActivationMapper, cam
from keras_dlcourse.explain.maps.covering import occlusion, score_cam
from keras_dlcourse.explain.maps.gradient_maps import (
    eigen_cam,
    grad_cam,
    grad_cam_pp,
    hires_cam,
    layer_cam,
)
from keras_dlcourse.explain.maps.gradients import (
    guided_backprop,
    integrated_gradients,
    saliency,
    smooth_grad,
)
from keras_dlcourse.graph.head import find_head

# Takes a model, images and classes; returns maps (n, height, width) from 0 to 1.
MapFunction = Callable[..., np.ndarray]

METHODS: dict[str, MapFunction] = {
    "cam": cam,
    "grad_cam": grad_cam,
    "grad_cam_pp": grad_cam_pp,
    "layer_cam": layer_cam,
    "hires_cam": hires_cam,
    "eigen_cam": eigen_cam,
    "score_cam": score_cam,
    "augmented_grad_cam": augmented_grad_cam,
    "saliency": saliency,
    "smooth_grad": smooth_grad,
    "integrated_gradients": integrated_gradients,
    "guided_backprop": guided_backprop,
    "occlusion": occlusion,
}


class Mapper(Protocol):
    """Computes maps for one model; meant for repeated use."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    def scores(self, images: Any) -> np.ndarray:
        """Return scores before softmax, `(n, classes)`."""

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Convert scores to probabilities from 0 to 1."""

    def maps(self, images: Any, classes: ArrayLike | None = None) -> tuple[np.ndarray, Any]:
        """Return unscaled maps `(n, h, w)` or `(n, k, h, w)`, and the scores."""

    def image_size(self, images: Any) -> tuple[int, int]:
        """Return the height and width of the images."""


def function_of(method: str | MapFunction) -> MapFunction:
    """Return a method by its name in `METHODS`, or the function itself.

    Raises:
        ValueError: If there is no method with that name.
        TypeError: If `method` is neither a name nor a function.
    """
    if callable(method):
        return method
    if not isinstance(method, str):
        raise TypeError(f"method must be a name or a function. Received: {method!r}.")
    return METHODS[check_one_of("method", method, tuple(METHODS))]


def mapper_for(
    model: keras.Model, method: str | MapFunction, batch_size: int = 32, **options: Any
) -> Mapper:
    """Return a reusable mapper that computes maps for a model with a method.

    Args:
        model: A model that the method accepts.
        method: A name in `METHODS`, or a function of a model, images and classes that returns maps
            `(n, height, width)` at the size of the images.
        batch_size: Number of images per batch.
        **options: Further arguments for the method.

    Raises:
        TypeError: If `method` is neither a name nor a function, or as raised by the method.
        ValueError: If there is no method with that name, or as raised by the method.
    """
    function = function_of(method)
    if function is cam:
        return ClassActivationMapper(model, batch_size, **options)
    names = {METHODS[name]: name for name in WEIGHTINGS}
    if function in names:
        return GradientMapper(model, names[function], batch_size=batch_size, **options)
    return _FunctionMapper(model, function, batch_size, options)


def method_for(model: keras.Model) -> str:
    """Return the cheapest class-specific method for a model: `"cam"` or `"grad_cam"`."""
    try:
        find_head(model)
    except ValueError:
        return "grad_cam"
    return "cam"


class _FunctionMapper:
    """Wrap a function in the `Mapper` interface."""

    def __init__(
        self, model: keras.Model, function: MapFunction, batch_size: int, options: dict[str, Any]
    ) -> None:
        self.model, self.function = model, function
        self.options = {**options, "batch_size": batch_size} if function in _OURS else options
        self.probe = probe_of(model, layer=INPUT, batch_size=batch_size)

    @property
    def classes(self) -> int:
        return self.probe.classes

    def scores(self, images: Any) -> np.ndarray:
        scores = self.probe.forward(images).scores
        return np.zeros((0, 0)) if scores is None else scores

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        return self.probe.scores.probabilities(scores)  # type: ignore[union-attr]

    def maps(self, images: Any, classes: ArrayLike | None = None) -> tuple[np.ndarray, Any]:
        scores = self.scores(images)
        chosen = scores.argmax(-1) if classes is None else classes
        chosen = check_classes(chosen, len(scores), self.classes)
        columns = chosen.T if chosen.ndim == 2 else [chosen]
        maps = [self.function(self.model, images, column, **self.options) for column in columns]
        return (np.stack(maps, axis=1) if chosen.ndim == 2 else maps[0]), scores

    def image_size(self, images: Any) -> tuple[int, int]:
        arrays = check_inputs(self.probe.network.model, images)
        return image_size(arrays[self.probe.image_input], False)


_OURS = set(METHODS.values())
