"""Calibration examples, checked before the long conversion measures activation ranges on them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_dlcourse.data import Examples, take
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.export.conversion.device_model import convert_to_device_inputs
from keras_dlcourse.export.conversion.schemes import MINIMUM
from keras_dlcourse.export.conversion.structure import arrange_inputs
from keras_dlcourse.export.writing.input import Input

EXAMPLES = 200  # more hardly change the ranges, and each costs a forward pass
SEED = 0


def calibration_examples(data: Any, *, several_inputs: bool = False) -> Examples:
    """Draw the calibration examples, with a fixed seed, from anything that `fit` takes.

    Args:
        data: The data.
        several_inputs: Whether the model has several inputs.

    Raises:
        ValueError: If there are fewer than 100.
    """
    examples = take(data, EXAMPLES, seed=SEED, several_inputs=several_inputs)
    if len(examples) < MINIMUM:
        shapes = (str(one.shape[1:]) for one in keras.tree.flatten(examples.inputs))
        raise ValueError(
            f"calibration must have at least {MINIMUM} examples, for reliable ranges. Received: "
            f"{len(examples)} examples, of shape {', '.join(shapes)}. Pass the training data, in "
            "batches"
        )
    return examples


def calibration_inputs(
    values: np.ndarray, shape: tuple[int, ...], normalization: Normalization | None
) -> np.ndarray:
    """Return the values of an input for calibration, after checking that they fit the model.

    If the normalization is known, a black and a white image are added: they extend the input
    tensor's range to all pixels, so that its scale and zero point encode the normalization.

    Args:
        values: The values of the examples, normalized.
        shape: The model's input shape, without the batch.
        normalization: The normalization applied to pixels, if known.

    Returns:
        A float32 array of shape `(examples, *shape)`.

    Raises:
        ValueError: If shapes differ, values are not finite, or values lie outside the range of
            normalized pixels.
    """
    inputs = np.asarray(values, "float32")
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


def prepare_calibration(
    model: keras.Model, inputs: tuple[Input, ...], examples: Examples
) -> list[np.ndarray]:
    """Return the values of each input on which ranges are measured, as the device gets them.

    Raises:
        ValueError: If the examples do not fit the model, see `calibration_inputs`.
    """
    arrays = arrange_inputs(model, examples.inputs, "calibration")
    prepared = [
        convert_to_device_inputs(
            calibration_inputs(values, one.shape, one.normalization), one.in_graph, one.rgb
        )
        for one, values in zip(inputs, arrays, strict=True)
    ]
    # Beside a black and a white image, other inputs have values of the first examples.
    most = max(map(len, prepared))
    return [np.concatenate([values, values[: most - len(values)]]) for values in prepared]


def _explain_single_examples(given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Return a hint if the rows of a single example were taken for the examples of a batch."""
    if given != wanted[1:]:
        return ""
    return (
        ". These are single examples, not batches; batch them, e.g. dataset.batch(32) (a single "
        "image x becomes a batch as x[None])"
    )
