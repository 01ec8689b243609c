"""Train a decoder to reconstruct images from the output of a layer of a network."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_number
from keras_dlcourse.explain.inversion.decoder import latent_decoder
from keras_dlcourse.graph.flat import copy_model
from keras_dlcourse.graph.receptive_field import place_of
from keras_dlcourse.graph.running import Network


class LatentInverter(keras.Model):
    """A frozen network up to one of its layers, and a decoder that learns to invert it.

    Compile it with an optimizer and no loss, and fit it on images, with or without labels, prepared
    as for the network. It minimizes

        mean((x - r)^2) / variance(x) + latent_weight * mean((E(x) - E(r))^2) / mean(E(x)^2)

    where E is the network up to the layer and r = D(E(x)) is the reconstruction: r should equal x
    both in its pixels and to the network. Both terms are relative: the first is 1 for the mean gray
    image, the second is 1 for a latent of zeros. They are reported as `pixel_error` and
    `latent_error`.

    Args:
        model: A built functional or Sequential model with one image input. It is not modified: the
            inverter copies the layers it needs, with their current weights.
        layer: Name of the layer whose output, feature maps or a vector, is inverted, with or
            without the names of its nested models. None uses the same feature maps as `grad_cam`.
        decoder: A model from that output to images; None uses `latent_decoder`.
        latent_weight: Weight of the second term, at least 0.

    Attributes:
        explained: The model.
        layer: Full name of the layer.
        encoder: The copied layers, from images to the layer.
        decoder: The decoder.

    Raises:
        TypeError: If `model` or `decoder` is not a Keras model.
        ValueError: If the model has several inputs, no graph, no such layer or unknown sizes, if
            the decoder does not match, or if `latent_weight` is below 0.

    Example:
        >>> import numpy as np
        >>> model = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=5)
        >>> inverter = LatentInverter(model, "conv_pw_5_relu")
        >>> inverter.compile("adam")
        >>> history = inverter.fit(np.random.default_rng(0).random((8, 32, 32, 3)), verbose=0)
        >>> sorted(history.history)
        ['latent_error', 'loss', 'pixel_error']
        >>> inverter.predict(np.zeros((2, 32, 32, 3)), verbose=0).shape
        (2, 32, 32, 3)

    Reference:
        Giulivi, Carman and Boracchi (2021), Perception Visualization: Seeing Through the Eyes of a
        DNN, https://arxiv.org/abs/2204.09920; the second term of the loss: Dosovitskiy and Brox
        (2016), Generating Images with Perceptual Similarity Metrics based on Deep Networks,
        https://arxiv.org/abs/1602.02644
    """

    def __init__(
        self,
        model: keras.Model,
        layer: str | None = None,
        decoder: keras.Model | None = None,
        latent_weight: float = 0.1,
    ) -> None:
        super().__init__(name="latent_inverter")
        network = Network(model)
        if len(network.model.inputs) != 1:
            raise ValueError(
                f"model {model.name!r} has {len(network.model.inputs)} inputs; LatentInverter "
                "needs a model with one input. Pass keras.Model(one_input, output)."
            )
        check_number("latent_weight", latent_weight, least=0)
        place = place_of(network, layer)
        image_shape = tuple(network.model.inputs[0].shape[1:])
        if len(image_shape) != 3 or None in image_shape or None in place.shape[1:]:
            raise ValueError(
                "LatentInverter needs images and latents of a fixed size (height, width, "
                f"channels); model {model.name!r} takes {image_shape} and layer {place.name!r} "
                f"outputs {place.shape[1:]}. Build the model with a fixed input_shape."
            )
        # Bypasses attribute tracking: Keras would train the whole model as part of this one.
        self.__dict__["explained"] = model
        self.layer, self.latent_weight = place.name, float(latent_weight)
        encoder = keras.Model(network.model.inputs[0], network.tensor_at(place))
        self.encoder = copy_model(encoder)
        self.encoder.trainable = False
        self._moves = getattr(place.node.operation, "data_format", None) == "channels_first"
        latent_shape: tuple[Any, ...] = place.shape[1:]
        if self._moves and len(latent_shape) == 3:
            latent_shape = (*latent_shape[1:], latent_shape[0])
        self.decoder = _check_decoder(decoder, latent_shape, image_shape)
        self.pixel_error = keras.metrics.Mean(name="pixel_error")
        self.latent_error = keras.metrics.Mean(name="latent_error")
        self.built = True

    def call(self, images: Any, training: bool | None = None) -> Any:
        """Return the reconstructed images, `(n, height, width, channels)`."""
        return self.decoder(self._latent(images), training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the weighted sum of both errors; labels are ignored."""
        x, y_pred = ops.cast(x, "float32"), ops.cast(y_pred, "float32")
        spread = ops.mean(ops.square(x - ops.mean(x)))
        pixels = ops.mean(ops.square(x - y_pred)) / ops.maximum(spread, 1e-12)
        latent = ops.cast(ops.stop_gradient(self._latent(x)), "float32")
        again = ops.cast(self._latent(y_pred), "float32")
        size = ops.mean(ops.square(latent))
        latents = ops.mean(ops.square(latent - again)) / ops.maximum(size, 1e-12)
        self.pixel_error.update_state(pixels)
        self.latent_error.update_state(latents)
        return pixels + self.latent_weight * latents + sum(self.losses, start=0.0)

    def _latent(self, images: Any) -> Any:
        latent = self.encoder(images, training=False)
        moves = self._moves and len(latent.shape) == 4
        return ops.moveaxis(latent, 1, -1) if moves else latent


def _check_decoder(
    decoder: keras.Model | None, latent_shape: tuple[Any, ...], image_shape: tuple[Any, ...]
) -> keras.Model:
    if decoder is None:
        return latent_decoder(latent_shape, image_shape)
    if not isinstance(decoder, keras.Model):
        raise TypeError(f"decoder must be a keras.Model. Received: {type(decoder).__name__}.")
    shapes = getattr(decoder, "input_shape", None), getattr(decoder, "output_shape", None)
    if shapes != ((None, *latent_shape), (None, *image_shape)):
        raise ValueError(
            f"decoder must map {latent_shape} to {image_shape}. Received: {shapes[0]} to "
            f"{shapes[1]}, including the batch."
        )
    return decoder
