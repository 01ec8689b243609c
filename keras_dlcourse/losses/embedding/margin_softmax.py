"""Cross-entropy of cosines with a margin for the true class: ArcFace and CosFace."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_number
from keras_dlcourse.losses._base import MeanOverTerms
from keras_dlcourse.losses.embedding import _cosines


class MarginSoftmax(MeanOverTerms):
    """Cross-entropy of scaled cosines; subclasses lower the true class's in `apply_margin`."""

    def __init__(self, margin: float, scale: float, most: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.margin = check_number("margin", margin, above=0, below=most)
        self.scale = check_number("scale", scale, above=0)

    def apply_margin(self, cosines: Any) -> Any:
        """Return the value that replaces the cosine of the true class."""
        raise NotImplementedError(f"{type(self).__name__} must define apply_margin")

    def terms(self, y_true: Any, y_pred: Any, mask: Any) -> tuple[Any, Any]:
        """Return the cross-entropy of each row, and 1 for each unmasked row, else 0."""
        cosines = _cosines.cosines(y_pred, mask, self._computed_in)
        true, within = _cosines.members(y_true, mask, cosines)
        logits = self.scale * ops.where(true, self.apply_margin(cosines), cosines)
        losses = ops.logsumexp(logits, axis=1) - ops.sum(ops.where(true, logits, 0.0), axis=1)
        losses = ops.where(within, losses, float("nan"))  # NaN exposes labels without a class
        valid = ops.ones_like(losses) if mask is None else ops.cast(mask, losses.dtype)
        return losses * valid, valid

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class ArcFace(MarginSoftmax):
    """Cross-entropy of classes on a sphere, with a margin on the angle to the true class.

        loss = -log(exp(s cos(t + m)) / (exp(s cos(t + m)) + sum over other classes of exp(s cos)))

    where t is the angle between the embedding and the weights of its class. Beyond t = pi - m,
    where cos(t + m) would rise again, it is replaced by cos(t) - m sin(m). The model ends with
    `kd.layers.CosineDense(classes)`, which is dropped on the device. The gradient flows through
    all cosines, including the one with the margin.

    Args:
        margin: m, in radians (0.5 is 28.6 degrees), below pi.
        scale: s, the factor applied to the cosines.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Dtype of the result. The computation uses at least float32.

    Call arguments:
        y_true: Integer labels `(rows,)` or `(rows, 1)`, column indices of `y_pred`. Other labels
            raise ValueError in eager execution; in compiled code they give NaN, and
            `kd.callbacks.TerminateOnNaN` reports them.
        y_pred: Cosines `(rows, classes)`.
        sample_weight: Weight of each row's loss.

    Raises:
        ValueError: If an argument is out of range, or an input has an unsupported shape or value.
        TypeError: If the labels are not integers.

    Example:
        >>> import numpy as np
        >>> cosines = np.array([[0.9, 0.1], [0.2, 0.6]], "float32")
        >>> round(float(ArcFace(margin=0.5, scale=8.0)(np.array([0, 1]), cosines)), 3)
        0.484

    Reference:
        Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019,
        https://arxiv.org/abs/1801.07698
    """

    def __init__(
        self,
        margin: float = 0.5,
        scale: float = 64.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "arc_face",
        dtype: Any = None,
    ) -> None:
        super().__init__(margin, scale, math.pi, name=name, reduction=reduction, dtype=dtype)

    def apply_margin(self, cosines: Any) -> Any:
        """Return cos(t + m) without an arc cosine, whose slope is infinite at both ends."""
        squares = 1.0 - ops.square(cosines)
        ends = squares <= 0
        sines = ops.where(ends, 0.0, ops.sqrt(ops.where(ends, 1.0, squares)))
        turned = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
        beyond = cosines - self.margin * math.sin(self.margin)
        return ops.where(cosines >= -math.cos(self.margin), turned, beyond)


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class CosFace(MarginSoftmax):
    """Cross-entropy of classes on a sphere, with a margin on the cosine of the true class.

        loss = -log(exp(s (c - m)) / (exp(s (c - m)) + sum over other classes of exp(s cos)))

    where c is the cosine between the embedding and the weights of its class. The model ends with
    `kd.layers.CosineDense(classes)`, which is dropped on the device. The gradient flows through
    all cosines.

    Args:
        margin: m, in units of the cosine, below 2.
        scale: s, the factor applied to the cosines.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Dtype of the result. The computation uses at least float32.

    Call arguments:
        y_true: Integer labels `(rows,)` or `(rows, 1)`, column indices of `y_pred`. Other labels
            raise ValueError in eager execution; in compiled code they give NaN, and
            `kd.callbacks.TerminateOnNaN` reports them.
        y_pred: Cosines `(rows, classes)`.
        sample_weight: Weight of each row's loss.

    Raises:
        ValueError: If an argument is out of range, or an input has an unsupported shape or value.
        TypeError: If the labels are not integers.

    Example:
        >>> import numpy as np
        >>> cosines = np.array([[0.9, 0.1], [0.2, 0.6]], "float32")
        >>> round(float(CosFace(margin=0.35, scale=8.0)(np.array([0, 1]), cosines)), 3)
        0.27

    Reference:
        Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018,
        https://arxiv.org/abs/1801.09414
    """

    def __init__(
        self,
        margin: float = 0.35,
        scale: float = 64.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "cos_face",
        dtype: Any = None,
    ) -> None:
        super().__init__(margin, scale, 2.0, name=name, reduction=reduction, dtype=dtype)

    def apply_margin(self, cosines: Any) -> Any:
        """Return the cosine minus the margin."""
        return cosines - self.margin
