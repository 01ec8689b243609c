"""FCN: a classifier whose dense layers are convolutions, and whose scores are enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict, Unpack

import keras
from keras import layers as L
from keras import tree

from keras_dlcourse._checks import check_flag
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.graph.dense_as_conv import dense_as_conv
from keras_dlcourse.graph.flat import Graph, flat_copy
from keras_dlcourse.graph.places import find_place
from keras_dlcourse.graph.running import Network, Place, call_as_built
from keras_dlcourse.layers import Bilinear
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models._shared.arguments import Activation, Arguments, Classes, Shape
from keras_dlcourse.models._shared.show_options import show_options
from keras_dlcourse.models.classification.vgg import DENSE, DROPOUT, VGG16
from keras_dlcourse.models.segmentation import _parts

COARSEST = 32
PAPER = "paper"
LAST = "to_image"  # the last upsampling, whose kernel depends on the finest stride


class FCNOptions(TypedDict, total=False):
    """Keyword arguments of the FCN builders."""

    activation: Annotated[
        Activation,
        '`"softmax"` over the classes, which for a single class is the sigmoid of its score; '
        '`"sigmoid"` for classes that may overlap; None for logits.',
    ]
    alpha: Annotated[
        float,
        "Width multiplier of the paper's network, above 0.",
    ]
    trainable_upsampling: Annotated[
        bool,
        "Whether transposed convolutions are trained, or stay bilinear.",
    ]
    auxiliary: Annotated[
        bool,
        "Whether the model has additional outputs for training (deep supervision): the sums of "
        "scores at each coarser stride, interpolated to the image. Outputs are then a dictionary "
        'of `"predictions"`, `"auxiliary32"` and, for an FCN-8s, `"auxiliary16"`, which '
        "`without_auxiliary` and export reduce to the first.",
    ]
    dropout: Annotated[
        float,
        "Fraction of features dropped during training before the scores, in [0, 1); in the paper's "
        "network after both dense layers.",
    ]
    preprocessing: Annotated[
        Normalization | None,
        "Normalization applied to pixels in [0, 255] before they reach the model; by default, that "
        "of the backbone. It is recorded in the model for export, not applied.",
    ]
    name: Annotated[
        str,
        "Name of the model.",
    ]


DEFAULTS: dict[str, Any] = {
    "activation": "softmax",
    "trainable_upsampling": True,
    "auxiliary": False,
    "dropout": DROPOUT,
}


@show_options(name="fcn32s", **DEFAULTS)
def FCN32s(
    input_shape: Shape | None = None,
    backbone: str | keras.Model = PAPER,
    classes: Classes = 21,
    **options: Unpack[FCNOptions],
) -> keras.Model:
    """Build an FCN-32s: scores at stride 32, enlarged 32 times at once.

    The dense layers of a classifier become convolutions with the same weights: a window as large as
    its last maps (7x7 for VGG), then 1x1, padded so that the maps keep their size. A new 1x1
    convolution computes the scores of each class, and a transposed convolution enlarges them. The
    scores start at 0 as in the paper, the transposed convolution as bilinear interpolation
    (`kd.layers.Bilinear`).

    `FCN16s` and `FCN8s` add scores of finer maps: those behind a max pooling if there is one at
    that stride, as in the paper, else the last ones. In the paper they are trained in stages: first
    an FCN-32s, then an FCN-16s that starts from it (`start_from`) with a lower learning rate, then
    an FCN-8s.

    Images are padded at the bottom and on the right to a multiple of 32, and the output is cropped.

    Args:
        input_shape: `(height, width, channels)`, height and width None for any size. By default,
            that of the backbone model, and `(224, 224, 3)` for the paper's.
        backbone: `"paper"`, a VGG-16 (134,346,581 weights with 21 classes, without upsampling); or
            a functional or Sequential classifier or backbone with maps at stride 32. It is copied
            with its weights. Its last layer is left out, global pooling and what follows it too.
        classes: Number of classes, or their names, which are then recorded in the model.
        **options: See `FCNOptions`.

    Returns:
        A functional model from images to scores `(batch, height, width, classes)`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or the backbone has no maps at a stride.

    Example:
        >>> backbone = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None)
        >>> FCN32s(backbone=backbone, classes=["road", "car"]).output_shape
        (None, 64, 64, 2)

    Reference:
        Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR
        2015, https://arxiv.org/abs/1411.4038
    """
    return _build((COARSEST,), input_shape, backbone, classes, options)


@show_options(name="fcn16s", **DEFAULTS)
def FCN16s(
    input_shape: Shape | None = None,
    backbone: str | keras.Model = PAPER,
    classes: Classes = 21,
    **options: Unpack[FCNOptions],
) -> keras.Model:
    """Build an FCN-16s, which adds scores of maps at stride 16; see `FCN32s`."""
    return _build((COARSEST, 16), input_shape, backbone, classes, options)


@show_options(name="fcn8s", **DEFAULTS)
def FCN8s(
    input_shape: Shape | None = None,
    backbone: str | keras.Model = PAPER,
    classes: Classes = 21,
    **options: Unpack[FCNOptions],
) -> keras.Model:
    """Build an FCN-8s, which adds scores of maps at strides 16 and 8; see `FCN32s`."""
    return _build((COARSEST, 16, 8), input_shape, backbone, classes, options)


def start_from(model: keras.Model, coarser: keras.Model) -> tuple[str, ...]:
    """Start an FCN from the weights of a trained coarser one, in place.

    Layers that both have are copied. The scores of the new scale start at 0 and the new upsampling
    is bilinear, so that the first outputs are those of the coarser network, up to interpolation.

    Args:
        model: An `FCN16s` or `FCN8s`.
        coarser: An `FCN32s` or `FCN16s` with the same backbone and classes.

    Returns:
        Names of the layers with weights that start anew.

    Raises:
        ValueError: If a layer of `coarser` is not in `model`, or has weights of another shape.

    Example:
        >>> backbone = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None)
        >>> coarser, finer = (build(backbone=backbone, classes=2) for build in (FCN32s, FCN16s))
        >>> start_from(finer, coarser)
        ('to_16', 'score_16', 'to_image')
    """
    known = {layer.name: layer for layer in model.layers}
    given = {each.name: each for each in coarser.layers if each.weights and each.name != LAST}
    for name, layer in given.items():
        theirs = [tuple(weight.shape) for weight in layer.weights]
        ours = [tuple(weight.shape) for weight in known[name].weights] if name in known else None
        if ours != theirs:
            raise ValueError(
                f"model must have the layers of coarser, with the same shapes. Received: {name!r} "
                f"{'with weights ' + str(ours) if ours else 'is missing'}, in coarser {theirs}. "
                "Build both with the same backbone, classes and alpha."
            )
    for name, layer in given.items():
        known[name].set_weights(layer.get_weights())
    return tuple(name for name, layer in known.items() if layer.weights and name not in given)


def _build(
    strides: tuple[int, ...],
    input_shape: Shape | None,
    backbone: str | keras.Model,
    classes: Classes,
    options: FCNOptions,
) -> keras.Model:
    """Return the network that adds scores of maps at some strides, from coarse to fine."""
    given: dict[str, Any] = dict(options)
    name, is_trainable = given.pop("name"), given.pop("trainable_upsampling")
    check_flag("trainable_upsampling", is_trainable)
    if check_flag("auxiliary", auxiliary := given.pop("auxiliary")) and len(strides) == 1:
        raise ValueError(
            f"auxiliary must be False for one scale, at stride {strides[0]}. Use FCN16s or FCN8s."
        )
    arguments = _parts.check_segmenter(
        backbone, (PAPER,), input_shape, (224, 224, 3), classes=classes, **given
    )
    inputs, image = _parts.image_input(arguments, COARSEST)
    if isinstance(backbone, keras.Model):
        maps = _maps_of_classifier(backbone, strides, image, arguments)
    else:
        maps = _maps_of_paper(strides, image, arguments)
    sums: Any = None
    coarser: dict[int, Any] = {}
    for stride in strides:
        scores = _score(maps[stride], stride, arguments)
        if sums is not None:
            coarser[2 * stride] = sums
            sums = _enlarge(sums, 2, f"to_{stride}", is_trainable)
            scores = L.Add(name=f"sum_{stride}")([sums, scores])
        sums = scores
    logits = _enlarge(sums, strides[-1], LAST, is_trainable)
    return _parts.finish(inputs, logits, arguments, name, coarser if auxiliary else None)


def _maps_of_paper(strides: Sequence[int], image: Any, arguments: Arguments) -> dict[int, Any]:
    """Return the maps of a VGG-16 with its dense layers as convolutions, by stride."""
    features = VGG16(
        (None, None, image.shape[-1]),
        alpha=arguments.alpha,
        include_top=False,
        output_stride=COARSEST,
    )
    maps = _parts.maps_of(features, strides, image, _choose_pooling)
    units = parts.scale_channels(DENSE, arguments.alpha)
    for name, size in (("fc1", 7), ("fc2", 1)):
        x = L.Conv2D(
            units,
            size,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=name,
        )(maps[COARSEST])
        maps[COARSEST] = L.Dropout(arguments.dropout, name=f"{name}_dropout")(x)
    return maps


def _maps_of_classifier(
    backbone: keras.Model, strides: Sequence[int], image: Any, arguments: Arguments
) -> dict[int, Any]:
    """Return the maps of a copy of a model, with its dense layers as convolutions, by stride."""
    copy = flat_copy(backbone, lambda layer: None)
    maps = _parts.maps_of(copy, strides, image, _choose_pooling)
    head = _dense_head(copy)
    if head is not None:
        for layer in head.layers:
            if isinstance(layer, L.Conv2D):
                layer.padding = "same"
        (maps[COARSEST],) = tree.flatten(Network(head).run([maps[COARSEST]], call_as_built))
    maps[COARSEST] = parts.dropout(maps[COARSEST], arguments)
    return maps


def _choose_pooling(places: list[Place]) -> Place:
    """Return the last max pooling of the places with the same stride, else the last place."""
    poolings = [place for place in places if isinstance(place.node.operation, L.MaxPooling2D)]
    return [*places[-1:], *poolings][-1]


def _dense_head(flat: keras.Model) -> keras.Model | None:
    """Return what follows the last maps, up to the last dense layer, as convolutions.

    Dropout before the last dense layer is left out. None if there is no other dense layer, or maps
    are not flattened.
    """
    graph = Graph(flat)
    last = find_place(Network(flat), None).node.outputs[0]
    dense = [node for node in graph.nodes if isinstance(node.operation, L.Dense)]
    is_flattened = any(isinstance(node.operation, L.Flatten) for node in graph.nodes)
    if len(dense) < 2 or not is_flattened:
        return None
    end = dense[-1].inputs[0]
    while (maker := graph.maker(end)) is not None and isinstance(maker.operation, L.Dropout):
        end = maker.inputs[0]
    return dense_as_conv(keras.Model(last, end))


def _score(maps: Any, stride: int, arguments: Arguments) -> Any:
    """Return the scores of each class, 0 at first."""
    convolution = L.Conv2D(arguments.classes, 1, kernel_initializer="zeros", name=f"score_{stride}")
    return convolution(maps)


def _enlarge(x: Any, factor: int, name: str, is_trainable: bool) -> Any:
    """Return maps enlarged by a factor, at first by bilinear interpolation."""
    return L.Conv2DTranspose(
        x.shape[-1],
        2 * factor,
        factor,
        padding="same",
        use_bias=False,
        kernel_initializer=Bilinear(),
        trainable=is_trainable,
        name=name,
    )(x)
