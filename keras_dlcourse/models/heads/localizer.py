"""An image to what it shows and where: class, box and keypoints of the one object in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers as L

from keras_dlcourse._checks import positive_int
from keras_dlcourse.edge.description.layouts import BOX, KEYPOINTS, RELATIVE_TO
from keras_dlcourse.layers import OutputDescription
from keras_dlcourse.models._shared import parts as _graph
from keras_dlcourse.models.heads.embedding import backbone_output, pooled

_PLACES_CHANNELS = 64  # of the maps that coordinates are read from


def localizer(
    backbone: keras.Model,
    classes: int,
    *,
    keypoints: int | Sequence[str] = 0,
    bounding_box_format: str = "rel_center_xywh",
    dropout: float = 0.0,
    name: str = "localizer",
) -> keras.Model:
    """Put two heads on a backbone: the class of the one object in an image, and its box.

    The class is read from features pooled over all places. Pooling forgets where things are, so
    coordinates are read from the maps themselves, thinned by a 1x1 convolution and flattened.
    The box comes out of a sigmoid, in shares of the image.

    Train it with `kd.losses.MultitaskLoss` through `kd.models.MultitaskModel`. The recipe of the
    course: with `backbone.trainable = False` first, then all together.

    The backbone keeps its layers and weights: they are shared, so training the new model changes
    both.

    Args:
        backbone: A functional or Sequential model without its classifier (`include_top=False`) that
            ends in feature maps `(batch, height, width, channels)` of fixed size.
        classes: Number of classes.
        keypoints: Number of keypoints, or their names, for a third head with their coordinates
            relative to the box, as of `keypoint_regressor`; 0 for none.
        bounding_box_format: What the four numbers of the box are, one of `kd.data.BOX_FORMATS`
            that begins with `rel_`.
        dropout: Share of pooled features dropped in training before the class.
        name: Name of the model.

    Returns:
        A functional model from the backbone's input to a dictionary: `"label"`, probabilities
        `(batch, classes)`; `"box"`, `(batch, 4)`; and if asked for `"keypoints"`,
        `(batch, 2 * keypoints)`.

    Raises:
        TypeError: If `backbone` is no Keras model.
        ValueError: If it does not end in feature maps of fixed size, or an argument is out of its
            range.

    Example:
        >>> backbone = keras.applications.MobileNetV2((64, 64, 3), weights=None, include_top=False)
        >>> model = localizer(backbone, classes=5)
        >>> {name: output.shape for name, output in model.output.items()}
        {'label': (None, 5), 'box': (None, 4)}

    Reference:
        Sermanet et al., "OverFeat", ICLR 2014, https://arxiv.org/abs/1312.6229 (a box head beside
        the classifier on shared features)
    """
    classes = positive_int("classes", classes)
    maps = _maps(backbone)
    dtype = _graph.output_dtype()
    x = pooled(backbone, maps, "avg")
    if dropout:
        x = L.Dropout(dropout, name="dropout")(x)
    label = L.Dense(classes, activation="softmax", dtype=dtype, name="label")(x)
    places = _places(maps, backbone)
    outputs = {"label": label, BOX: _box(places, bounding_box_format)}
    count, names = _counted(keypoints, least=0)
    if count:
        outputs[KEYPOINTS] = _points(places, count, names, relative_to="box")
    return keras.Model(backbone.inputs[0], outputs, name=name)


def keypoint_regressor(
    backbone: keras.Model,
    keypoints: int | Sequence[str],
    *,
    relative_to: str = "box",
    bounding_box_format: str = "rel_center_xywh",
    name: str = "keypoint_regressor",
) -> keras.Model:
    """Put a head on a backbone that says where k points are, seeing the whole image.

    Relative to the person's box, a pose has the same numbers wherever the person stands and however
    large it is. The device has to know the box to place them, so it is an output too.

    Args:
        backbone: As for `localizer`.
        keypoints: How many points, or their names.
        relative_to: `"box"`: x and y from the middle of the box, in its widths and heights, with
            the box as a second output. `"image"`: in shares of the image, and no box.
        bounding_box_format: What the four numbers of the box are.
        name: Name of the model.

    Returns:
        A functional model from the backbone's input to a dictionary: `"keypoints"`,
        `(batch, 2 * keypoints)`, x and y of each point in turn; and `"box"`, `(batch, 4)`.

    Raises:
        TypeError: If `backbone` is no Keras model.
        ValueError: If it does not end in feature maps of fixed size, or an argument is out of its
            range.

    Example:
        >>> backbone = keras.applications.MobileNetV2((64, 64, 3), weights=None, include_top=False)
        >>> model = keypoint_regressor(backbone, ["left eye", "right eye", "nose"])
        >>> {name: output.shape for name, output in model.output.items()}
        {'box': (None, 4), 'keypoints': (None, 6)}

    Reference:
        Toshev and Szegedy, "DeepPose: Human Pose Estimation via Deep Neural Networks", CVPR 2014,
        https://arxiv.org/abs/1312.4659 (its first stage)
    """
    if relative_to not in RELATIVE_TO:
        raise ValueError(f"relative_to must be 'image' or 'box'. Received: {relative_to!r}")
    count, names = _counted(keypoints, least=1)
    places = _places(_maps(backbone), backbone)
    outputs = {BOX: _box(places, bounding_box_format)} if relative_to == "box" else {}
    outputs[KEYPOINTS] = _points(places, count, names, relative_to)
    return keras.Model(backbone.inputs[0], outputs, name=name)


def _maps(backbone: keras.Model) -> Any:
    """Return the feature maps of a backbone, of fixed size."""
    maps = backbone_output(backbone)
    if len(maps.shape) != 4 or None in maps.shape[1:]:
        raise ValueError(
            f"backbone {backbone.name!r} must end in feature maps (batch, height, width, channels) "
            f"of fixed size. Received: {tuple(maps.shape)}; build it with include_top=False, "
            "pooling=None and a fixed input shape."
        )
    if len(backbone.inputs) != 1:
        raise ValueError(f"backbone {backbone.name!r} must have one input")
    return maps


def _places(maps: Any, backbone: keras.Model) -> Any:
    """Return a vector that still says where in the maps each of its numbers stands."""
    x = L.Conv2D(_PLACES_CHANNELS, 1, use_bias=False, name="places")(maps)
    x = L.BatchNormalization(momentum=0.9, epsilon=_graph.BN_EPSILON, name="places_bn")(x)
    return L.Flatten(name="places_flat")(L.ReLU(max_value=6.0, name="places_relu")(x))


def _box(places: Any, bounding_box_format: str) -> Any:
    dtype = _graph.output_dtype()
    numbers = L.Dense(4, activation="sigmoid", dtype=dtype, name="box_numbers")(places)
    return OutputDescription(BOX, bounding_box_format, dtype=dtype, name=BOX)(numbers)


def _points(places: Any, count: int, names: Sequence[str] | None, relative_to: str) -> Any:
    dtype = _graph.output_dtype()
    numbers = L.Dense(2 * count, dtype=dtype, name="keypoint_numbers")(places)
    described = OutputDescription(
        KEYPOINTS, relative_to=relative_to, names=names, dtype=dtype, name=KEYPOINTS
    )
    return described(numbers)


def _counted(keypoints: int | Sequence[str], least: int) -> tuple[int, Sequence[str] | None]:
    """Return the number of keypoints, and their names if they have some."""
    if isinstance(keypoints, Sequence) and not isinstance(keypoints, str):
        return len(keypoints), keypoints
    if least == 0 and keypoints == 0 and not isinstance(keypoints, bool):
        return 0, None
    return positive_int("keypoints", keypoints), None
