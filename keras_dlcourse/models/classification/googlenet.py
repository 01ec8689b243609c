"""GoogLeNet: Inception modules with parallel kernel sizes, and no large dense layer at the end.

It has 22 layers with a twelfth of AlexNet's weights. Two small classifiers in the middle supply
gradients to the early layers during training; they are not exported to the device.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, Unpack

import keras

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.layers import InceptionModule, LocalResponseNormalization
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models._shared.arguments import Arguments, Options, Shape
from keras_dlcourse.models._shared.auxiliary import PREDICTIONS
from keras_dlcourse.models._shared.check_arguments import check_arguments
from keras_dlcourse.models.registry import register

DROPOUT, AUXILIARY_DROPOUT = 0.4, 0.7
AUXILIARY = "auxiliary1", "auxiliary2"


class Module(NamedTuple):
    """A row of the paper's Table 1."""

    name: str
    filters_1x1: int
    filters_3x3: tuple[int, int]
    filters_5x5: tuple[int, int]
    filters_pool: int


STAGES = (
    (
        Module("3a", 64, (96, 128), (16, 32), 32),
        Module("3b", 128, (128, 192), (32, 96), 64),
    ),
    (
        Module("4a", 192, (96, 208), (16, 48), 64),
        Module("4b", 160, (112, 224), (24, 64), 64),
        Module("4c", 128, (128, 256), (24, 64), 64),
        Module("4d", 112, (144, 288), (32, 64), 64),
        Module("4e", 256, (160, 320), (32, 128), 128),
    ),
    (
        Module("5a", 256, (160, 320), (32, 128), 128),
        Module("5b", 384, (192, 384), (48, 128), 128),
    ),
)
AUXILIARY_BEHIND = ("4a", "4d")


class GoogLeNetOptions(Options, total=False):
    """Options of GoogLeNet, in addition to `Options`."""

    auxiliary: Annotated[
        bool,
        "Whether the model has the two auxiliary classifiers, as additional outputs in a "
        "dictionary, for training.",
    ]
    normalization: Annotated[
        str | None,
        '`"local"` adds local response normalization to the stem, as in the paper; it stays '
        "in float in an int8 file. None adds no normalization.",
    ]


@register("googlenet", dropout=DROPOUT, auxiliary=False, normalization="local")
def GoogLeNet(
    input_shape: Shape = (224, 224, 3), **options: Unpack[GoogLeNetOptions]
) -> keras.Model:
    """Build GoogLeNet (69.8% accuracy on ImageNet in torchvision).

    With `auxiliary=True`, it outputs `"predictions"`, `"auxiliary1"` and `"auxiliary2"`. Train all
    of them, the last two with a weight of 0.3, then use `without_auxiliary(model)`. Export does
    this automatically.

    Args:
        input_shape: `(height, width, channels)`: at least 28x28 pixels (or None for any size,
            without `auxiliary`), 1 or 3 channels.
        **options: See `GoogLeNetOptions`.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, to a dictionary of
        probabilities, or to features.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or contradicts another.

    Example:
        >>> import keras_dlcourse as kd
        >>> model = kd.models.GoogLeNet((32, 32, 3), alpha=0.25, classes=10, auxiliary=True)
        >>> loss = dict.fromkeys(model.output, "sparse_categorical_crossentropy")
        >>> model.compile("sgd", loss, loss_weights={"predictions": 1, "auxiliary1": 0.3,
        ...                                          "auxiliary2": 0.3})
        >>> kd.models.without_auxiliary(model).output_shape
        (None, 10)

    Reference:
        Szegedy et al., "Going Deeper with Convolutions", CVPR 2015,
        https://arxiv.org/abs/1409.4842
    """
    given: dict[str, Any] = dict(options)
    name, auxiliary = given.pop("name"), bool(given.pop("auxiliary"))
    normalization = given.pop("normalization")
    check_one_of("normalization", normalization, ("local", None))
    arguments = check_arguments(None, input_shape=input_shape, **given)
    if auxiliary and (not arguments.include_top or None in arguments.input_shape):
        raise ValueError(
            "auxiliary=True adds classifiers with dense layers, so it needs include_top=True and a "
            f"fixed height and width. Received: input_shape={tuple(input_shape)}"
        )
    inputs, x = parts.image_input(arguments)
    first, second, third, *pools = parts.limit_strides((2, 2, 2, 2, 2), arguments.output_stride)
    x = _convolution(x, 64, 7, "conv1", arguments, first)
    x = _normalize(_pool(x, second, "pool1"), normalization, "norm1")
    x = _convolution(x, 64, 1, "conv2_reduce", arguments)
    x = _convolution(x, 192, 3, "conv2", arguments)
    x = _pool(_normalize(x, normalization, "norm2"), third, "pool2")
    beside: dict[str, Any] = {}
    for stage, pool in zip(STAGES, (*pools, 1), strict=True):
        for module in stage:
            x = _module(x, module, arguments)
            if auxiliary and module.name in AUXILIARY_BEHIND:
                output = AUXILIARY[len(beside)]
                beside[output] = _auxiliary(x, output, arguments)
        x = _pool(x, pool, f"pool_{stage[-1].name}")
    x = parts.classify(x, arguments)
    outputs = {PREDICTIONS: x, **beside} if auxiliary else x
    return parts.finish_model(inputs, outputs, arguments, None, name)


def _convolution(
    x: Any, filters: int, size: int, name: str, arguments: Arguments, strides: int = 1
) -> Any:
    x = keras.layers.Conv2D(
        parts.scale_channels(filters, arguments.alpha),
        size,
        strides,
        padding="same",
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _pool(x: Any, strides: int, name: str) -> Any:
    if strides == 1:
        return x
    return keras.layers.MaxPooling2D(3, strides, padding="same", name=name)(x)


def _normalize(x: Any, normalization: str | None, name: str) -> Any:
    return x if normalization is None else LocalResponseNormalization(name=name)(x)


def _module(x: Any, module: Module, arguments: Arguments) -> Any:
    def scale(filters: int) -> int:
        return parts.scale_channels(filters, arguments.alpha)

    return InceptionModule(
        scale(module.filters_1x1),
        tuple(map(scale, module.filters_3x3)),
        tuple(map(scale, module.filters_5x5)),
        scale(module.filters_pool),
        name=f"inception_{module.name}",
    )(x)


def _auxiliary(x: Any, name: str, arguments: Arguments) -> Any:
    size = tuple(min(5, side) for side in x.shape[1:3])
    x = keras.layers.AveragePooling2D(size, 3, name=f"{name}_pool")(x)
    x = _convolution(x, 128, 1, f"{name}_conv", arguments)
    x = keras.layers.Flatten(name=f"{name}_flatten")(x)
    units = parts.scale_channels(1024, arguments.alpha)
    x = keras.layers.Dense(units, "relu", kernel_initializer="he_normal", name=f"{name}_dense")(x)
    x = keras.layers.Dropout(AUXILIARY_DROPOUT, name=f"{name}_dropout")(x)
    return keras.layers.Dense(
        arguments.classes,
        activation=arguments.classifier_activation,
        dtype=parts.output_dtype(),
        name=name,
    )(x)
