"""The settings of a run: the model and how it is trained, checked before anything is built."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from keras_dlcourse._checks import check_fraction, check_integer, check_number


@dataclass(frozen=True)
class Recipe:
    """A model and the way it is trained.

    Attributes:
        model: A name listed by `kd.models.names()`.
        alpha: Width multiplier of the model.
        epochs: Number of passes over the training part.
        learning_rate: The highest learning rate, reached at the end of the warm-up.
        warmup: Fraction of all steps during which the learning rate rises, at least 0 and below 1.
        weight_decay: How strongly weights are pulled toward 0, per unit of learning rate and step,
            0 or more; prevents overfitting on small data sets.
        dropout: Fraction of features dropped before the classifier in training.
        seed: Seed of weights and dropout.
        task: What is trained: `"classify"` for image classification.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a value is out of range.

    Example:
        >>> Recipe(epochs=0)
        Traceback (most recent call last):
        ...
        ValueError: epochs must be an integer of at least 1. Received: 0
    """

    model: str = "mobilenet_v2"
    alpha: float = 1.0
    epochs: int = 30
    learning_rate: float = 2e-3
    warmup: float = 0.1
    weight_decay: float = 0.1
    dropout: float = 0.2
    seed: int = 0
    task: str = "classify"

    def __post_init__(self) -> None:
        check_integer("epochs", self.epochs)
        check_number("learning_rate", self.learning_rate, above=0)
        check_fraction("warmup", self.warmup)
        check_number("weight_decay", self.weight_decay, least=0)
        check_integer("seed", self.seed, least=0, most=2**32 - 1)


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
