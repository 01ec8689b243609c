"""What segmentation networks share: arguments, images of any size, maps of a backbone, the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import log2
from typing import Any

import keras
from keras import layers as L
from keras import tree

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.edge.description.layouts import SEGMENTATION
from keras_dlcourse.graph.feature_pyramid import choose_last, known_strides, pyramid_of
from keras_dlcourse.graph.running import Network, Place, call_as_built
from keras_dlcourse.layers import (
    CropLike,
    ImageDescription,
    OutputDescription,
    PadToMultiple,
    describe,
)
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models._shared.arguments import Arguments, Shape
from keras_dlcourse.models._shared.auxiliary import PREDICTIONS
from keras_dlcourse.models._shared.check_arguments import check_arguments

ACTIVATIONS = ("softmax", "sigmoid", None)


def check_segmenter(
    backbone: Any, forms: Sequence[str], input_shape: Shape | None, default: Shape, **given: Any
) -> Arguments:
    """Return the validated arguments of a segmentation network.

    Args:
        backbone: The name of a form, or a model.
        forms: The names that `backbone` can have.
        input_shape: Shape of an image; None for that of the backbone, or the default.
        default: Shape of an image if `backbone` is a name.
        **given: Arguments of `check_arguments`, and `activation`.
    """
    if isinstance(backbone, keras.Model):
        given["preprocessing"] = _join_preprocessing(backbone, given["preprocessing"])
        default = _image_shape(backbone)
    else:
        check_one_of("backbone", backbone, forms, " or a keras.Model")
    activation = check_one_of("activation", given.pop("activation"), ACTIVATIONS)
    arguments = check_arguments(
        None, input_shape=default if input_shape is None else input_shape, **given
    )
    if isinstance(backbone, keras.Model) and arguments.input_shape[2] != default[2]:
        raise ValueError(
            f"input_shape must have {default[2]} channel(s), as the backbone {backbone.name!r}. "
            f"Received: {arguments.input_shape}"
        )
    if arguments.classes == 1 and activation == "softmax":
        activation = "sigmoid"  # the softmax of the logit and of 0 for the background
    return replace(arguments, classifier_activation=activation)


def image_input(arguments: Arguments, multiple: int) -> tuple[Any, Any]:
    """Return the input, and the described image padded until `multiple` divides its size."""
    inputs, x = parts.image_input(arguments)
    height, width, _ = arguments.input_shape
    if height is None or width is None:
        return inputs, PadToMultiple(multiple, name="pad")(x)
    rows, columns = -height % multiple, -width % multiple
    if rows or columns:
        x = L.ZeroPadding2D(((0, rows), (0, columns)), name="pad")(x)
    return inputs, x


def finish(
    inputs: Any,
    logits: Any,
    arguments: Arguments,
    name: str,
    coarser: Mapping[int, Any] | None = None,
) -> keras.Model:
    """Return the model that ends in the activation of the logits, cropped to the image's size.

    Args:
        inputs: The input.
        logits: Scores at the size of the padded image.
        arguments: Arguments of the network.
        name: Name of the model.
        coarser: Scores at other strides, which become auxiliary outputs at the size of the image.
    """
    beside = {}
    for stride, scores in (coarser or {}).items():
        output = f"auxiliary{stride}"
        x = L.UpSampling2D(stride, interpolation="bilinear", name=f"{output}_up")(scores)
        x = _crop(x, inputs, arguments, f"{output}_crop")
        beside[output] = _activate(x, arguments, output)
    return end(inputs, _crop(logits, inputs, arguments, "crop"), arguments, name, beside)


def _crop(logits: Any, inputs: Any, arguments: Arguments, name: str) -> Any:
    """Return scores without the rows and columns that were padded."""
    height, width, _ = arguments.input_shape
    if height is None or width is None:
        return CropLike(name=name)([logits, inputs])
    if logits.shape[1:3] == (height, width):
        return logits
    rows, columns = logits.shape[1] - height, logits.shape[2] - width
    return L.Cropping2D(((0, rows), (0, columns)), name=name)(logits)


def _activate(logits: Any, arguments: Arguments, name: str) -> Any:
    return L.Activation(arguments.classifier_activation, dtype=parts.output_dtype(), name=name)(
        logits
    )


def end(
    inputs: Any,
    logits: Any,
    arguments: Arguments,
    name: str,
    beside: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Return the model that ends in the activation of the logits, with auxiliary outputs if any."""
    x = _activate(logits, arguments, "scores")
    if arguments.classifier_activation is not None:  # logits are no confidences
        x = OutputDescription(SEGMENTATION, dtype=parts.output_dtype(), name=SEGMENTATION)(x)
    return keras.Model(inputs, {PREDICTIONS: x, **beside} if beside else x, name=name)


