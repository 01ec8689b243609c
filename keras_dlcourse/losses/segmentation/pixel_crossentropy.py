"""Cross-entropy of class masks: weighted by class and pixel, of all or of the hardest pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_number
from keras_dlcourse.data.mask_labels import IGNORE
from keras_dlcourse.losses.segmentation._pixels import PixelLoss


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class PixelCrossentropy(PixelLoss):
    """Cross-entropy of each labeled pixel, with weights for classes and for pixels.

        loss = sum over labeled pixels of  w_class * w_pixel * -log p(class)  /  labeled pixels

    The sum goes over all images of the batch: training on whole images with it is training on all
    patches that the network sees in them. Rare classes need a higher `class_weight`, such as
    `n / (classes * pixels of the class)`. The weight of each pixel is the `sample_weight` of
    `model.fit`, for instance `kd.losses.boundary_weights`, which separates touching objects.

    With `hardest=0.25`, only the quarter of the pixels of each image with the highest weighted loss
    counts (online hard example mining), which keeps many easy pixels of background from
    dominating.

    `keras.losses.SparseCategoricalCrossentropy(ignore_class=255)` computes the same without weights
    of classes and hard pixels. It does not accept the output of a single sigmoid.

    Args:
        class_weight: A weight of at least 0 for each class, in their order; None for 1. For a
            single sigmoid, the weights of background and object.
        hardest: Fraction of the pixels of an image that count, above 0.
        ignore: Value of the pixels without a label, or None if all have one.
        from_logits: Whether outputs are values before the softmax or sigmoid.
        reduction: As for every Keras loss, over images.
        name: Name of the loss.
        dtype: Dtype of the result.

    Call arguments:
        y_true: Class numbers `(batch, height, width)`, with or without a last axis of 1.
        y_pred: Scores `(batch, height, width, classes)`; for one class, the scores of the object,
            whose label is 1.
        sample_weight: Weight of each image, `(batch,)`, or of each pixel, `(batch, height, width)`.

    Raises:
        ValueError: If an argument is out of range, the sizes differ, or `class_weight` does not
            have one weight for each class.

    Example:
        >>> import numpy as np
        >>> loss = PixelCrossentropy(class_weight=[1.0, 3.0])
        >>> masks = np.array([[[0, 1, 255]]])
        >>> round(float(loss(masks, np.full((1, 1, 3, 2), 0.5))), 4)  # (1 + 3) log(2) / 2
        1.3863

    Reference:
        Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR
        2015, https://arxiv.org/abs/1411.4038; Shrivastava, Gupta and Girshick, "Training
        Region-based Object Detectors with Online Hard Example Mining", CVPR 2016,
        https://arxiv.org/abs/1604.03540
    """

    def __init__(
        self,
        class_weight: Sequence[float] | None = None,
        hardest: float = 1.0,
        ignore: int | None = IGNORE,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "pixel_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(class_weight, ignore, from_logits, reduction, name, dtype)
        self.hardest = check_number("hardest", hardest, above=0, most=1)

    def each(self, labels: Any, scores: Any) -> Any:
        """Return the cross-entropy of each pixel."""
        return self.crossentropy(labels, scores)

    def count(self, losses: Any, known: Any) -> tuple[Any, Any]:
        """Return the sum and the number of the hardest pixels of each image."""
        if self.hardest == 1:
            return super().count(losses, known)
        _, height, width = ops.shape(losses)
        kept = ops.maximum(ops.cast(ops.floor(self.hardest * height * width), "int32"), 1)
        if isinstance(height, int) and isinstance(width, int):  # XLA must know the number
            kept = max(1, int(self.hardest * height * width))
        highest, _ = ops.top_k(ops.reshape(losses, (-1, height * width)), kept, sorted=False)
        number = ops.minimum(ops.sum(known, axis=(1, 2)), ops.cast(kept, known.dtype))
        return ops.sum(highest, axis=1), number

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        return {**super().get_config(), "hardest": self.hardest}
