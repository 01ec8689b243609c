"""Several networks as one: the mean of their answers."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from keras_dlcourse.layers.description.image_description import describe


def ensemble(models: Sequence[keras.Model], name: str = "ensemble") -> keras.Model:
    """Join networks that were trained apart into one that averages their predictions.

    Errors that they do not share cancel: five AlexNets were right on 62.5 % where one is on 59.3 %.
    The result is one model, exported as one file.

    Args:
        models: Two or more functional or Sequential models with the same input and output shapes.
            They are shared, not copied: training the one trains the others.
        name: Name of the model.

    Returns:
        A functional model from an image to the mean of what all say.

    Raises:
        TypeError: If one is no Keras model.
        ValueError: If there are fewer than two, their shapes differ, or they record different
            normalizations.

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
            "models must be two or more with the same input and output shapes. Received: "
            f"{', '.join(map(str, shapes)) or 'none'}"
        )
    _check_pixels(models)
    inputs = keras.Input(models[0].input_shape[1:], name="image")
    # Each in a model of its own, because layers of one model must have different names.
    members = [
        keras.Model(model.inputs, model.outputs[0], name=f"member_{number}")
        for number, model in enumerate(models, 1)
    ]
    answers = [member(inputs) for member in members]
    return keras.Model(inputs, keras.layers.Average(name="mean")(answers), name=name)


def _check_pixels(models: Sequence[keras.Model]) -> None:
    """Refuse models whose one input would have to be normalized in several ways."""
    described = [layer for layer in map(describe, models) if layer is not None]
    recorded = {layer.normalization for layer in described if layer.normalization is not None}
    if len(recorded) > 1:
        raise ValueError(
            "models must take the same pixels, but they record different normalizations: "
            f"{', '.join(sorted(map(str, recorded)))}"
        )
