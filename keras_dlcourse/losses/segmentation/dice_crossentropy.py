"""Dice loss and cross-entropy of class masks together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_number
from keras_dlcourse.data.mask_labels import IGNORE
from keras_dlcourse.losses.segmentation._pixels import PixelLoss


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class DiceCrossentropy(PixelLoss):
    """The sum of cross-entropy and soft Dice loss.

        loss = crossentropy + dice_weight * mean over images of (1 - Dice)
        Dice = mean over the classes of the image of  2 sum(p g) / (sum(p) + sum(g))

    p is the probability of a class and g is 1 where it is, else 0; both sums go over the labeled
    pixels. Dice weights each class of an image equally, however small it is, while the gradient of
    cross-entropy is smooth from the start. Classes that an image does not show are left to the
    cross-entropy: their Dice is 0 whatever the network says. An image without labeled pixels adds
    nothing.

    `keras.losses.Dice` and `Tversky` take one-hot masks and have no ignored pixels. By default,
    they sum over images and classes together, so that large classes dominate.

    Args:
        dice_weight: Weight of the Dice loss, at least 0.
        class_weight: Weights of the cross-entropy, as for `PixelCrossentropy`.
        ignore: Value of the pixels without a label, or None if all have one.
        from_logits: Whether outputs are values before the softmax or sigmoid.
        reduction: As for every Keras loss, over images.
        name: Name of the loss.
        dtype: Dtype of the result.

    Call arguments:
        y_true: Class numbers `(batch, height, width)`, with or without a last axis of 1.
        y_pred: Scores `(batch, height, width, classes)`; for one class, those of the object.
        sample_weight: Weight of each image, `(batch,)`, or of each pixel in the cross-entropy,
            `(batch, height, width)`.

    Raises:
        ValueError: If an argument is out of range, the sizes differ, or `class_weight` does not
            have one weight for each class.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[[[0.5, 0.5], [0.5, 0.5]]]])
        >>> round(float(DiceCrossentropy()(np.array([[[0, 1]]]), scores)), 4)  # log(2) + 1 - 1/2
        1.1931

    Reference:
        Milletari, Navab and Ahmadi, "V-Net", 3DV 2016, https://arxiv.org/abs/1606.04797; Isensee et
        al., "nnU-Net", Nature Methods 2021, https://doi.org/10.1038/s41592-020-01008-z
    """

    def __init__(
        self,
        dice_weight: float = 1.0,
        class_weight: Sequence[float] | None = None,
        ignore: int | None = IGNORE,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "dice_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(class_weight, ignore, from_logits, reduction, name, dtype)
        self.dice_weight = check_number("dice_weight", dice_weight, least=0)

    def each(self, labels: Any, scores: Any) -> Any:
        """Return the cross-entropy of each pixel."""
        return self.crossentropy(labels, scores)

    def of_images(self, labels: Any, scores: Any, known: Any) -> Any:
        """Return the weighted Dice loss of each image."""
        there = ops.cast(known, scores.dtype)[..., None]
        found = self.probabilities(scores) * there
        if scores.shape[-1] == 1:
            true = ops.cast(labels, scores.dtype)[..., None] * there
        else:
            true = ops.one_hot(labels, scores.shape[-1], dtype=scores.dtype) * there
        overlap, shown = (ops.sum(x, axis=(1, 2)) for x in (true * found, true))
        dice = 2 * overlap / ops.maximum(ops.sum(found, axis=(1, 2)) + shown, 1e-7)
        counts = ops.cast(shown > 0, scores.dtype)
        classes = ops.sum(counts, axis=-1)
        lost = ops.sum((1 - dice) * counts, axis=-1) / ops.maximum(classes, 1.0)
        return self.dice_weight * lost

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        return {**super().get_config(), "dice_weight": self.dice_weight}
