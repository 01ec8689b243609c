"""The settings of a run: the model and how it is trained, checked before anything is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from keras_dlcourse._checks import check_fraction, check_integer, check_number, check_one_of
from keras_dlcourse.training.run.augment import LEVELS

T = TypeVar("T")

STEPS = 2_000  # at least; fewer leave a small network unfinished
FINE_STEPS = 300  # for weights that are already trained
_FULL_STEPS = 2_000  # images, from which on the number of steps grows with their square root
_BATCHES = ((20_000, 32), (100_000, 64))  # images below which a batch size is used
_LARGEST_BATCH = 128
_NOT_GIVEN = (None, "auto")


@dataclass(frozen=True)
class Recipe:
    """A model and the way it is trained.

    A setting that is None, or `"auto"`, is chosen from the data when the run starts; `config.json`
    records what was chosen, and why.

    Attributes:
        model: A name listed by `kd.models.names()`; with masks, the contracting path of a U-Net.
        alpha: Width multiplier of the model.
        weights: The weights to start from. `"none"`: random. `"imagenet"`: the official ones, which
            are downloaded if needed. A path: a Keras model, whose network is used instead of
            `model`. `"auto"`: those found on this machine without a download, if the images are
            large enough for them.
        epochs: Number of passes over the training part.
        batch_size: Number of examples per step.
        learning_rate: The highest learning rate, reached at the end of the warm-up.
        warmup: Fraction of all steps during which the learning rate rises, at least 0 and below 1.
        weight_decay: How strongly weights are pulled toward 0, per unit of learning rate and step,
            0 or more; prevents overfitting on small data sets.
        dropout: Fraction of features dropped before the classifier in training.
        label_smoothing: Fraction of a label that is spread over all classes, at least 0 and below
            1; prevents overconfidence.
        augment: How strongly training images are changed at random: `"none"`, `"light"` or
            `"strong"`.
        flip: Whether half of the training images are mirrored. None: if that does not change what
            they show; with masks, which are mirrored, too, always.
        patience: Training stops after this many epochs without a better validation metric.
        time: Seconds for the whole run: the number of epochs is reduced to what fits into them.
            None: as long as it takes.
        seed: Seed of weights, dropout and augmentation.
        task: What is trained: `"classify"` for images of one class each, `"multilabel"` for images
            with any number of labels, `"segment"` for the class of each pixel.

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
    weights: str = "auto"
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    warmup: float = 0.1
    weight_decay: float | None = None
    dropout: float = 0.2
    label_smoothing: float | None = None
    augment: str = "auto"
    flip: bool | None = None
    patience: int | None = None
    time: float | None = None
    seed: int = 0
    task: str = "classify"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name))
        if self.learning_rate is not None:
            check_number("learning_rate", self.learning_rate, above=0)
        if self.time is not None:
            check_number("time", self.time, above=0)
        if self.weight_decay is not None:
            check_number("weight_decay", self.weight_decay, least=0)
        if self.label_smoothing is not None:
            check_fraction("label_smoothing", self.label_smoothing)
        check_fraction("warmup", self.warmup)
        check_one_of("augment", self.augment, ("auto", *LEVELS))
        check_integer("seed", self.seed, least=0, most=2**32 - 1)


def choose_length(recipe: Recipe, examples: int) -> tuple[Recipe, list[str]]:
    """Choose batch size, epochs, rate and weight decay that fit a number of training examples.

    Args:
        recipe: Settings that are given are kept.
        examples: Number of training examples.

    Returns:
        The recipe without None in these settings, and a sentence for each that was chosen.

    Example:
        >>> recipe, why = choose_length(Recipe(), examples=2_700)
        >>> recipe.epochs, recipe.batch_size
        (28, 32)
        >>> why[1]
        'epochs=28: 2,380 steps'
    """
    small = examples < _BATCHES[0][0]
    batch = recipe.batch_size or next(
        (size for limit, size in _BATCHES if examples < limit), _LARGEST_BATCH
    )
    per_epoch = math.ceil(examples / batch)
    steps = STEPS * max(1.0, math.sqrt(examples / _FULL_STEPS))
    epochs = recipe.epochs or math.ceil(steps / per_epoch)
    rate = float(f"{2e-3 * math.sqrt(batch / 32):.2g}")
    size = f"for {examples:,} training examples"
    return fill(
        recipe,
        {
            "batch_size": (batch, size),
            "epochs": (epochs, f"{epochs * per_epoch:,} steps"),
            "learning_rate": (rate, f"for batches of {batch}"),
            "weight_decay": (0.1 if small else 0.05, size),
            "patience": (max(10, math.ceil(epochs / 2)), "half of the epochs, at least 10"),
        },
    )


def choose_fine_tuning(recipe: Recipe, examples: int) -> tuple[Recipe, list[str]]:
    """Choose the same settings for a network that starts from trained weights.

    It needs fewer steps, and a low rate: what it has learned is to be adapted and not lost.

    Args:
        recipe: Settings that are given are kept.
        examples: Number of training examples.

    Returns:
        The recipe without None in these settings, and a sentence for each that was chosen.

    Example:
        >>> choose_fine_tuning(Recipe(), examples=900)[0].epochs
        11
    """
    given, fine = recipe, "for weights that are already trained"
    per_epoch = math.ceil(examples / (recipe.batch_size or _BATCHES[0][1]))
    epochs = min(20, max(5, math.ceil(FINE_STEPS / per_epoch)))
    recipe, why = fill(
        given,
        {
            "batch_size": (_BATCHES[0][1], fine),
            "epochs": (epochs, f"{epochs * per_epoch:,} steps"),
            "learning_rate": (1e-4, fine),
            "weight_decay": (0.05, fine),
        },
    )
    recipe, more = choose_length(recipe, examples)
    return recipe, [*why, *more]


def chosen(value: T | None) -> T:
    """Return a setting that `choose_length` has filled in.

    Raises:
        ValueError: If it has not.
    """
    if value is None:
        raise ValueError("recipe must be filled in, e.g. by choose_length. Received: None")
    return value


def fill(recipe: Recipe, chosen: Mapping[str, tuple[Any, str]]) -> tuple[Recipe, list[str]]:
    """Fill in the settings that are not given.

    Args:
        recipe: A recipe.
        chosen: A value and the reason for it, for settings that may not be given.

    Returns:
        The recipe, and a sentence for each setting that was filled in.

    Example:
        >>> recipe, why = fill(Recipe(epochs=3), {"epochs": (9, "..."), "flip": (True, "...")})
        >>> recipe.epochs, recipe.flip, why
        (3, True, ['flip=True: ...'])
    """
    missing = {
        name: value for name, (value, _) in chosen.items() if getattr(recipe, name) in _NOT_GIVEN
    }
    why = [f"{name}={value}: {chosen[name][1]}" for name, value in missing.items()]
    return replace(recipe, **missing), why
