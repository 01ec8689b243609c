"""A trained network without its head, in front of it what its pixels have to go through."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import keras
import numpy as np

from keras_dlcourse.data import Normalization
from keras_dlcourse.export.conversion.entrance import takes_pixels
from keras_dlcourse.graph.flat import copy_of
from keras_dlcourse.graph.head import POOLINGS, find_head, is_embedding
from keras_dlcourse.graph.logits import find_logits
from keras_dlcourse.graph.running import Network, Place
from keras_dlcourse.layers import ImageDescription, describe
from keras_dlcourse.models.heads.embedding import backbone_output, pooled

Preprocessing = Normalization | Callable[[Any], Any] | None
_SCORES = ("softmax", "sigmoid")


def without_head(base: keras.Model) -> keras.Model:
    """Return the part of a network that ends in its last feature maps, or in its vector.

    Args:
        base: A functional or Sequential model, with a classifier or without.

    Returns:
        A copy with weights of its own, without names of classes and without a normalization.

    Raises:
        TypeError: If it is no Keras model.
        ValueError: If it has no graph, not one image as its input, or not one output.
    """
    network = Network(base)
    shapes = [tuple(one.shape) for one in network.model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or len(network.model.outputs) != 1:
        raise ValueError(
            "base must have one input of images (batch, height, width, channels) and one output. "
            f"Received: inputs {shapes}, {len(network.model.outputs)} outputs"
        )
    body = copy_of(_features(network))
    for layer in body._flatten_layers():
        if isinstance(layer, ImageDescription):  # what the new model says counts
            layer.class_names = layer.normalization = None
    backbone_output(body)  # checks that it ends in features
    return body


def _features(network: Network) -> keras.Model:
    model = network.model
    if is_embedding(model):
        return model
    with suppress(ValueError):  # it has no such head
        head = find_head(model)
        if head.activation in (*_SCORES, "linear"):
            return head.features
    if find_logits(network).activation in _SCORES:
        maps = _last_maps(network)
        if maps is not None:
            return keras.Model(model.inputs[0], network.tensor_at(maps))
    return model


def _last_maps(network: Network) -> Place | None:
    """Return what the first pooling or flattening of a head reads, whatever stands behind it."""
    found, place = None, network.maker(network.model.outputs[0])
    while place is not None:
        source = network.source(place) if len(place.node.inputs) == 1 else None
        ends_maps = isinstance(place.node.operation, (keras.layers.Flatten, *POOLINGS))
        if ends_maps and source is not None and len(source.shape) == 4:
            found = source
        place = source
    return found


def preprocessing_of(base: keras.Model) -> Normalization:
    """Return what pixels of 0 to 255 go through before they are given to a network.

    Raises:
        ValueError: If the network does not say.
    """
    described = describe(base)
    if described is not None and described.normalization is not None:
        return described.normalization
    takes, why_not = takes_pixels(base)
    if takes:
        return Normalization.identity()  # it does the rest itself
    raise ValueError(
        f"base {base.name!r} does not say what its pixels went through in training. {why_not}Pass "
        "preprocessing=, a kd.data.Normalization such as Normalization(127.5, 127.5), or the "
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
    """Join input, preprocessing, network and pooling.

    Args:
        body: What `without_head` returned.
        image_shape: Height, width and channels of the images.
        given: What the images given to the new model went through already.
        preprocessing: What pixels must go through for `body`.
        class_names: What the new classes are called, or None.
        pooling: `"avg"` or `"max"`, where the network ends in maps.

    Returns:
        A functional model from images to vectors.

    Raises:
        ValueError: If images do not fit.
    """
    expected = tuple(body.inputs[0].shape[1:])
    grey = image_shape[-1] == 1 and expected[-1] == 3
    shape = (*image_shape[:2], 3) if grey else tuple(image_shape)
    if len(shape) != 3 or any(
        one not in (None, size) for one, size in zip(expected, shape, strict=True)
    ):
        raise ValueError(
            f"train has images of {tuple(image_shape)}, base takes {expected}. Resize them, e.g. "
            "kd.data.image_folder(path, image_size=...), or build the base with an input_shape of "
            "theirs."
        )
    inputs = keras.Input(image_shape, name="image")
    x = ImageDescription(given, class_names, name="image_description")(inputs)
    if grey:
        x = keras.layers.Concatenate(name="grey_as_rgb")([x, x, x])
    if isinstance(preprocessing, Normalization):
        x = _rescaled(x, given, preprocessing, "preprocessing")
    else:
        x = preprocessing(_rescaled(x, given, Normalization.identity(), "pixels"))
    x = pooled(body, body(x), pooling)
    if len(x.shape) != 2:
        raise ValueError(f"base must end in maps or vectors. Received: {tuple(x.shape)}")
    return keras.Model(inputs, x, name="features")


def _rescaled(x: Any, given: Normalization, wanted: Normalization, name: str) -> Any:
    """Turn what went through one normalization into what went through another."""
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
