"""Examples on which an integer file measures its activation ranges, checked before long work."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_dlcourse.data import Examples, take
from keras_dlcourse.edge.description.normalization import Normalization

MINIMUM = 100  # fewer examples leave ranges to chance
EXAMPLES = 200  # more change ranges little and cost time: a full pass each
SEED = 0


def calibration_examples(data: Any) -> Examples:
    """Take the examples to calibrate on: a seeded choice from anything that `fit` takes.

    Raises:
        ValueError: If there are none or fewer than 100.
    """
    examples = take(data, EXAMPLES, seed=SEED)
    if len(examples.inputs) < MINIMUM:
        raise ValueError(
            f"calibration has {len(examples.inputs)} examples, of shape "
            f"{examples.inputs.shape[1:]}; at least {MINIMUM} are needed for ranges that hold: "
            "pass the training data, in batches"
        )
    return examples


def calibration_inputs(
    examples: Examples, shape: tuple[int, ...], normalization: Normalization | None
) -> np.ndarray:
    """Return what the model is calibrated on, after checking that it is what it was trained on.

    A black and a white image are added where the normalization is known: they make the input
    tensor's range that of all pixels, so that its scale and zero point are the normalization.

    Args:
        examples: Normalised examples.
        shape: The model's input shape, without the batch.
        normalization: What pixels went through, if that is known.

    Returns:
        A float32 array of shape `(examples, *shape)`.

    Raises:
        ValueError: If shapes differ, values are not finite, or values lie outside of what the
            normalization makes of pixels.
    """
    inputs = np.asarray(examples.inputs, "float32")
    if inputs.shape[1:] != tuple(shape):
        raise ValueError(
            f"calibration has examples of shape {inputs.shape[1:]}, but the model takes {shape}"
            + _of_single_examples(inputs.shape[1:], tuple(shape))
        )
    if not np.isfinite(inputs).all():
        bad = np.flatnonzero(~np.isfinite(inputs).reshape(len(inputs), -1).all(axis=1))
        raise ValueError(
            f"calibration has NaN or infinite values in {len(bad)} of the {len(inputs)} examples "
            "taken; ranges measured on them would be useless"
        )
    if normalization is None:
        return inputs
    black, white = (
        normalization(np.full(shape, level, "uint8")).astype("float32") for level in (0, 255)
    )
    slack = 0.01 * float(np.max(white - black))
    if inputs.min() < black.min() - slack or inputs.max() > white.max() + slack:
        raise ValueError(
            f"calibration has values from {inputs.min():.4g} to {inputs.max():.4g}, but pixels "
            f"normalised with mean {normalization.mean} and standard deviation "
            f"{normalization.std} lie between {black.min():.4g} and {white.max():.4g}: "
            "pass examples normalised as in training (a kd.data.pipeline does it)"
        )
    return np.concatenate([inputs, black[None], white[None]])


def _of_single_examples(given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Say it where rows of single examples were taken for the examples of a batch."""
    if given != wanted[1:]:
        return ""
    return (
        ": these are single examples where batches must be; batch them, e.g. dataset.batch(32) "
        "(a single image x is a batch as x[None])"
    )
