"""Where a network looks, and what it sees there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse.explain.engine.inputs import check_inputs
from keras_dlcourse.explain.engine.probe import INPUT, probe_of
from keras_dlcourse.explain.engine.weighting import WEIGHTINGS
from keras_dlcourse.explain.inversion.inverter import LatentInverter
from keras_dlcourse.explain.methods import MapFunction, function_of


@dataclass(frozen=True, eq=False)
class Perception:
    """Result of `perception_visualization`.

    Attributes:
        visualizations: What the network sees where it looks: reconstructions, faded to the baseline
            where the map is low, `(n, height, width, channels)`, float32, normalized like the
            images.
        reconstructions: Images reconstructed from the latent, of the same shape.
        maps: Where it looks, `(n, height, width)`, 0 to 1.
        classes: The explained class of each image, `(n,)`.
        answers: Predicted classes of the images, `(n,)`.
        answers_to_reconstructions: Predicted classes of the reconstructions, `(n,)`. If they are
            equal, the reconstruction retains the evidence for the prediction.
    """

    visualizations: np.ndarray
    reconstructions: np.ndarray
    maps: np.ndarray
    classes: np.ndarray
    answers: np.ndarray
    answers_to_reconstructions: np.ndarray

    @property
    def agreement(self) -> float:
        """Fraction of images whose reconstruction gets the same prediction as the image."""
        return float(np.mean(self.answers == self.answers_to_reconstructions))


def perception_visualization(
    inverter: LatentInverter,
    images: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    method: str | MapFunction = "grad_cam",
    baseline: ArrayLike = 0.0,
    batch_size: int = 32,
    **options: Any,
) -> Perception:
    """Show "where" and "what": the reconstruction of an image from a layer, masked by a map.

        visualization = map * D(E(x)) + (1 - map) * baseline

    E is the network up to a layer and D a decoder that was trained to invert it. A saliency map
    alone shows where the evidence is; the reconstruction shows what the network takes it for. A
    wrong prediction often shows up as an object that is not in the image.

    Args:
        inverter: A trained `LatentInverter` of the network.
        images: `(n, height, width, channels)`, prepared as for `model.predict`.
        classes: One class for all images, or one per image `(n,)`. None uses the class with the
            highest score.
        method: Method that computes the maps: a name in `kd.explain.METHODS`, or a function like
            those. The CAM family uses the inverted layer if it has feature maps.
        baseline: Value where the map is 0: one number, or an array that broadcasts against the
            images.
        batch_size: Number of images per batch.
        **options: Further arguments for the method.

    Returns:
        A `Perception`.

    Raises:
        TypeError: If `inverter` is not a `LatentInverter`, or as raised by the method.
        ValueError: If images or classes do not match the model, or as raised by the method.

    Example:
        >>> model = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=5)
        >>> inverter = LatentInverter(model, "conv_pw_5_relu")
        >>> inverter.compile("adam")
        >>> images = np.random.default_rng(0).random((8, 32, 32, 3))
        >>> history = inverter.fit(images, verbose=0)
        >>> seen = perception_visualization(inverter, images[:2])
        >>> seen.visualizations.shape, seen.maps.shape
        ((2, 32, 32, 3), (2, 32, 32))

    Reference:
        Giulivi, Carman and Boracchi (2021), Perception Visualization: Seeing Through the Eyes of a
        DNN, https://arxiv.org/abs/2204.09920
    """
    if not isinstance(inverter, LatentInverter):
        raise TypeError(
            "inverter must be a kd.explain.LatentInverter, trained on images. Received: "
            f"{type(inverter).__name__}."
        )
    model = inverter.explained
    (x,) = check_inputs(inverter.encoder, images)
    try:
        empty = np.broadcast_to(np.asarray(baseline, "float32"), x.shape)
    except ValueError:
        raise ValueError(
            f"baseline must broadcast against images of shape {x.shape}. Received: "
            f"{np.shape(baseline)}."
        ) from None
    answers = _answers(model, x, batch_size)
    chosen = answers if classes is None else np.asarray(classes)
    function = function_of(method)
    if getattr(function, "__name__", "") in WEIGHTINGS and len(inverter.encoder.output.shape) == 4:
        options.setdefault("layer", inverter.layer)
    maps = function(model, x, chosen, **options)
    made = np.asarray(inverter.predict(x, batch_size=batch_size, verbose=0), "float32")
    shown = maps[..., None] * made + (1 - maps[..., None]) * empty
    return Perception(
        visualizations=shown.astype("float32"),
        reconstructions=made,
        maps=maps,
        classes=np.broadcast_to(chosen, len(x)),
        answers=answers,
        answers_to_reconstructions=_answers(model, made, batch_size),
    )


def _answers(model: keras.Model, images: np.ndarray, batch_size: int) -> np.ndarray:
    scores = probe_of(model, layer=INPUT, batch_size=batch_size).forward(images).scores
    return np.asarray(scores.argmax(-1))  # type: ignore[union-attr]
