"""Calibration examples, checked before the long conversion measures activation ranges on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_dlcourse.data import Examples, take
from keras_dlcourse.edge.description.normalization import Normalization

MINIMUM = 100  # with fewer examples, ranges depend on chance
EXAMPLES = 200  # more hardly change the ranges, and each costs a forward pass
SEED = 0


def calibration_examples(data: Any) -> Examples:
    """Draw the calibration examples, with a fixed seed, from anything that `fit` takes.

    Raises:
        ValueError: If there are fewer than 100.
    """
    examples = take(data, EXAMPLES, seed=SEED)
    if len(examples.inputs) < MINIMUM:
        raise ValueError(
            f"calibration must have at least {MINIMUM} examples, for reliable ranges. Received: "
            f"{len(examples.inputs)} examples, of shape {examples.inputs.shape[1:]}. Pass the "
            "training data, in batches"
        )
    return examples


def calibration_inputs(
    examples: Examples, shape: tuple[int, ...], normalization: Normalization | None
) -> np.ndarray:
    """Return the inputs for calibration, after checking that they fit the model.

    If the normalization is known, a black and a white image are added: they extend the input
    tensor's range to all pixels, so that its scale and zero point encode the normalization.

    Args:
        examples: Normalized examples.
        shape: The model's input shape, without the batch.
        normalization: The normalization applied to pixels, if known.

    Returns:
        A float32 array of shape `(examples, *shape)`.

    Raises:
        ValueError: If shapes differ, values are not finite, or values lie outside the range of
            normalized pixels.
    """
    inputs = np.asarray(examples.inputs, "float32")
    if inputs.shape[1:] != tuple(shape):
        raise ValueError(
            f"calibration must have examples of the model's input shape {shape}. Received: "
            f"examples of shape {inputs.shape[1:]}"
            + _explain_single_examples(inputs.shape[1:], tuple(shape))
        )
    if not np.isfinite(inputs).all():
        bad = np.flatnonzero(~np.isfinite(inputs).reshape(len(inputs), -1).all(axis=1))
        raise ValueError(
            f"calibration must have finite values. Received: NaN or infinite values in {len(bad)} "
            f"of the {len(inputs)} examples drawn"
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
            f"normalized with mean {normalization.mean} and standard deviation "
            f"{normalization.std} lie between {black.min():.4g} and {white.max():.4g}. "
            "Pass examples normalized as in training (a kd.data.pipeline does that)"
        )
    return np.concatenate([inputs, black[None], white[None]])


def _explain_single_examples(given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Return a hint if the rows of a single example were taken for the examples of a batch."""
    if given != wanted[1:]:
        return ""
    return (
        ". These are single examples, not batches; batch them, e.g. dataset.batch(32) (a single "
        "image x becomes a batch as x[None])"
    )
