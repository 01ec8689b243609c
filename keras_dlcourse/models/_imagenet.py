"""Official ImageNet weights, fetched through keras.applications only when asked for by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras

from keras_dlcourse.edge.normalization import Normalization

if TYPE_CHECKING:
    from keras_dlcourse.models._arguments import Arguments

CLASSES = 1000

PREPROCESSING = Normalization((127.5,), (127.5,))
"""What the pixels of the official MobileNets went through: 0..255 becomes -1..1."""

DEFAULT_SIZE = 224
"""Weights for images of any size are those trained at this one."""


@dataclass(frozen=True)
class ImageNetFiles:
    """Which official files of a family exist.

    Attributes:
        application: Name of the builder in `keras.applications`.
        alphas: Width multipliers that were trained.
        sizes: Heights (and widths) that were trained, in pixels.
    """

    application: str
    alphas: tuple[float, ...]
    sizes: tuple[int, ...]

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
        if (height, width) != (None, None) and (height != width or height not in self.sizes):
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
        if arguments.preprocessing not in (None, PREPROCESSING):
            raise ValueError(
                f"weights='imagenet' expect pixels that went through {PREPROCESSING}. Leave "
                f"preprocessing out. Received: {arguments.preprocessing}"
            )

    def load(self, model: keras.Model, arguments: Arguments) -> None:
        """Fetch the official weights (or take them from Keras's cache) and put them into `model`.

        Raises:
            OSError: If the file is not in the cache and cannot be fetched.
        """
        size = arguments.input_shape[0] or DEFAULT_SIZE
        application = getattr(keras.applications, self.application)
        try:
            official = application(
                input_shape=(size, size, 3),
                alpha=arguments.alpha,
                include_top=arguments.include_top,
                weights="imagenet",
            )
        except Exception as error:  # Keras raises a bare Exception when a file cannot be fetched
            raise OSError(
                f"weights='imagenet': the official file of {self.application} (alpha "
                f"{arguments.alpha}, size {size}) could not be loaded: {error}. Go online once, or "
                "put the file into the folder `models` of Keras's cache."
            ) from error
        model.set_weights(official.get_weights())


def _listed(values: tuple[float, ...]) -> str:
    """Return `values` as people write them."""
    return f"{', '.join(str(value) for value in values[:-1])} or {values[-1]}"
