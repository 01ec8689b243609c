"""Official ImageNet weights, fetched through keras.applications only when asked for by name."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.models._shared.arguments import Arguments

CLASSES = 1000

PREPROCESSING = Normalization((127.5,), (127.5,))
"""What the pixels of the official MobileNets went through: 0..255 becomes -1..1."""

BGR_PREPROCESSING = Normalization((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
"""What those of the official VGGs and ResNets went through, red first: their mean is taken away."""

TORCH_PREPROCESSING = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""What those of the official DenseNets went through."""

DEFAULT_SIZE = 224
"""Weights for images of any size are those trained at this one."""


@dataclass(frozen=True)
class ImageNetFiles:
    """Which official files of a family exist.

    Attributes:
        application: Name of the builder in `keras.applications`.
        alphas: Width multipliers that were trained.
        sizes: Heights (and widths) that were trained, in pixels; None if there is one file for all.
        preprocessing: What pixels went through.
        is_bgr: Whether they had blue first, which ours have not: the first kernel is turned around.
        skipped: Weights at the beginning that belong to preprocessing within the official network.
    """

    application: str
    alphas: tuple[float, ...] = (1.0,)
    sizes: tuple[int, ...] | None = None
    preprocessing: Normalization = PREPROCESSING
    is_bgr: bool = False
    skipped: int = 0

    def check(self, arguments: Arguments) -> None:
        """Raise ValueError if there is no official file for a network with these arguments."""
        height, width, channels = arguments.input_shape
        if channels != 3:
            raise ValueError(
                "weights='imagenet' are for RGB images: input_shape must end in 3 channels. "
                f"Received: {arguments.input_shape}"
            )
        if arguments.alpha not in self.alphas:
            raise ValueError(
                f"weights='imagenet' exist for alpha = {_listed(self.alphas)}. "
                f"Received: alpha={arguments.alpha}"
            )
        if self.sizes is not None and not self._is_trained(height, width):
            raise ValueError(
                f"weights='imagenet' exist for square images of {_listed(self.sizes)} pixels. For "
                "another size set input_shape=(None, None, 3), which takes any size and the "
                f"weights of {DEFAULT_SIZE}. Received: input_shape={arguments.input_shape}"
            )
        if arguments.include_top and arguments.classes != CLASSES:
            raise ValueError(
                f"weights='imagenet' with include_top=True classify {CLASSES} classes. Leave "
                "classes out, or set include_top=False and put your own classifier on top. "
                f"Received: classes={arguments.classes}"
            )
        if arguments.include_top and arguments.classifier_activation not in (None, "softmax"):
            raise ValueError(
                "weights='imagenet' with include_top=True were trained with "
                "classifier_activation='softmax' (or None for logits). "
                f"Received: {arguments.classifier_activation!r}"
            )
        if arguments.preprocessing not in (None, self.preprocessing):
            raise ValueError(
                f"weights='imagenet' expect pixels that went through {self.preprocessing}. Leave "
                f"preprocessing out. Received: {arguments.preprocessing}"
            )

    def _is_trained(self, height: int | None, width: int | None) -> bool:
        """Whether there is a file for images of this size; any size takes that of the default."""
        return (height, width) == (None, None) or (height == width and height in (self.sizes or ()))

    def load(self, model: keras.Model, arguments: Arguments) -> None:
        """Fetch the official weights (or take them from Keras's cache) and put them into `model`.

        Raises:
            OSError: If the file is not in the cache and cannot be fetched.
        """
        size = arguments.input_shape[0] if self.sizes else DEFAULT_SIZE
        size = size or DEFAULT_SIZE
        application = getattr(keras.applications, self.application)
        width = {"alpha": arguments.alpha} if len(self.alphas) > 1 else {}
        try:
            official = application(
                input_shape=(size, size, 3),
                include_top=arguments.include_top,
                weights="imagenet",
                **width,
            )
        except Exception as error:  # Keras raises a bare Exception when a file cannot be fetched
            raise OSError(
                f"weights='imagenet': the official file of {self.application} (alpha "
                f"{arguments.alpha}, size {size}) could not be loaded: {error}. Go online once, or "
                "put the file into the folder `models` of Keras's cache."
            ) from error
        model.set_weights(self.as_ours(official.get_weights()))

    def as_ours(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        """Return official weights for images that have red first."""
        weights = weights[self.skipped :]
        if self.is_bgr:
            return [weights[0][:, :, ::-1], *weights[1:]]
        return weights


def _listed(values: tuple[float, ...]) -> str:
    """Return `values` as people write them."""
    return " or ".join(filter(None, (", ".join(map(str, values[:-1])), str(values[-1]))))