def pick_strides(backbone: keras.Model, strides: Sequence[int] | None) -> tuple[int, ...]:
    """Return the strides of the maps to use, in ascending order; all of the backbone if None."""
    return known_strides(backbone) if strides is None else tuple(sorted(strides))


def maps_of(
    backbone: keras.Model,
    strides: Sequence[int],
    image: Any,
    choose: Callable[[list[Place]], Place] = choose_last,
) -> dict[int, Any]:
    """Return the maps of a backbone at each stride, of an image that all strides divide.

    Layers and weights are those of the backbone. Its description of images and classes is left
    out: the classes of the network differ, and its input is described already.
    """
    network = Network(pyramid_of(backbone, strides, 0, choose))
    outputs = network.run([image], _call_undescribed)
    maps = {stride: outputs[f"P{int(log2(stride))}"] for stride in strides}
    return {stride: fit_size(x, image, stride, backbone.name) for stride, x in maps.items()}


def fit_size(maps: Any, image: Any, stride: int, name: str) -> Any:
    """Return maps with the size of the image divided by the stride.

    Networks with "valid" convolutions (Inception, Xception) lose some rows at the border; zeros
    take their place.
    """
    wanted = [None if size is None else size // stride for size in image.shape[1:3]]
    missing = [
        0 if None in (size, there) else size - there
        for size, there in zip(wanted, maps.shape[1:3], strict=True)
    ]
    if not any(missing):
        return maps
    sides = [(abs(rows) // 2, abs(rows) - abs(rows) // 2) for rows in missing]
    more = tuple(side if rows > 0 else (0, 0) for side, rows in zip(sides, missing, strict=True))
    less = tuple(side if rows < 0 else (0, 0) for side, rows in zip(sides, missing, strict=True))
    maps = L.ZeroPadding2D(more, name=f"fit_{stride}_pad")(maps)
    return L.Cropping2D(less, name=f"fit_{stride}_crop")(maps)


def _call_undescribed(place: Place, args: Any, kwargs: Any) -> Any:
    if isinstance(place.node.operation, ImageDescription):
        return tree.flatten((args, kwargs))[0]
    return call_as_built(place, args, kwargs)


def _image_shape(backbone: keras.Model) -> tuple[int | None, ...]:
    shapes = [tuple(tensor.shape[1:]) for tensor in getattr(backbone, "inputs", None) or []]
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise ValueError(
            f"backbone {backbone.name!r} must have one image input (height, width, channels). "
            f"Received: {', '.join(map(str, shapes)) or 'a model without a graph'}"
        )
    return shapes[0]


def _join_preprocessing(backbone: keras.Model, preprocessing: Any) -> Any:
    """Return the normalization that the backbone's images have, if it or the caller says so."""
    found = describe(backbone)
    own = None if found is None else found.normalization
    if own is not None and preprocessing not in (None, own):
        raise ValueError(
            f"preprocessing must be that of the backbone, {own}. Received: {preprocessing}. Omit "
            "preprocessing."
        )
    return own if preprocessing is None else preprocessing
