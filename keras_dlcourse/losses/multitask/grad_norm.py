"""Weights of tasks that keep the gradients of all tasks of one size."""

from __future__ import annotations

import math
from typing import Any

import keras

from keras_dlcourse.losses._checks import below


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class GradNorm:
    """For `MultitaskLoss(alpha=...)`: weights by which tasks learn at similar rates.

    The gradients of the weighted losses by the weights of the last layer that all tasks share are
    brought to one size, and a task that has come down less than the others gets more:

        weight_i * |gradient of loss_i|  =  mean of these * (progress_i / mean progress)^restoring
        progress_i = loss_i / loss_i in the first batch

    The paper takes steps of an optimizer towards the weights of which this holds. They can be
    written down, so in each step of training the weights go a share `rate` of the way to them;
    their sum stays the number of tasks. A batch without labels of some task leaves them as they
    are. Each step runs what stands behind the shared layer once more for each task.

    Args:
        shared: Name of the last layer that all tasks share: everything passes through it, and its
            kernel is trained.
        restoring: How strongly tasks that lag behind are pulled up; 0 only evens out the sizes. The
            paper's alpha.
        rate: Share of the way in each step.

    Raises:
        ValueError: If a number is out of its range.

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
            raise ValueError(f"shared must be the name of a layer. Received: {shared!r}")
        self.shared = shared
        self.restoring = (
            float(restoring) if restoring == 0 else below("restoring", restoring, math.inf)
        )
        self.rate = float(rate) if rate == 1 else below("rate", rate, 1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this again."""
        return {"shared": self.shared, "restoring": self.restoring, "rate": self.rate}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> GradNorm:
        """Return what `get_config` describes."""
        return cls(**config)
