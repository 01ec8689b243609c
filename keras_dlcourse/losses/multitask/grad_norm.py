"""Task weights that keep the gradients of all tasks at the same size."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse._checks import check_number


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class GradNorm:
    """For `MultitaskLoss(alpha=...)`: task weights that let all tasks learn at similar rates.

    The gradients of the weighted losses with respect to the last shared layer's weights are brought
    to the same size, and a task whose loss has decreased less than the others gets more weight:

        weight_i * |gradient of loss_i|  =  mean of these * (progress_i / mean progress)^restoring
        progress_i = loss_i / loss_i in the first batch

    The paper takes optimizer steps toward the weights that satisfy this. Since they have a closed
    form, each training step instead moves the weights a fraction `rate` of the way to them; their
    sum remains the number of tasks. A batch without labels for some task leaves the weights
    unchanged. Each step runs the layers after the shared layer once more for each task.

    Args:
        shared: Name of the last layer that all tasks share: everything passes through it, and its
            kernel is trained.
        restoring: How strongly tasks that lag behind are boosted; 0 only equalizes the gradient
            sizes. The paper's alpha.
        rate: Fraction of the way to move in each step.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> from keras_dlcourse.losses import MultitaskLoss
        >>> tasks = {"label": "sparse_categorical_crossentropy", "box": "mse"}
        >>> MultitaskLoss(tasks, alpha=GradNorm(shared="features")).is_moving
        True

    Reference:
        Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask
        Networks", ICML 2018, https://arxiv.org/abs/1711.02257
    """

    def __init__(self, shared: str, restoring: float = 1.5, rate: float = 0.025) -> None:
        if not isinstance(shared, str) or not shared:
            error = ValueError if isinstance(shared, str) else TypeError
            raise error(f"shared must be the name of a layer. Received: {shared!r}")
        self.shared = shared
        self.restoring = check_number("restoring", restoring, least=0)
        self.rate = check_number("rate", rate, above=0, most=1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this object."""
        return {"shared": self.shared, "restoring": self.restoring, "rate": self.rate}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> GradNorm:
        """Return the object that `get_config` describes."""
        return cls(**config)
