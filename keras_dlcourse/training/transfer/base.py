"""A trained network without its head, preceded by the preprocessing of its pixels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import keras
import numpy as np

from keras_dlcourse.data import Normalization
from keras_dlcourse.export.conversion.entrance import takes_pixels
from keras_dlcourse.graph.flat import copy_model
from keras_dlcourse.graph.head import POOLINGS, find_head, is_embedding
from keras_dlcourse.graph.logits import find_logits
from keras_dlcourse.graph.running import Network, Place
from keras_dlcourse.layers import ImageDescription, describe
from keras_dlcourse.models.heads.embedding import backbone_output, pool_features

Preprocessing = Normalization | Callable[[Any], Any] | None
_SCORES = ("softmax", "sigmoid")


def remove_head(base: keras.Model) -> keras.Model:
    """Return the part of a network up to its last feature maps, or up to its feature vector.

    Args:
        base: A functional or Sequential model, with or without a classifier.

    Returns:
        A copy with its own weights, without class names and without a normalization.

    Raises:
        TypeError: If `base` is not a Keras model.
        ValueError: If it has no graph, or does not have exactly one image input and one output.
    """
    network = Network(base)
    shapes = [tuple(one.shape) for one in network.model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or len(network.model.outputs) != 1:
        raise ValueError(
            "base must have one image input (batch, height, width, channels) and one output. "
            f"Received: inputs {shapes}, {len(network.model.outputs)} outputs"
        )
    body = copy_model(_features(network))
    for layer in body._flatten_layers():
        if isinstance(layer, ImageDescription):  # the new model has its own
            layer.class_names = layer.normalization = None
    backbone_output(body)  # checks that it ends in features
    return body


def _features(network: Network) -> keras.Model:
    model = network.model
    if is_embedding(model):
        return model
    with suppress(ValueError):  # the model has no such head
        head = find_head(model)
        if head.activation in (*_SCORES, "linear"):
            return head.features
    if find_logits(network).activation in _SCORES:
        maps = _last_maps(network)
        if maps is not None:
            return keras.Model(model.inputs[0], network.tensor_at(maps))
    return model


def _last_maps(network: Network) -> Place | None:
    """Return the input of a head's first pooling or flattening, whatever follows it."""
    found, place = None, network.maker(network.model.outputs[0])
    while place is not None:
        source = network.source(place) if len(place.node.inputs) == 1 else None
        ends_maps = isinstance(place.node.operation, (keras.layers.Flatten, *POOLINGS))
        if ends_maps and source is not None and len(source.shape) == 4:
            found = source
        place = source
    return found


def preprocessing_of(base: keras.Model) -> Normalization:
    """Return the normalization that a network expects for pixels from 0 to 255.

    Raises:
        ValueError: If it cannot be determined.
    """
    described = describe(base)
    if described is not None and described.normalization is not None:
        return described.normalization
    takes, why_not = takes_pixels(base)
    if takes:
        return Normalization.identity()  # the network normalizes pixels itself
    raise ValueError(
        f"base {base.name!r} does not record the normalization of its pixels in training. {why_not}"
        "Pass preprocessing=, a kd.data.Normalization such as Normalization(127.5, 127.5), or the "
        "function of its family, such as keras.applications.mobilenet_v2.preprocess_input."
    )


def feature_model(
    body: keras.Model,
    image_shape: tuple[int, ...],
    given: Normalization,
    preprocessing: Normalization | Callable[[Any], Any],
    class_names: tuple[str, ...] | None,
    pooling: str,
) -> keras.Model:
    """Combine input, preprocessing, network and pooling.

    Args:
        body: The result of `remove_head`.
        image_shape: Height, width and channels of the images.
        given: The normalization already applied to the images given to the new model.
        preprocessing: The preprocessing of pixels that `body` expects.
        class_names: Names of the new classes, or None.
        pooling: `"avg"` or `"max"`, used if the network ends in feature maps.

    Returns:
        A functional model from images to vectors.

    Raises:
        ValueError: If the images do not match the network.
    """
    expected = tuple(body.inputs[0].shape[1:])
    grey = image_shape[-1] == 1 and expected[-1] == 3
    shape = (*image_shape[:2], 3) if grey else tuple(image_shape)
    if len(shape) != 3 or any(
        one not in (None, size) for one, size in zip(expected, shape, strict=True)
    ):
        raise ValueError(
            f"train must have images of shape {expected}, as base takes. Received: "
            f"{tuple(image_shape)}. Resize them, e.g. with kd.data.image_folder(path, "
            "image_size=...), or build the base with their shape as input_shape."
        )
    inputs = keras.Input(image_shape, name="image")
    x = ImageDescription(given, class_names, name="image_description")(inputs)
    if grey:
        x = keras.layers.Concatenate(name="grey_as_rgb")([x, x, x])
    if isinstance(preprocessing, Normalization):
        x = _rescale(x, given, preprocessing, "preprocessing")
    else:
        x = preprocessing(_rescale(x, given, Normalization.identity(), "pixels"))
    x = pool_features(body, body(x), pooling)
    if len(x.shape) != 2:
        raise ValueError(
            f"base must end in feature maps or vectors. Received: shape {tuple(x.shape)}"
        )
    return keras.Model(inputs, x, name="features")


def _rescale(x: Any, given: Normalization, wanted: Normalization, name: str) -> Any:
    """Convert images from one normalization to another."""
    means, stds = np.array(given.mean), np.array(given.std)
    scale = stds / np.array(wanted.std)
    offset = (means - np.array(wanted.mean)) / np.array(wanted.std)
    if np.allclose(scale, 1) and np.allclose(offset, 0):
        return x
    if len(set(scale.tolist())) == len(set(offset.tolist())) == 1:
        return keras.layers.Rescaling(float(scale[0]), float(offset[0]), name=name)(x)
    channels = (x.shape[-1],)
    numbers = (np.broadcast_to(one, channels).tolist() for one in (scale, offset))
    return keras.layers.Rescaling(*numbers, name=name)(x)
