"""One interface to every method that draws maps, to be used again and again."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse.explain.engine.inputs import checked_classes, checked_inputs
from keras_dlcourse.explain.engine.probe import Found, Probe, probe_of
from keras_dlcourse.explain.engine.scores import Target
from keras_dlcourse.explain.engine.weighting import WEIGHTINGS


class GradientMapper:
    """Maps by feature maps and gradients, of one model, again and again.

    The model is compiled at the first call; weights are read at each call, so training may go on in
    between. Neither other images nor other classes make it compile again.

    Args:
        model: A functional or Sequential model, with nested models, several inputs and outputs.
        method: `"grad_cam"`, `"grad_cam_pp"`, `"layer_cam"`, `"hires_cam"` or `"eigen_cam"`.
        layer: Whose feature maps; in nested models `"backbone/conv5"`, or `"conv5"` alone. None
            finds the coarsest ones and, of several with that size, the last; of a vision
            transformer the last tokens that the scores depend on.
        reshape: Of a layer that gives tokens `(n, tokens, numbers)` the rows and columns of the
            patches that they stand for, such as `(14, 14)`; tokens besides those stand before
            them. None finds them where they are those of a map before, or a square.
        target: What is explained if it is no class: a function, in `keras.ops`, from the model's
            outputs to one number for each image, shape `(n,)`.
        output: Number or name of the output that has the classes.
        image_input: Number of the input that is the image; models with one have no other.
        batch_size: Number of images computed at a time.

    Raises:
        TypeError: If `model` is no Keras model or an argument has another type.
        ValueError: If there is no such method, layer, output or input, or the model has no graph.

    Example:
        >>> model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=5)
        >>> mapper = GradientMapper(model, "layer_cam", layer="conv_pw_11_relu")
        >>> maps, scores = mapper.maps(np.ones((3, 64, 64, 3)), classes=[[0, 4]] * 3)
        >>> maps.shape, scores.shape
        ((3, 2, 4, 4), (3, 5))
    """

    def __init__(
        self,
        model: keras.Model,
        method: str = "grad_cam",
        *,
        layer: str | None = None,
        reshape: tuple[int, int] | None = None,
        target: Target | None = None,
        output: int | str = 0,
        image_input: int = 0,
        batch_size: int = 32,
    ) -> None:
        if method not in WEIGHTINGS:
            raise ValueError(f"method must be one of {', '.join(WEIGHTINGS)}. Received: {method!r}")
        self.method = WEIGHTINGS[method]
        self.probe = probe_of(
            model, layer=layer, reshape=reshape, target=target, output=output,
            image_input=image_input, batch_size=batch_size,
        )  # fmt: skip

    @property
    def classes(self) -> int:
        """Number of classes; 0 if a function is explained."""
        return self.probe.classes

    def maps(
        self, images: Any, classes: ArrayLike | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Compute maps at the resolution of the layer, not scaled, and the scores.

        Args:
            images: `(n, height, width, channels)`, prepared as for `model.predict`; for a model
                with several inputs a list or dict of arrays, as for `predict`.
            classes: One for all images, `(n,)` one for each, or `(n, k)` several for each. None
                takes the class with the highest score.

        Returns:
            Maps `(n, h, w)`, or `(n, k, h, w)` if `classes` is `(n, k)`; and scores
            `(n, classes)` before softmax, None for a target that is a function.

        Raises:
            ValueError: If images or classes do not fit the model.

        Warns:
            UserWarning: If a gradient is 0 everywhere, which makes a map of zeros.
        """
        if classes is None or np.ndim(classes) < 2 or self.probe.target is not None:
            found = self._found(images, classes)
            return self._weighted(found), found.scores
        n = len(np.asarray(classes))
        columns = checked_classes(classes, n, self.classes).T
        parts = [self._found(images, column) for column in columns]
        return np.stack([self._weighted(part) for part in parts], axis=1), parts[0].scores

    def scores(self, images: Any) -> np.ndarray:
        """Compute the scores before softmax, `(n, classes)`.

        Raises:
            ValueError: If images do not fit the model, or a function is explained.
        """
        scores = self.probe.forward(images).scores
        if scores is None:
            raise ValueError("a target that is a function has no scores of classes")
        return scores

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Turn scores into 0 to 1: by sigmoid where the model ends in one, else by softmax."""
        if self.probe.scores is None:
            raise ValueError("a target that is a function has no probabilities")
        return self.probe.scores.probabilities(scores)

    def image_size(self, images: Any) -> tuple[int, int]:
        """Tell height and width of images as this model takes them."""
        arrays = checked_inputs(self.probe.network.model, images)
        return image_size(arrays[self.probe.image_input], self.probe.channels_first)

    def _found(self, images: Any, classes: ArrayLike | None) -> Found:
        return (self.probe if self.method.gradients else self.probe.forward)(images, classes)

    def _weighted(self, found: Found) -> np.ndarray:
        if self.method.gradients:
            _warn_of_zeros(found, self.probe)
        return self.method.maps(found.features, found.gradients).astype("float32")


def image_size(images: np.ndarray, channels_first: bool) -> tuple[int, int]:
    """Tell height and width of images.

    A network may turn its images around inside: an image has few channels, so look there.
    """
    if images.ndim not in (3, 4):  # three axes: a grey image, or a series drawn as one
        raise ValueError(
            "a map of feature maps is drawn at the size of images (n, height, width, channels). "
            f"Received inputs of shape {images.shape}: raw=True gives it at the size of the layer; "
            "saliency, integrated_gradients and occlusion draw vectors, series and volumes"
        )
    first = channels_first and images.ndim == 4 and images.shape[1] <= 4 < images.shape[3]
    height, width = images.shape[2:4] if first else images.shape[1:3]
    return int(height), int(width)


def _warn_of_zeros(found: Found, probe: Probe) -> None:
    zeros = int((~found.gradients.any(axis=(1, 2, 3))).sum())
    if zeros:
        where = f"layer {probe.place.name!r}" if probe.place else "the image"
        warnings.warn(
            f"the gradient by {where} is 0 everywhere for {zeros} of {len(found.gradients)} "
            "images, so their maps are all 0: what is explained does not depend on it there "
            "(another branch, or a ReLU that is off)",
            stacklevel=4,
        )
