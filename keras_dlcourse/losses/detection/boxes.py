"""Box regression losses: by coordinates, and by overlap."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_number
from keras_dlcourse.boxes.formats import check_boxes, check_format
from keras_dlcourse.boxes.overlap import Overlap, edges, quotient


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class SmoothL1Loss(keras.losses.Loss):
    """Squared error for small errors, absolute error for large ones, summed over coordinates.

        loss = sum over coordinates of  d² / (2 beta)   where |d| < beta
                                        |d| - beta / 2  elsewhere

    Args:
        beta: Error at which the loss becomes linear, in the units of the outputs. The usual 1 suits
            offsets of about that size; boxes in fractions of the image would never reach the linear
            part, so the default is a tenth of it.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Dtype of the result.

    Call arguments:
        y_true: `(..., coordinates)`.
        y_pred: The same shape.
        sample_weight: Weight of each row or box.

    Raises:
        ValueError: If `beta` is not above 0.

    Example:
        >>> float(SmoothL1Loss(beta=1.0)([[0.0, 0.0]], [[0.5, 2.0]]))  # 0.125 + 1.5
        1.625

    Reference:
        Girshick, "Fast R-CNN", ICCV 2015, https://arxiv.org/abs/1504.08083, equation 3 (`beta`
        1); torchvision's `beta`
    """

    def __init__(
        self,
        beta: float = 0.1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "smooth_l1_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.beta = check_number("beta", beta, above=0)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the sum over the last axis."""
        return smooth_l1(y_true, y_pred, self.beta)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        return {**super().get_config(), "beta": self.beta, "dtype": self.dtype}


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class IoULoss(keras.losses.Loss):
    """One minus the intersection over union of both boxes.

    For boxes that do not touch, it is 1 and its gradient is 0: start with a loss of coordinates, or
    use `GIoULoss`, `DIoULoss` or `CIoULoss`, which do not have this problem.

    All four compute in at least float32. Their gradients are finite for all boxes, including boxes
    without area: an empty box does not overlap any other, empty or not.

    Args:
        bounding_box_format: Meaning of the four values, one of `kd.data.BOX_FORMATS`.
        image_shape: Height and width of the image in pixels. Only needed for `DIoULoss` and
            `CIoULoss` of boxes in fractions of images that are not square: distances and aspect
            ratios are then measured in pixels.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Dtype of the result.

    Call arguments:
        y_true: Boxes `(rows, 4)` or `(rows, boxes, 4)`.
        y_pred: Boxes of the same shape. A negative width or height counts as 0.
        sample_weight: Weight of each row or box.

    Raises:
        ValueError: If the format is unknown, or if true boxes have a negative size or look like
            another format (only where their values are available, so not in `fit`).

    Example:
        >>> round(float(IoULoss("xyxy")([[0, 0, 2, 2]], [[1, 0, 3, 2]])), 4)
        0.6667

    Reference:
        Yu et al., "UnitBox: An Advanced Object Detection Network", 2016,
        https://arxiv.org/abs/1608.01471 (there with the logarithm); Rezatofighi et al. (2019)
    """

    default_name = "iou_loss"

    def __init__(
        self,
        bounding_box_format: str,
        image_shape: tuple[int, int] | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name or self.default_name, reduction=reduction, dtype=dtype)
        self.bounding_box_format = check_format("bounding_box_format", bounding_box_format)
        self.image_shape = _size(image_shape)
        self._computed_in = "float64" if self.dtype == "float64" else "float32"

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the loss, reduced as `reduction` says."""
        y_true = ops.convert_to_tensor(y_true)
        if backend.is_known(y_true):
            height, width = self.image_shape or (None, None)
            check_boxes(
                ops.convert_to_numpy(y_true), self.bounding_box_format, height, width, "y_true"
            )
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each box."""
        both = [ops.cast(boxes, self._computed_in) for boxes in (y_true, y_pred)]
        overlap = Overlap(
            *(edges(boxes, self.bounding_box_format, self.image_shape) for boxes in both)
        )
        return ops.cast(1 - self.similarity(overlap), self.dtype)

    def similarity(self, of: Overlap) -> Any:
        """Return the value subtracted from 1, for each pair of boxes."""
        return of.iou

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        return {
            **super().get_config(),
            "bounding_box_format": self.bounding_box_format,
            "image_shape": self.image_shape,
            "dtype": self.dtype,
        }


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class GIoULoss(IoULoss):
    """One minus the generalized IoU, which also penalizes the empty part of the hull.

        GIoU = IoU - (area of the hull - area of the union) / area of the hull

    The hull is the smallest box around both. The loss is from 0 to 2, and has a gradient toward
    the true box wherever the predicted box is.

    Args:
        bounding_box_format: As for `IoULoss`.
        image_shape: As for `IoULoss`.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Dtype of the result.

    Raises:
        ValueError: As `IoULoss`.

    Example:
        >>> round(float(GIoULoss("xyxy")([[0, 0, 2, 2]], [[4, 0, 6, 2]])), 4)  # hull 12, union 8
        1.3333

    Reference:
        Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019,
        https://arxiv.org/abs/1902.09630
    """

    default_name = "giou_loss"

    def similarity(self, of: Overlap) -> Any:
        """Return the generalized IoU."""
        return of.iou - quotient(of.hull - of.union, of.hull)


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class DIoULoss(IoULoss):
    """One minus the distance IoU, which also penalizes the distance between the centers.

        DIoU = IoU - (distance of the centers)² / (diagonal of the hull)²

    Args:
        bounding_box_format: As for `IoULoss`.
        image_shape: As for `IoULoss`.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Dtype of the result.

    Raises:
        ValueError: As `IoULoss`.

    Example:
        >>> round(float(DIoULoss("xyxy")([[0, 0, 2, 2]], [[2, 0, 4, 2]])), 4)  # 1 + 4 / 20
        1.2

    Reference:
        Zheng et al., "Distance-IoU Loss", AAAI 2020, https://arxiv.org/abs/1911.08287
    """

    default_name = "diou_loss"

    def similarity(self, of: Overlap) -> Any:
        """Return the distance IoU."""
        return of.iou - of.distance


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class CIoULoss(IoULoss):
    """One minus the complete IoU, which also penalizes center distance and aspect ratio.

        CIoU = DIoU - a v
        v = 4 / pi² * (arctan(w / h) - arctan(w' / h'))²
        a = v / (1 - IoU + v), treated as a constant by the gradient

    Args:
        bounding_box_format: As for `IoULoss`.
        image_shape: As for `IoULoss`.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Dtype of the result.

    Raises:
        ValueError: As `IoULoss`.

    Example:
        >>> round(float(CIoULoss("xyxy")([[0, 0, 2, 2]], [[0, 0, 2, 1]])), 4)
        0.5345

    Reference:
        Zheng et al., "Distance-IoU Loss", AAAI 2020, https://arxiv.org/abs/1911.08287. The
        constant `a` is as in the authors' code and torchvision's.
    """

    default_name = "ciou_loss"

    def similarity(self, of: Overlap) -> Any:
        """Return the complete IoU."""
        apart = 4 / math.pi**2 * ops.square(of.angle(0) - of.angle(1))
        factor = ops.stop_gradient(quotient(apart, 1 - of.iou + apart))
        return of.iou - of.distance - factor * apart


def smooth_l1(y_true: Any, y_pred: Any, beta: float) -> Any:
    """Return the sum of errors over the last axis, squared below `beta` and linear above."""
    distance = ops.abs(ops.subtract(y_true, y_pred))
    small = 0.5 / beta * ops.square(distance)
    return ops.sum(ops.where(distance < beta, small, distance - beta / 2), axis=-1)


def _size(image_shape: Any) -> tuple[int, int] | None:
    if image_shape is None:
        return None
    size = tuple(image_shape)
    if len(size) not in (2, 3) or not all(
        isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in size
    ):
        raise ValueError(
            "image_shape must be the height and width of the image in pixels. Received: "
            f"{image_shape!r}"
        )
    return size[0], size[1]
