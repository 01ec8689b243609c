"""Embeddings: map an image to a vector, so that similar images are close together."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse.layers import L2Normalization
from keras_dlcourse.models._shared import parts

# Pooling layers over all positions, by the rank of the feature maps (including the batch).
_POOLINGS: dict[int, dict[str, type[keras.layers.Layer]]] = {
    3: {"avg": keras.layers.GlobalAveragePooling1D, "max": keras.layers.GlobalMaxPooling1D},
    4: {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D},
    5: {"avg": keras.layers.GlobalAveragePooling3D, "max": keras.layers.GlobalMaxPooling3D},
}


def embedding_model(
    backbone: keras.Model,
    dimensions: int,
    normalize: bool = True,
    pooling: str = "avg",
    name: str = "embedding_model",
) -> keras.Model:
    """Add a dense layer to a backbone to turn an image into a vector.

    `v = W pool(f(x)) + b`, and `v / |v|` if normalized. The dot product of two normalized vectors
    is their cosine similarity, and ranking by it is ranking by Euclidean distance. A device file
    of the normalized model ends in one `L2_NORMALIZATION`, which has an integer kernel.

    The layers and weights of the backbone are shared, so training the new model changes both. To
    train only the dense layer, first set `backbone.trainable = False`.

    Args:
        backbone: A functional or Sequential model without its classifier (`include_top=False`).
            If it ends in feature maps `(batch, height, width, channels)`, or in maps with one or
            three spatial axes, they are pooled over all positions.
        dimensions: Length of the vector.
        normalize: Whether to divide the vector by its Euclidean length.
        pooling: `"avg"` or `"max"`, for backbones that end in feature maps.
        name: Name of the model.

    Returns:
        A functional Keras model from the backbone's inputs to float32 vectors of shape
        `(batch, dimensions)`. Its last layers are named `embedding` and `unit_length`.

    Raises:
        TypeError: If `backbone` is not a Keras model.
        ValueError: If `backbone` has no graph or several outputs, or ends in class scores, or if
            an argument is out of range.

    Example:
        >>> backbone = keras.applications.MobileNetV2((32, 32, 3), weights=None, include_top=False)
        >>> model = embedding_model(backbone, dimensions=64)
        >>> model.output_shape
        (None, 64)

    Reference:
        Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", CVPR
        2015, https://arxiv.org/abs/1503.03832
    """
    dimensions = check_integer("dimensions", dimensions)
    check_one_of("pooling", pooling, ("avg", "max"))
    x = pool_features(backbone, backbone_output(backbone), pooling)
    # In 16 bits, nearby vectors would become equal.
    dtype = parts.output_dtype()
    x = keras.layers.Dense(dimensions, dtype=dtype, name="embedding")(x)
    if normalize:
        x = L2Normalization(dtype=dtype, name="unit_length")(x)
    inputs = backbone.inputs
    return keras.Model(inputs[0] if len(inputs) == 1 else inputs, x, name=name)


def backbone_output(backbone: keras.Model) -> Any:
    """Return the single output of a backbone, after checking that it holds features."""
    if not isinstance(backbone, keras.Model):
        raise TypeError(f"backbone must be a keras.Model. Received: {type(backbone).__name__}")
    outputs = getattr(backbone, "outputs", None) or []
    if not outputs:
        raise ValueError(
            f"backbone {backbone.name!r} has no graph, because it is subclassed or has not been "
            "built. Wrap it: keras.Model(x := keras.Input(shape), backbone(x))"
        )
    if len(outputs) != 1:
        raise ValueError(
            f"backbone must have one output. Received: {backbone.name!r} with {len(outputs)} "
            "outputs. Choose one: keras.Model(backbone.inputs, backbone.outputs[i])"
        )
    last = backbone.layers[-1]
    softmax = getattr(last, "activation", None) is keras.activations.softmax
    if softmax or isinstance(last, keras.layers.Softmax):
        raise ValueError(
            f"backbone {backbone.name!r} ends in class scores (softmax of {last.name!r}), which "
            "say little about images of other classes. Build it with include_top=False, or "
            "truncate it: keras.Model(backbone.inputs, backbone.layers[-2].output)"
        )
    axes = len(outputs[0].shape)
    if axes != 2 and axes not in _POOLINGS:
        raise ValueError(
            f"backbone {backbone.name!r} must output vectors (batch, features) or feature maps "
            f"(batch, ..., features). Received outputs of shape {tuple(outputs[0].shape)}"
        )
    return outputs[0]


def pool_features(backbone: keras.Model, x: Any, pooling: str) -> Any:
    """Pool feature maps over all positions; vectors are returned unchanged."""
    axes = len(x.shape)
    if axes == 2:
        return x
    formats = (getattr(layer, "data_format", None) for layer in reversed(backbone.layers))
    data_format = next((found for found in formats if found is not None), None)
    layer = _POOLINGS[axes][pooling]
    return layer(data_format=data_format, name="pooled_features")(x)
