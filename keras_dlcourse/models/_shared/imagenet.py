"""Official ImageNet weights, downloaded through keras.applications only when requested by name."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.models._shared.arguments import Arguments

CLASSES = 1000

PREPROCESSING = Normalization((127.5,), (127.5,))
"""Normalization of the official MobileNets: maps 0..255 to -1..1."""

BGR_PREPROCESSING = Normalization((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
"""Normalization of the official VGGs and ResNets, in RGB order: subtracts the mean."""

TORCH_PREPROCESSING = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Normalization of the official DenseNets."""

DEFAULT_SIZE = 224
"""Models with an open image size use the weights trained at this size, in pixels."""


@dataclass(frozen=True)
class ImageNetFiles:
    """Available official weight files of a family.

    Attributes:
        application: Name of the builder in `keras.applications`.
        alphas: Available width multipliers.
        sizes: Available heights (and widths) in pixels; None if one file serves all sizes.
        preprocessing: Normalization applied to pixels in training.
        is_bgr: Whether the channels were in BGR order in training. Ours are RGB, so the input
            channels of the first kernel are reversed.
        skipped: Number of leading weights that belong to preprocessing layers of the official
            network.
    """

    application: str
    alphas: tuple[float, ...] = (1.0,)
    sizes: tuple[int, ...] | None = None
    preprocessing: Normalization = PREPROCESSING
    is_bgr: bool = False
    skipped: int = 0

    def check(self, arguments: Arguments) -> None:
        """Raise ValueError if no official file exists for a network with these arguments."""
        height, width, channels = arguments.input_shape
        if channels != 3:
            raise ValueError(
                "input_shape must end in 3 channels (RGB) if weights='imagenet'. "
                f"Received: {arguments.input_shape}"
            )
        if arguments.alpha not in self.alphas:
            raise ValueError(
                f"alpha must be {_list_values(self.alphas)} if weights='imagenet'. "
                f"Received: alpha={arguments.alpha}"
            )
        if self.sizes is not None and not self._is_trained(height, width):
            raise ValueError(
                f"Images must be square, with {_list_values(self.sizes)} pixels per side, if "
                f"weights='imagenet'. Received: input_shape={arguments.input_shape}. For another "
                "size, set input_shape=(None, None, 3), which accepts any size and uses the "
                f"weights trained at {DEFAULT_SIZE} pixels."
            )
        if arguments.include_top and arguments.classes != CLASSES:
            raise ValueError(
                f"classes must be {CLASSES} if weights='imagenet' and include_top=True. "
                f"Received: classes={arguments.classes}. Omit classes, or set include_top=False "
                "and add your own classifier."
            )
        if arguments.include_top and arguments.classifier_activation not in (None, "softmax"):
            raise ValueError(
                "classifier_activation must be 'softmax' (or None for logits) if "
                "weights='imagenet' and include_top=True. "
                f"Received: {arguments.classifier_activation!r}"
            )
        if arguments.preprocessing not in (None, self.preprocessing):
            raise ValueError(
                f"preprocessing must be {self.preprocessing} if weights='imagenet'. "
                f"Received: {arguments.preprocessing}. Omit preprocessing."
            )

    def _is_trained(self, height: int | None, width: int | None) -> bool:
        """Whether a file exists for images of this size; open sizes use the default's file."""
        return (height, width) == (None, None) or (height == width and height in (self.sizes or ()))

    def load(self, model: keras.Model, arguments: Arguments) -> None:
        """Download the official weights (or read them from Keras's cache) and load them.

        Raises:
            OSError: If the file is not in the cache and cannot be downloaded.
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
        except Exception as error:  # Keras raises a bare Exception if a download fails
            raise OSError(
                f"weights='imagenet': the official file of {self.application} (alpha "
                f"{arguments.alpha}, size {size}) could not be loaded: {error}. Connect to the "
                "Internet once, or put the file in the folder `models` of Keras's cache."
            ) from error
        model.set_weights(self.convert_weights(official.get_weights()))

    def convert_weights(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        """Return official weights converted to RGB input."""
        weights = weights[self.skipped :]
        if self.is_bgr:
            return [weights[0][:, :, ::-1], *weights[1:]]
        return weights


def _list_values(values: tuple[float, ...]) -> str:
    """Return `values` as an English list, such as "0.5, 0.75 or 1.0"."""
    return " or ".join(filter(None, (", ".join(map(str, values[:-1])), str(values[-1]))))
