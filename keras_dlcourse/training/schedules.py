"""Learning rates that change during training."""

from __future__ import annotations

import keras


def warmup_cosine(
    steps: int, peak: float, warmup: float = 0.1
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return a schedule that rises linearly to `peak` and falls to 0 along half a cosine.

    Args:
        steps: Total number of optimizer steps.
        peak: The highest learning rate.
        warmup: Fraction of the steps during which it rises.

    Returns:
        A Keras learning rate schedule.

    Reference:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017;
        Goyal et al., "Accurate, Large Minibatch SGD", 2017, for the warm-up.

    Example:
        >>> rate = warmup_cosine(100, peak=0.5, warmup=0.2)
        >>> [round(float(rate(step)), 3) for step in (10, 20, 60, 100)]
        [0.25, 0.5, 0.25, 0.0]
    """
    rising = round(warmup * steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if rising else peak,
        decay_steps=max(1, steps - rising),
        warmup_target=peak if rising else None,
        warmup_steps=rising,
    )
