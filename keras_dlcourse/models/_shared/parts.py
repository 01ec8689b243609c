"""Network parts shared by the families: strides, input, convolution, classifier, weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_dlcourse.layers.description.image_description import ImageDescription
from keras_dlcourse.models._shared.arguments import Arguments
from keras_dlcourse.models._shared.imagenet import ImageNetFiles

BN_EPSILON = 1e-3


def limit_strides(strides: Sequence[int], output_stride: int) -> tuple[int, ...]:
    """Return `strides` with some set to 1, so that their product is at most `output_stride`.

    The last stride is dropped first, which adds work only in the layers after it. The first one is
    dropped next, because details that the stem skips in a small image are lost to all later layers.
    Measured at 28x28 (MobileNetV2 0.35, 9,000 images of Fashion-MNIST, about 200 to 280 s of CPU
    time each): 87.3% accuracy on the 10,000 test images with the first and last strides dropped,
    86.5% with an inner one and the last, 85.8% with the first two, 84.9% with the last two.

    Args:
        strides: Strides of a network's stages, in order.
        output_stride: Maximum product of the strides.

    Returns:
        The adjusted strides, as many as before.

    Example:
        >>> limit_strides((2, 1, 2, 2, 2, 1, 2, 1), 16)
        (2, 1, 2, 2, 2, 1, 1, 1)
        >>> limit_strides((2, 1, 2, 2, 2, 1, 2, 1), 8)
        (1, 1, 2, 2, 2, 1, 1, 1)
    """
    limited = list(strides)
    strided = [index for index, stride in enumerate(strides) if stride > 1]
    for index in (*strided[-1:], *strided[:1], *reversed(strided[1:-1])):
        if math.prod(limited) <= output_stride:
            break
        limited[index] = 1
    return tuple(limited)


def image_input(arguments: Arguments) -> tuple[Any, Any]:
    """Return the symbolic input, and the tensor to build on, which records the description."""
    inputs = keras.Input(arguments.input_shape, name="image")
    if arguments.preprocessing is None and arguments.class_names is None:
        return inputs, inputs
    describe = ImageDescription(
        arguments.preprocessing, arguments.class_names, name="image_description"
    )
    return inputs, describe(inputs)


def convolution(
    x: Any,
    filters: int,
    kernel_size: int,
    strides: int,
    arguments: Arguments,
    name: str,
    activation: str = "relu6",
) -> Any:
    """Apply a convolution, batch normalization and an activation, ReLU6 by default."""
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        data_format="channels_last",
        name=name,
    )(x)
    x = keras.layers.BatchNormalization(
        axis=-1, momentum=arguments.bn_momentum, epsilon=BN_EPSILON, name=f"{name}_bn"
    )(x)
    if activation == "relu6":
        return keras.layers.ReLU(max_value=6.0, name=f"{name}_relu")(x)
    return keras.layers.Activation(activation, name=f"{name}_act")(x)


def check_enough_left(arguments: Arguments, windows: Sequence[tuple[int, int]]) -> None:
    """Raise ValueError if images are too small for an unpadded kernel or pooling window.

    Args:
        arguments: Arguments of the builder.
        windows: Size and stride of each unpadded kernel and pooling, in order.
    """
    least = 1
    for size, stride in reversed(windows):
        least = (least - 1) * stride + size
    if any(size is not None and size < least for size in arguments.input_shape[:2]):
        raise ValueError(
            f"Images must be at least {least}x{least} pixels if output_stride="
            f"{arguments.output_stride}. Received: "
            f"{arguments.input_shape[0]}x{arguments.input_shape[1]}. Use larger images or a "
            "smaller output_stride, or omit output_stride to choose it by the image size."
        )


def global_pooling(x: Any, pooling: str | None, keepdims: bool = False) -> Any:
    """Apply global pooling, `(batch, height, width, c)` to `(batch, c)`, or nothing if None."""
    if pooling is None:
        return x
    kinds = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}
    return kinds[pooling](
        data_format="channels_last", keepdims=keepdims, name=f"global_{pooling}_pool"
    )(x)


def dropout(x: Any, arguments: Arguments) -> Any:
    """Apply dropout, or nothing if the rate is 0."""
    if not arguments.dropout:
        return x
    return keras.layers.Dropout(arguments.dropout, name="dropout")(x)


def classify(x: Any, arguments: Arguments) -> Any:
    """Apply the usual end of a network: global pooling, dropout and a dense classifier."""
    if not arguments.include_top:
        return global_pooling(x, arguments.pooling)
    return predictions(dropout(global_pooling(x, "avg"), arguments), arguments)


def predictions(x: Any, arguments: Arguments) -> Any:
    """Apply the dense classifier to vectors."""
    return keras.layers.Dense(
        arguments.classes,
        activation=arguments.classifier_activation,
        dtype=output_dtype(),
        name="predictions",
    )(x)


def activate(x: Any, arguments: Arguments) -> Any:
    """Apply the classifier activation to scores that do not come from a dense layer."""
    return keras.layers.Activation(
        arguments.classifier_activation, dtype=output_dtype(), name="predictions"
    )(x)


def normalize(x: Any, name: str, epsilon: float, arguments: Arguments) -> Any:
    """Apply batch normalization and ReLU."""
    x = keras.layers.BatchNormalization(
        momentum=arguments.bn_momentum, epsilon=epsilon, name=f"{name}_bn"
    )(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def large_convolution(x: Any, filters: int, strides: int, use_bias: bool = False) -> Any:
    """Apply the 7x7 stem convolution of networks for large images.

    Padding is equal on all sides, as official weights expect; "same" would pad less on the left.
    """
    x = keras.layers.ZeroPadding2D(3, name="stem_pad")(x)
    return keras.layers.Conv2D(
        filters, 7, strides, use_bias=use_bias, kernel_initializer="he_normal", name="stem"
    )(x)


def small_convolution(x: Any, filters: int, use_bias: bool = False) -> Any:
    """Apply the 3x3 stem convolution of networks for small images."""
    return keras.layers.Conv2D(
        filters, 3, padding="same", use_bias=use_bias, kernel_initializer="he_normal", name="stem"
    )(x)


def large_pooling(x: Any, strides: int) -> Any:
    """Apply the pooling after the 7x7 stem convolution, or nothing if the stride is 1."""
    if strides == 1:
        return x
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    return keras.layers.MaxPooling2D(3, strides, name="stem_pool")(x)


def scale_channels(channels: int, alpha: float, divisor: int = 1) -> int:
    """Return `channels * alpha` rounded down to a multiple of `divisor`, at least `divisor`.

    Example:
        >>> scale_channels(64, 0.3), scale_channels(64, 0.3, 8), scale_channels(64, 0.01, 8)
        (19, 16, 8)
    """
    return max(1, int(channels * alpha) // divisor) * divisor


def output_dtype() -> str | None:
    """Return the dtype of the classifier: float32, as 16-bit probabilities degrade the loss."""
    half = keras.config.dtype_policy().compute_dtype in ("float16", "bfloat16")
    return "float32" if half else None


def finish_model(
    inputs: Any, outputs: Any, arguments: Arguments, imagenet: ImageNetFiles | None, name: str
) -> keras.Model:
    """Return the model with the requested weights."""
    model = keras.Model(inputs, outputs, name=name)
    if arguments.weights == "imagenet" and imagenet is not None:
        imagenet.load(model, arguments)
    elif isinstance(arguments.weights, Path):
        _load_file(model, arguments.weights)
    return model


def _load_file(model: keras.Model, path: Path) -> None:
    """Load a `.weights.h5` file. If it does not fit, the error says what to compare."""
    try:
        model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"weights: the file {path} does not fit this {model.name}. It must come from "
            "`save_weights` of a model with the same alpha, channels, classes and include_top. "
            f"Keras reported: {error}"
        ) from error
