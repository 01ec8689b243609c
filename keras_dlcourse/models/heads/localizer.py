"""Localization: predict the class, box and keypoints of the single object in an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers as L

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse.edge.description.layouts import BOX, KEYPOINTS, RELATIVE_TO
from keras_dlcourse.layers import OutputDescription
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models.heads.embedding import backbone_output, pool_features

_PLACES_CHANNELS = 64  # channels of the maps from which coordinates are predicted


def localizer(
    backbone: keras.Model,
    classes: int,
    *,
    keypoints: int | Sequence[str] = 0,
    bounding_box_format: str = "rel_center_xywh",
    dropout: float = 0.0,
    name: str = "localizer",
) -> keras.Model:
    """Add two heads to a backbone: the class of the single object in an image, and its box.

    The class is predicted from features pooled over all positions. Pooling discards locations, so
    coordinates are predicted from the maps themselves, reduced by a 1x1 convolution and flattened.
    The box is the output of a sigmoid, in fractions of the image size.

    Train it with `kd.losses.MultitaskLoss` through `kd.models.MultitaskModel`. The recipe of the
    course is to train with `backbone.trainable = False` first, then all layers together.

    The layers and weights of the backbone are shared, so training the new model changes both.

    Args:
        backbone: A functional or Sequential model without its classifier (`include_top=False`) that
            ends in feature maps `(batch, height, width, channels)` of fixed size.
        classes: Number of classes.
        keypoints: Number of keypoints, or their names, for a third head with their coordinates
            relative to the box, as in `keypoint_regressor`; 0 for none.
        bounding_box_format: Format of the box coordinates, one of `kd.data.BOX_FORMATS` that
            begins with `rel_`.
        dropout: Fraction of pooled features dropped during training before the class.
        name: Name of the model.

    Returns:
        A functional model from the backbone's input to a dictionary: `"label"`, probabilities
        `(batch, classes)`; `"box"`, `(batch, 4)`; and, if requested, `"keypoints"`,
        `(batch, 2 * keypoints)`.

    Raises:
        TypeError: If `backbone` is not a Keras model.
        ValueError: If `backbone` does not end in feature maps of fixed size, or an argument is out
            of range.

    Example:
        >>> backbone = keras.applications.MobileNetV2((64, 64, 3), weights=None, include_top=False)
        >>> model = localizer(backbone, classes=5)
        >>> {name: output.shape for name, output in model.output.items()}
        {'label': (None, 5), 'box': (None, 4)}

    Reference:
        Sermanet et al., "OverFeat", ICLR 2014, https://arxiv.org/abs/1312.6229 (a box head beside
        the classifier on shared features)
    """
    classes = check_integer("classes", classes)
    maps = _maps(backbone)
    dtype = parts.output_dtype()
    x = pool_features(backbone, maps, "avg")
    if dropout:
        x = L.Dropout(dropout, name="dropout")(x)
    label = L.Dense(classes, activation="softmax", dtype=dtype, name="label")(x)
    places = _places(maps, backbone)
    outputs = {"label": label, BOX: _box(places, bounding_box_format)}
    count, names = _count_keypoints(keypoints, least=0)
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
    """Add a head to a backbone that predicts the coordinates of k keypoints from the whole image.

    Relative to a person's box, the coordinates of a pose do not depend on the position and size of
    the person. The device needs the box to place the keypoints, so the box is an output too.

    Args:
        backbone: As for `localizer`.
        keypoints: Number of keypoints, or their names.
        relative_to: `"box"`: x and y relative to the center of the box, in units of its width and
            height, with the box as a second output. `"image"`: in fractions of the image size,
            without a box.
        bounding_box_format: Format of the box coordinates.
        name: Name of the model.

    Returns:
        A functional model from the backbone's input to a dictionary: `"keypoints"`,
        `(batch, 2 * keypoints)`, x and y of each keypoint in turn; and `"box"`, `(batch, 4)`.

    Raises:
        TypeError: If `backbone` is not a Keras model.
        ValueError: If `backbone` does not end in feature maps of fixed size, or an argument is out
            of range.

    Example:
        >>> backbone = keras.applications.MobileNetV2((64, 64, 3), weights=None, include_top=False)
        >>> model = keypoint_regressor(backbone, ["left eye", "right eye", "nose"])
        >>> {name: output.shape for name, output in model.output.items()}
        {'box': (None, 4), 'keypoints': (None, 6)}

    Reference:
        Toshev and Szegedy, "DeepPose: Human Pose Estimation via Deep Neural Networks", CVPR 2014,
        https://arxiv.org/abs/1312.4659 (its first stage)
    """
    check_one_of("relative_to", relative_to, tuple(RELATIVE_TO))
    count, names = _count_keypoints(keypoints, least=1)
    places = _places(_maps(backbone), backbone)
    outputs = {BOX: _box(places, bounding_box_format)} if relative_to == "box" else {}
    outputs[KEYPOINTS] = _points(places, count, names, relative_to)
    return keras.Model(backbone.inputs[0], outputs, name=name)


def _maps(backbone: keras.Model) -> Any:
    """Return the feature maps of a backbone, after checking that their size is fixed."""
    maps = backbone_output(backbone)
    if len(maps.shape) != 4 or None in maps.shape[1:]:
        raise ValueError(
            f"backbone {backbone.name!r} must end in feature maps (batch, height, width, channels) "
            f"of fixed size. Received: {tuple(maps.shape)}. Build it with include_top=False, "
            "pooling=None and a fixed input shape."
        )
    if len(backbone.inputs) != 1:
        raise ValueError(f"backbone {backbone.name!r} must have one input.")
    return maps


def _places(maps: Any, backbone: keras.Model) -> Any:
    """Return the flattened maps, a vector that preserves locations."""
    x = L.Conv2D(_PLACES_CHANNELS, 1, use_bias=False, name="places")(maps)
    x = L.BatchNormalization(momentum=0.9, epsilon=parts.BN_EPSILON, name="places_bn")(x)
    return L.Flatten(name="places_flat")(L.ReLU(max_value=6.0, name="places_relu")(x))


def _box(places: Any, bounding_box_format: str) -> Any:
    dtype = parts.output_dtype()
    numbers = L.Dense(4, activation="sigmoid", dtype=dtype, name="box_numbers")(places)
    return OutputDescription(BOX, bounding_box_format, dtype=dtype, name=BOX)(numbers)


def _points(places: Any, count: int, names: Sequence[str] | None, relative_to: str) -> Any:
    dtype = parts.output_dtype()
    numbers = L.Dense(2 * count, dtype=dtype, name="keypoint_numbers")(places)
    described = OutputDescription(
        KEYPOINTS, relative_to=relative_to, names=names, dtype=dtype, name=KEYPOINTS
    )
    return described(numbers)


def _count_keypoints(
    keypoints: int | Sequence[str], least: int
) -> tuple[int, Sequence[str] | None]:
    """Return the number of keypoints, and their names if given."""
    if isinstance(keypoints, Sequence) and not isinstance(keypoints, str):
        return len(keypoints), keypoints
    if least == 0 and keypoints == 0 and not isinstance(keypoints, bool):
        return 0, None
    return check_integer("keypoints", keypoints), None
