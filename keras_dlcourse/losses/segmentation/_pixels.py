"""What losses of class masks share: masks, ignored pixels, and weights of classes and pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_flag, check_integer
from keras_dlcourse.losses._base import MeanOverTerms, mask_of


class PixelLoss(MeanOverTerms):
    """The mean of a loss over the labeled pixels of a batch; subclasses return it from `each`."""

    def __init__(
        self,
        class_weight: Sequence[float] | None,
        ignore: int | None,
        from_logits: bool,
        reduction: str | None,
        name: str | None,
        dtype: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.class_weight = _check_class_weight(class_weight)
        self.ignore = None if ignore is None else check_integer("ignore", ignore, least=-1)
        self.from_logits = check_flag("from_logits", from_logits)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the loss, reduced as `reduction` says.

        Args:
            y_true: Masks; see the class.
            y_pred: Scores of each class at each pixel.
            sample_weight: Weight of each image, `(batch,)`, or of each pixel,
                `(batch, height, width)` with or without a last axis of 1.
        """
        weights = None if sample_weight is None else ops.convert_to_tensor(sample_weight)
        if weights is None or len(weights.shape) < 3:
            return super().__call__(y_true, y_pred, weights)
        _check_pixel_weight(weights)
        with keras.name_scope(self.name):
            values = self.call(y_true, y_pred, mask_of(y_pred), pixel_weight=weights)
            return self._reduced(values, values)

    def call(self, y_true: Any, y_pred: Any, mask: Any = None, pixel_weight: Any = None) -> Any:
        """Return the value of each image, `(batch,)`."""
        labels, scores, known = self.read(y_true, y_pred, mask)
        losses = self.each(labels, scores)
        if self.class_weight is not None:
            losses = losses * self.weights_of(labels, scores)
        if pixel_weight is not None:
            weights = ops.cast(pixel_weight, losses.dtype)
            weights = weights[..., 0] if len(weights.shape) == 4 else weights
            # Values that are not known yet could not be checked: a wrong one makes the loss NaN.
            weights = ops.where(weights >= 0, weights, np.nan)
            losses = losses * ops.where(known, weights, 0.0)
        # TensorFlow reports a label that no class has; other backends would take the loss as 0.
        losses = ops.where(labels < max(scores.shape[-1], 2), losses, np.nan)
        losses = ops.where(known, losses, 0.0)
        rows = self._spread(*self.count(losses, ops.cast(known, losses.dtype)))
        return ops.cast(rows + self.of_images(labels, scores, known), self.dtype)

    def each(self, labels: Any, scores: Any) -> Any:
        """Return the unweighted loss of each pixel."""
        raise NotImplementedError(f"{type(self).__name__} must define each")

    def count(self, losses: Any, known: Any) -> tuple[Any, Any]:
        """Return the sum of each image's losses, and the number of pixels that it is of."""
        return ops.sum(losses, axis=(1, 2)), ops.sum(known, axis=(1, 2))

    def of_images(self, labels: Any, scores: Any, known: Any) -> Any:
        """Return what is added to the value of each image."""
        return 0.0

    def read(self, y_true: Any, y_pred: Any, mask: Any) -> tuple[Any, Any, Any]:
        """Return labels with 0 where there is none, scores, and whether each pixel has a label."""
        scores = ops.cast(ops.convert_to_tensor(y_pred), self._computed_in)
        labels = ops.convert_to_tensor(y_true)
        if len(labels.shape) == 4 and labels.shape[-1] == 1:
            labels = labels[..., 0]
        if len(scores.shape) != 4 or len(labels.shape) != 3:
            raise ValueError(
                "y_true must be masks of class numbers (batch, height, width), and y_pred scores "
                f"(batch, height, width, classes). Received: {tuple(labels.shape)} and "
                f"{tuple(scores.shape)}. For one-hot masks, use the losses of Keras."
            )
        sizes = zip(labels.shape[1:], scores.shape[1:3], strict=True)
        if any(None not in pair and pair[0] != pair[1] for pair in sizes):
            raise ValueError(
                "y_true and y_pred must have the same height and width. Received: "
                f"{tuple(labels.shape)} and {tuple(scores.shape)}. Crop the masks as the network "
                'crops the images (UNet with backbone="paper"), or resize them without '
                "interpolation."
            )
        labels, scores = _check_whole(labels, scores)
        known = ops.ones_like(labels, "bool")
        if self.ignore is not None:
            known = labels != self.ignore
        if mask is not None:
            known = ops.logical_and(known, mask[:, None, None])
        return ops.where(known, labels, 0), scores, known

    def weights_of(self, labels: Any, scores: Any) -> Any:
        """Return the weight of each pixel's class."""
        classes = max(scores.shape[-1], 2)
        if len(self.class_weight or ()) != classes:
            raise ValueError(
                f"class_weight must have {classes} weights, one for each class"
                f"{' (background and object)' * (scores.shape[-1] == 1)}. "
                f"Received: {len(self.class_weight or ())}"
            )
        return ops.take(ops.convert_to_tensor(self.class_weight, scores.dtype), labels)

    def crossentropy(self, labels: Any, scores: Any) -> Any:
        """Return the cross-entropy of each pixel."""
        if scores.shape[-1] == 1:
            target = ops.cast(labels, scores.dtype)
            return ops.binary_crossentropy(target, scores[..., 0], from_logits=self.from_logits)
        return ops.sparse_categorical_crossentropy(labels, scores, from_logits=self.from_logits)

    def probabilities(self, scores: Any) -> Any:
        """Return the probability of each class, `(batch, height, width, classes)`."""
        if not self.from_logits:
            return scores
        return ops.sigmoid(scores) if scores.shape[-1] == 1 else ops.softmax(scores)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        return {
            **super().get_config(),
            "class_weight": self.class_weight,
            "ignore": self.ignore,
            "from_logits": self.from_logits,
        }


def _check_whole(labels: Any, scores: Any) -> tuple[Any, Any]:
    """Return labels as integers. Fractions are an error, in compiled code NaN scores."""
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(labels.dtype)):
        return ops.cast(labels, "int32"), scores
    is_whole = labels == ops.floor(labels)
    if backend.is_known(labels) and not (whole := ops.convert_to_numpy(is_whole)).all():
        raise ValueError(
            "y_true must be class numbers. Received: fractions or NaN in "
            f"{np.count_nonzero(~whole)} pixels, first at index "
            f"{tuple(map(int, np.argwhere(~whole)[0]))}. Resize masks without interpolation."
        )
    scores = ops.where(ops.expand_dims(is_whole, -1), scores, np.nan)
    return ops.cast(ops.where(is_whole, labels, 0), "int32"), scores


def _check_pixel_weight(weights: Any) -> None:
    """Raise ValueError for weights that would make the loss NaN or negative."""
    if not backend.is_known(weights):
        return
    values = ops.convert_to_numpy(ops.cast(weights, "float32"))
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        raise ValueError(
            f"sample_weight must be finite and at least 0 at each pixel. Received: "
            f"{wrong.sum()} other values, first at index {tuple(map(int, np.argwhere(wrong)[0]))}"
        )


def _check_class_weight(weight: Any) -> list[float] | None:
    if weight is None:
        return None
    try:
        values = np.asarray(weight, "float64")
    except (TypeError, ValueError):  # strings, or a dictionary as in fit(class_weight=...)
        values = np.array(np.nan)
    if values.ndim != 1 or values.size < 2 or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(
            f"class_weight must be a list of weights of at least 0, one for each class. Received: "
            f"{weight!r}"
        )
    return values.tolist()
