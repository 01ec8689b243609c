"""U-Net: a contracting path, and an expanding one that sees the maps of each scale again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers as L

from keras_dlcourse._checks import check_flag, check_one_of
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.layers import DepthwiseSeparableConv2D
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models._shared.arguments import Activation, Arguments, Classes, Shape
from keras_dlcourse.models.classification.mobilenet_v2 import MobileNetV2
from keras_dlcourse.models.segmentation import _parts

CHANNELS = (64, 128, 256, 512, 1024)  # of the paper's stages, from fine to coarse
DECODER_CHANNELS, MOST_CHANNELS = 16, 256  # of the decoder of a backbone, at stride 1 and at most
MOBILE, MOBILE_ALPHA, MOBILE_STRIDES = "mobile", 0.35, (2, 4, 8, 16)
SMALLEST_VALID = 188  # pixels, of which "valid" convolutions leave 4
UPSAMPLINGS = ("bilinear", "transpose", "nearest")


@dataclass(frozen=True)
class Form:
    """A network with the paper's stages.

    Attributes:
        padding: Padding of the 3x3 convolutions.
        batch_norm: Whether batch normalization follows them.
        input_shape: Default shape of an image.
    """

    padding: str
    batch_norm: bool
    input_shape: tuple[int, int, int]


FORMS = {
    "paper": Form("valid", batch_norm=False, input_shape=(572, 572, 1)),
    "plain": Form("same", batch_norm=True, input_shape=(256, 256, 3)),
}


def UNet(
    input_shape: Shape | None = None,
    backbone: str | keras.Model = MOBILE,
    classes: Classes = 2,
    activation: Activation = "softmax",
    *,
    strides: Sequence[int] | None = None,
    alpha: float = 1.0,
    separable: bool = True,
    upsampling: str | None = None,
    auxiliary: bool = False,
    dropout: float = 0.0,
    bn_momentum: float = 0.9,
    preprocessing: Normalization | None = None,
    name: str = "unet",
) -> keras.Model:
    """Build a U-Net, which predicts the class of each pixel.

    The maps of the coarsest scale know what is in the image, those of the finer scales where it is.
    The decoder enlarges the coarse maps step by step, and at each scale concatenates the maps that
    the contracting path had there.

    | `backbone` | network |
    |---|---|
    | `"mobile"` | MobileNetV2 of width 0.35 up to stride 16, separable decoder: 0.14 million |
    | `"plain"` | the paper's stages with "same" padding and batch normalization: 31 million |
    | `"paper"` | the paper's: "valid" convolutions, cropped skips; 31,030,658 for 2 classes |
    | a model | any classifier or backbone of `kd.models` or `keras.applications`, with a decoder |

    Images are padded at the bottom and on the right until the strides divide their size, and the
    output is cropped to it. Only `"paper"` takes away 184 rows and columns: its output shows the
    inner part of the image, and the image must be 16 k + 12 pixels high and wide, at least 188.

    Args:
        input_shape: `(height, width, channels)`, height and width None for any size. By default,
            that of the backbone model; `(96, 96, 3)`, `(256, 256, 3)` and `(572, 572, 1)` for the
            names.
        backbone: A name of the table, or a functional or Sequential model with one image input. Its
            layers and weights are shared, and its classifier is left out.
        classes: Number of classes, or their names, which are then recorded in the model.
        activation: `"softmax"` over the classes, which for a single class is the sigmoid of its
            score; `"sigmoid"` for classes that may overlap; None for logits.
        strides: For a backbone model, the ratios of the image size to that of the maps to use,
            powers of 2; None for all that it has.
        alpha: Width multiplier of all layers but those of a backbone model.
        separable: Whether the decoder of a backbone has depthwise separable convolutions, which
            cost 8 to 9 times less.
        upsampling: How maps are enlarged: `"bilinear"` or `"nearest"` interpolation before the
            convolutions, or `"transpose"`, a learned 2x2 transposed convolution. None is
            `"transpose"` for the paper's stages, otherwise `"bilinear"`.
        auxiliary: Whether the model has additional outputs for training (deep supervision): the
            classes that a 1x1 convolution predicts from the decoder's maps at each coarser scale,
            enlarged to the image. Outputs are then a dictionary of `"predictions"` and, by stride,
            `"auxiliary2"` and so on. Not for `"paper"`, where each scale shows another part of the
            image.
        dropout: Fraction of the coarsest maps dropped during training, in [0, 1).
        bn_momentum: Momentum of the moving statistics of batch normalization.
        preprocessing: Normalization applied to pixels in [0, 255] before they reach the model; by
            default, that of the backbone. It is recorded in the model for export, not applied.
        name: Name of the model.

    Returns:
        A functional model from images to scores `(batch, height, width, classes)`, or to a
        dictionary of them, which `without_auxiliary` and export reduce to the first.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or contradicts another or the backbone.

    Example:
        >>> model = UNet((50, 70, 3), classes=["ground", "lake", "tree"])
        >>> model.output_shape
        (None, 50, 70, 3)
        >>> UNet((188, 188, 1), "paper", alpha=0.1).output_shape
        (None, 4, 4, 2)

    Reference:
        Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
        Segmentation", MICCAI 2015, https://arxiv.org/abs/1505.04597
    """
    form = FORMS.get(backbone) if isinstance(backbone, str) else None
    arguments = _parts.check_segmenter(
        backbone,
        (MOBILE, *FORMS),
        input_shape,
        form.input_shape if form else (96, 96, 3),
        classes=classes,
        activation=activation,
        alpha=alpha,
        dropout=dropout,
        bn_momentum=bn_momentum,
        preprocessing=preprocessing,
    )
    check_flag("separable", separable)
    if check_flag("auxiliary", auxiliary) and form is not None and form.padding == "valid":
        raise ValueError(
            f"auxiliary must be False if backbone={backbone!r}, whose maps of each scale show "
            'another part of the image. Use backbone="plain".'
        )
    upsampling = check_one_of("upsampling", upsampling, (None, *UPSAMPLINGS))
    if strides is not None and not isinstance(backbone, keras.Model):
        raise ValueError(f"strides must be None if backbone={backbone!r}. Received: {strides}")
    if form is not None:
        return _build_form(form, arguments, upsampling or "transpose", auxiliary, name)
    if isinstance(backbone, str):
        strides, backbone = MOBILE_STRIDES, MobileNetV2(
            arguments.input_shape, MOBILE_ALPHA * arguments.alpha, include_top=False,
            output_stride=32, bn_momentum=arguments.bn_momentum,
        )  # fmt: skip
    strides = _parts.pick_strides(backbone, strides)
    inputs, image = _parts.image_input(arguments, strides[-1])
    skips = _parts.maps_of(backbone, strides, image)
    decoder = _Decoder(arguments, separable, upsampling or "bilinear")
    maps = decoder.run(skips)
    logits = L.Conv2D(arguments.classes, 1, name="logits")(maps.pop(1))
    return _parts.finish(inputs, logits, arguments, name, _score(maps, arguments, auxiliary))


@dataclass(frozen=True)
class _Decoder:
    """The expanding path of a backbone.

    Attributes:
        arguments: Arguments of the network.
        separable: Whether convolutions are depthwise separable.
        upsampling: One of `UPSAMPLINGS`.
    """

    arguments: Arguments
    separable: bool
    upsampling: str

    def run(self, skips: dict[int, Any]) -> dict[int, Any]:
        """Return the decoder's maps by stride, down to 1, from those of a backbone."""
        coarsest, maps = max(skips), {}
        x = parts.dropout(skips[coarsest], self.arguments)
        for stride in sorted({1, *skips} - {coarsest}, reverse=True):
            filters = _scale(min(DECODER_CHANNELS * stride, MOST_CHANNELS), self.arguments)
            x = enlarge(x, coarsest // stride, filters, self.upsampling, f"decoder_{stride}")
            coarsest = stride
            convolutions = 1  # the finest maps cost most, and without a skip there is little to mix
            if stride in skips:
                x = L.Concatenate(name=f"decoder_{stride}_skip")([x, skips[stride]])
                convolutions = 2
            for number in range(1, convolutions + 1):
                x = self._convolve(x, filters, f"decoder_{stride}_conv{number}")
            maps[stride] = x
        return maps

    def _convolve(self, x: Any, filters: int, name: str) -> Any:
        momentum = self.arguments.bn_momentum
        if not self.separable:
            return parts.convolution(x, filters, 3, 1, self.arguments, name)
        return DepthwiseSeparableConv2D(
            filters, bn_momentum=momentum, bn_epsilon=parts.BN_EPSILON, name=name
        )(x)


def enlarge(x: Any, factor: int, filters: int, upsampling: str, name: str) -> Any:
    """Return maps that are larger by a factor, with at most the given number of channels.

    Interpolation and a 1x1 convolution can change places: fewer channels are interpolated faster.
    """
    if upsampling == "transpose":
        return L.Conv2DTranspose(
            filters, factor, factor, kernel_initializer="he_normal", name=f"{name}_up"
        )(x)
    if x.shape[-1] > filters:
        x = L.Conv2D(filters, 1, kernel_initializer="he_normal", name=f"{name}_reduce")(x)
    return L.UpSampling2D(factor, interpolation=upsampling, name=f"{name}_up")(x)


def _score(maps: dict[int, Any], arguments: Arguments, auxiliary: bool) -> dict[int, Any]:
    """Return the scores of each class that the decoder's coarser maps give, if they are wanted."""
    if not auxiliary:
        return {}
    return {
        stride: L.Conv2D(arguments.classes, 1, name=f"auxiliary{stride}_logits")(x)
        for stride, x in maps.items()
    }


def _build_form(
    form: Form, arguments: Arguments, upsampling: str, auxiliary: bool, name: str
) -> keras.Model:
    """Return a network with the paper's stages."""
    is_valid = form.padding == "valid"
    if is_valid:
        _check_valid(arguments)
        inputs, x = parts.image_input(arguments)
    else:
        inputs, x = _parts.image_input(arguments, 2 ** (len(CHANNELS) - 1))
    skips = []
    for stage, channels in enumerate(CHANNELS, 1):
        x = _convolve_twice(x, channels, f"down{stage}", form, arguments)
        if stage < len(CHANNELS):
            skips.append(x)
            x = L.MaxPooling2D(2, name=f"down{stage}_pool")(x)
    x = parts.dropout(x, arguments)
    maps = {}
    for stage in range(len(CHANNELS) - 1, 0, -1):
        channels, skip = CHANNELS[stage - 1], skips.pop()
        x = enlarge(x, 2, _scale(channels, arguments), upsampling, f"up{stage}")
        if is_valid:
            skip = _crop_center(skip, x.shape, f"up{stage}_crop")
        x = L.Concatenate(name=f"up{stage}_skip")([skip, x])
        x = maps[2 ** (stage - 1)] = _convolve_twice(x, channels, f"up{stage}", form, arguments)
    logits = L.Conv2D(arguments.classes, 1, kernel_initializer="he_normal", name="logits")(
        maps.pop(1)
    )
    if is_valid:
        return _parts.end(inputs, logits, arguments, name)
    return _parts.finish(inputs, logits, arguments, name, _score(maps, arguments, auxiliary))


def _convolve_twice(x: Any, channels: int, name: str, form: Form, arguments: Arguments) -> Any:
    for number in (1, 2):
        here = f"{name}_conv{number}"
        x = L.Conv2D(
            _scale(channels, arguments),
            3,
            padding=form.padding,
            use_bias=not form.batch_norm,
            kernel_initializer="he_normal",
            name=here,
        )(x)
        if form.batch_norm:
            x = L.BatchNormalization(
                momentum=arguments.bn_momentum, epsilon=parts.BN_EPSILON, name=f"{here}_bn"
            )(x)
        x = L.ReLU(name=f"{here}_relu")(x)
    return x


def _crop_center(x: Any, shape: Sequence[int], name: str) -> Any:
    """Return the center of maps, of the height and width of another shape."""
    extra = [size - other for size, other in zip(x.shape[1:3], shape[1:3], strict=True)]
    return L.Cropping2D([(e // 2, e - e // 2) for e in extra], name=name)(x)


def _scale(channels: int, arguments: Arguments) -> int:
    return parts.scale_channels(channels, arguments.alpha)


def _check_valid(arguments: Arguments) -> None:
    """Raise ValueError if a pooling of "valid" convolutions would drop a row."""
    for size in arguments.input_shape[:2]:
        if size is None or size < SMALLEST_VALID or (size - 12) % 16:
            below = max(SMALLEST_VALID, ((size or 0) - 12) // 16 * 16 + 12)
            raise ValueError(
                "input_shape must be 16 k + 12 pixels high and wide, at least 188, if "
                'backbone="paper", so that each pooling divides its maps. Received: '
                f"{arguments.input_shape}. Use {below} or {below + 16}, tile larger images, or use "
                'backbone="plain" for any size.'
            )
