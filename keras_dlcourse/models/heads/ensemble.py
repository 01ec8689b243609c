"""Ensemble: several networks as one model that averages their predictions."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from keras_dlcourse.layers.description.image_description import describe


def ensemble(models: Sequence[keras.Model], name: str = "ensemble") -> keras.Model:
    """Combine separately trained networks into one model that averages their predictions.

    Errors that the networks do not share cancel out: five AlexNets reached an accuracy of 62.5%,
    and a single one 59.3%. The result is one model, exported as one file.

    Args:
        models: Two or more functional or Sequential models with the same input and output shapes.
            They are shared, not copied, so training the ensemble also trains them.
        name: Name of the model.

    Returns:
        A functional model from an image to the mean of all predictions.

    Raises:
        TypeError: If one of `models` is not a Keras model.
        ValueError: If there are fewer than two models, their shapes differ, or they record
            different normalizations.

    Example:
        >>> from keras_dlcourse.models import LeNet5
        >>> joined = ensemble([LeNet5(), LeNet5()])
        >>> joined.output_shape, joined.count_params()
        ((None, 10), 123412)

    Reference:
        Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
        Networks", NIPS 2012, section 6.1
    """
    models = list(models)
    for model in models:
        if not isinstance(model, keras.Model):
            raise TypeError(f"models must be Keras models. Received: {model!r}")
    shapes = [(model.input_shape, model.output_shape) for model in models]
    if len(models) < 2 or len(set(map(str, shapes))) > 1:
        raise ValueError(
            "models must be two or more models with the same input and output shapes. Received: "
            f"{', '.join(map(str, shapes)) or 'none'}"
        )
    _check_pixels(models)
    inputs = keras.Input(models[0].input_shape[1:], name="image")
    # Wrap each in its own model, because layer names must be unique within a model.
    members = [
        keras.Model(model.inputs, model.outputs[0], name=f"member_{number}")
        for number, model in enumerate(models, 1)
    ]
    answers = [member(inputs) for member in members]
    return keras.Model(inputs, keras.layers.Average(name="mean")(answers), name=name)


def _check_pixels(models: Sequence[keras.Model]) -> None:
    """Raise ValueError if the models need differently normalized inputs."""
    described = [layer for layer in map(describe, models) if layer is not None]
    recorded = {layer.normalization for layer in described if layer.normalization is not None}
    if len(recorded) > 1:
        raise ValueError(
            "models must all record the same normalization of pixels. Received: "
            f"{', '.join(sorted(map(str, recorded)))}"
        )
