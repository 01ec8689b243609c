"""A reusable mapper for the methods that use feature maps and gradients."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.explain.engine.inputs import check_classes, check_inputs
from keras_dlcourse.explain.engine.probe import Found, Probe, probe_of
from keras_dlcourse.explain.engine.scores import Target
from keras_dlcourse.explain.engine.weighting import WEIGHTINGS


class GradientMapper:
    """Computes maps for one model from feature maps and gradients; meant for repeated use.

    The model is compiled at the first call. Weights are read at each call, so the model may be
    trained between calls. Neither other images nor other classes cause recompilation.

    Args:
        model: A functional or Sequential model; it may have nested models and several inputs and
            outputs.
        method: `"grad_cam"`, `"grad_cam_pp"`, `"layer_cam"`, `"hires_cam"` or `"eigen_cam"`.
        layer: Name of the layer whose feature maps are used; in nested models
            `"backbone/conv5"`, or just `"conv5"`. None selects the last of the coarsest feature
            maps; in a vision transformer, the last tokens that the scores depend on.
        reshape: For a layer that outputs tokens `(n, tokens, channels)`, the number of rows and
            columns of patches, such as `(14, 14)`; any extra tokens must precede the patches.
            None infers it from an earlier feature map, or assumes a square grid.
        target: What to explain instead of a class: a function, using `keras.ops`, from the
            model's outputs to one number per image, shape `(n,)`.
        output: Index or name of the output that holds the classes.
        image_input: Index of the image input; 0 for models with a single input.
        batch_size: Number of images per batch.

    Raises:
        TypeError: If `model` is not a Keras model or an argument has the wrong type.
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
        self.method = WEIGHTINGS[check_one_of("method", method, tuple(WEIGHTINGS))]
        self.probe = probe_of(
            model, layer=layer, reshape=reshape, target=target, output=output,
            image_input=image_input, batch_size=batch_size,
        )  # fmt: skip

    @property
    def classes(self) -> int:
        """Number of classes; 0 if `target` is given."""
        return self.probe.classes

    def maps(
        self, images: Any, classes: ArrayLike | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Compute unscaled maps at the resolution of the layer, and the scores.

        Args:
            images: `(n, height, width, channels)`, prepared as for `model.predict`; for a model
                with several inputs, a list or dict of arrays, as for `predict`.
            classes: One class for all images, one per image `(n,)`, or several per image
                `(n, k)`. None uses the class with the highest score.

        Returns:
            Maps `(n, h, w)`, or `(n, k, h, w)` if `classes` is `(n, k)`; and scores
            `(n, classes)` before softmax, or None if `target` is given.

        Raises:
            ValueError: If images or classes do not match the model.

        Warns:
            UserWarning: If a gradient is 0 everywhere, which makes the map all zeros.
        """
        if classes is None or np.ndim(classes) < 2 or self.probe.target is not None:
            found = self._run_probe(images, classes)
            return self._weight_features(found), found.scores
        n = len(np.asarray(classes))
        columns = check_classes(classes, n, self.classes).T
        parts = [self._run_probe(images, column) for column in columns]
        return np.stack([self._weight_features(part) for part in parts], axis=1), parts[0].scores

    def scores(self, images: Any) -> np.ndarray:
        """Compute the scores before softmax, `(n, classes)`.

        Raises:
            ValueError: If images do not match the model, or `target` is given.
        """
        scores = self.probe.forward(images).scores
        if scores is None:
            raise ValueError("Class scores are not available when target is a function.")
        return scores

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Convert scores to probabilities: by sigmoid if the model ends in one, else by softmax."""
        if self.probe.scores is None:
            raise ValueError("Probabilities are not available when target is a function.")
        return self.probe.scores.probabilities(scores)

    def image_size(self, images: Any) -> tuple[int, int]:
        """Return the height and width of images in the layout that this model takes."""
        arrays = check_inputs(self.probe.network.model, images)
        return image_size(arrays[self.probe.image_input], self.probe.channels_first)

    def _run_probe(self, images: Any, classes: ArrayLike | None) -> Found:
        return (self.probe if self.method.gradients else self.probe.forward)(images, classes)

    def _weight_features(self, found: Found) -> np.ndarray:
        if self.method.gradients:
            _warn_of_zeros(found, self.probe)
        return self.method.maps(found.features, found.gradients).astype("float32")


def image_size(images: np.ndarray, channels_first: bool) -> tuple[int, int]:
    """Return the height and width of images.

    A channels-first network may take channels-last images and transpose them. The axis with at
    most 4 entries is taken for the channels.
    """
    if images.ndim not in (3, 4):  # three axes: a grayscale image, or a series drawn as one
        raise ValueError(
            "images must have the shape (n, height, width, channels) to resize maps to their size. "
            f"Received: {images.shape}. Pass raw=True for maps at the size of the layer; "
            "saliency, integrated_gradients and occlusion accept vectors, series and volumes."
        )
    first = channels_first and images.ndim == 4 and images.shape[1] <= 4 < images.shape[3]
    height, width = images.shape[2:4] if first else images.shape[1:3]
    return int(height), int(width)


def _warn_of_zeros(found: Found, probe: Probe) -> None:
    zeros = int((~found.gradients.any(axis=(1, 2, 3))).sum())
    if zeros:
        where = f"layer {probe.place.name!r}" if probe.place else "the image"
        warnings.warn(
            f"The gradient with respect to {where} is 0 everywhere for {zeros} of "
            f"{len(found.gradients)} images, so their maps are all 0. The explained value does not "
            "depend on it there (another branch, or an inactive ReLU).",
            stacklevel=4,
        )
