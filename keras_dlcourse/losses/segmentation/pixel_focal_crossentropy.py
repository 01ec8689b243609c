"""Focal loss of class masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_number
from keras_dlcourse.data.mask_labels import IGNORE
from keras_dlcourse.losses.segmentation._pixels import PixelLoss


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class PixelFocalCrossentropy(PixelLoss):
    """Cross-entropy of each labeled pixel, reduced where the network is already right.

        loss = sum over labeled pixels of  w_class * (1 - p)^gamma * -log p  /  labeled pixels

    p is the probability of the pixel's class. With `gamma=2`, a pixel with p = 0.9 counts a
    hundredth of its cross-entropy.

    `keras.losses.CategoricalFocalCrossentropy` computes the same for one-hot masks, with its
    `alpha` in place of `class_weight`, and `BinaryFocalCrossentropy` for one class; both lack
    ignored pixels.

    Args:
        gamma: By how much easy pixels are reduced, at least 0; 0 is cross-entropy.
        class_weight: As for `PixelCrossentropy`.
        ignore: Value of the pixels without a label, or None if all have one.
        from_logits: Whether outputs are values before the softmax or sigmoid.
        reduction: As for every Keras loss, over images.
        name: Name of the loss.
        dtype: Dtype of the result.

    Call arguments:
        y_true: Class numbers `(batch, height, width)`, with or without a last axis of 1.
        y_pred: Scores `(batch, height, width, classes)`.
        sample_weight: Weight of each image, `(batch,)`, or of each pixel, `(batch, height, width)`.

    Raises:
        ValueError: If an argument is out of range, the sizes differ, or `class_weight` does not
            have one weight for each class.

    Example:
        >>> import numpy as np
        >>> loss = PixelFocalCrossentropy(gamma=1.0)
        >>> round(float(loss(np.zeros((1, 1, 1)), np.full((1, 1, 1, 2), 0.5))), 4)  # log(2) / 2
        0.3466

    Reference:
        Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017,
        https://arxiv.org/abs/1708.02002
    """

    def __init__(
        self,
        gamma: float = 2.0,
        class_weight: Sequence[float] | None = None,
        ignore: int | None = IGNORE,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "pixel_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(class_weight, ignore, from_logits, reduction, name, dtype)
        self.gamma = check_number("gamma", gamma, least=0)

    def each(self, labels: Any, scores: Any) -> Any:
        """Return the focal loss of each pixel."""
        losses = self.crossentropy(labels, scores)
        # Rounding can make a loss of 0 negative, and a power of a negative number is NaN.
        wrong = ops.maximum(1 - ops.exp(-losses), keras.config.epsilon())
        return losses * ops.power(wrong, self.gamma)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        return {**super().get_config(), "gamma": self.gamma}
