"""A decoder from the output of a layer back to an image."""

from __future__ import annotations

import math

import keras
from keras import layers

_WIDEST = 256  # channels
_SEED = 4  # rows and columns that a vector is first reshaped to


def latent_decoder(
    latent_shape: tuple[int, ...], image_shape: tuple[int, int, int], width: int = 16
) -> keras.Model:
    """Return a network that reconstructs images from feature maps or a vector.

    There is one convolution per doubling of the size, each after bilinear upsampling, which avoids
    the checkerboard artifacts of transposed convolutions; a last convolution is linear. The number
    of channels halves with each doubling, down to `width`.

    Args:
        latent_shape: Shape of the input, without the batch: `(height, width, channels)`, or
            `(channels,)`.
        image_shape: Shape of the images, `(height, width, channels)`.
        width: Number of channels of the next-to-last convolution.

    Returns:
        A functional model from `(n, *latent_shape)` to `(n, *image_shape)`.

    Raises:
        ValueError: If a shape is invalid or has unknown sizes.

    Example:
        >>> decoder = latent_decoder((7, 7, 64), (28, 28, 1), width=8)
        >>> decoder.output_shape
        (None, 28, 28, 1)

    Reference:
        Dosovitskiy and Brox (2016), Inverting Visual Representations with Convolutional Networks,
        https://arxiv.org/abs/1506.02753; upsampling before convolution: Odena, Dumoulin and Olah
        (2016), Deconvolution and Checkerboard Artifacts, https://distill.pub/2016/deconv-checkerboard
    """
    shapes = ("latent_shape", latent_shape, (1, 3)), ("image_shape", image_shape, (3,))
    for name, shape, ranks in shapes:
        if len(shape) not in ranks or not all(isinstance(s, int) and s > 0 for s in shape):
            raise ValueError(
                f"{name} must be (height, width, channels)"
                f"{' or (channels,)' if 1 in ranks else ''}, in integers. Received: {shape!r}."
            )
    given = x = keras.Input(latent_shape)
    height, width_of_image, channels = image_shape
    if len(latent_shape) == 1:
        x = layers.Dense(_SEED * _SEED * min(_WIDEST, 4 * width), activation="relu")(x)
        x = layers.Reshape((_SEED, _SEED, -1))(x)
    ratio = max(height / x.shape[1], width_of_image / x.shape[2])
    steps = max(0, math.ceil(math.log2(ratio)))
    x = _convolution(x, min(_WIDEST, width << steps))
    for left in range(steps - 1, -1, -1):
        # Round up, and never shrink, whatever the shapes of the image and the maps are.
        size = (
            max(x.shape[1], -(-height >> left)),
            max(x.shape[2], -(-width_of_image >> left)),
        )
        x = layers.Resizing(*size, interpolation="bilinear", data_format="channels_last")(x)
        x = _convolution(x, min(_WIDEST, width << left))
    if tuple(x.shape[1:3]) != (height, width_of_image):  # maps finer than the image
        x = layers.Resizing(height, width_of_image, data_format="channels_last")(x)
    image = layers.Conv2D(channels, 3, padding="same", data_format="channels_last")(x)
    return keras.Model(given, image, name="decoder")


def _convolution(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    x = layers.Conv2D(
        filters, 3, padding="same", use_bias=False, data_format="channels_last",
        kernel_initializer="he_normal",
    )(x)  # fmt: skip
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
