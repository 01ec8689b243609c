"""Outputs in the middle of a network, which only training needs."""

from __future__ import annotations

import re

import keras

PREDICTIONS = "predictions"
_AUXILIARY = re.compile(r"auxiliary\d+")


def without_auxiliary(model: keras.Model) -> keras.Model:
    """Return the model without its auxiliary outputs, which only training needs.

    Args:
        model: A `GoogLeNet` or a segmentation model, built with or without `auxiliary=True`. Its
            layers are shared.

    Returns:
        A model with one output. Any other model is returned unchanged.

    Example:
        >>> import keras_dlcourse as kd
        >>> model = kd.models.GoogLeNet((32, 32, 3), alpha=0.25, classes=10, auxiliary=True)
        >>> without_auxiliary(model).count_params() < model.count_params()
        True
    """
    outputs = getattr(model, "output", None)
    if not isinstance(outputs, dict) or PREDICTIONS not in outputs or len(outputs) < 2:
        return model
    if not all(_AUXILIARY.fullmatch(name) for name in outputs if name != PREDICTIONS):
        return model
    return keras.Model(model.input, outputs[PREDICTIONS], name=model.name)
