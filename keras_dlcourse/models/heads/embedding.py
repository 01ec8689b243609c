"""An image to a vector, so that images of one kind lie close together."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse._checks import positive_int
from keras_dlcourse.layers import L2Normalization
from keras_dlcourse.models._shared import parts as _graph

# What pools maps over their places, by the number of their axes with the batch.
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
    """Put a dense layer behind a backbone that turns an image into a vector.

    `v = W pool(f(x)) + b`, and `v / |v|` if normalised: then the scalar product of two vectors is
    their cosine, and ranking by it is ranking by Euclidean distance. A device file of the
    normalised model ends in one `L2_NORMALIZATION`, which has an integer kernel.

    The backbone keeps its layers and weights: they are shared, so training the new model changes
    both. Set `backbone.trainable = False` first to train the dense layer alone.

    Args:
        backbone: A functional or Sequential model without its classifier (`include_top=False`).
            Where it ends in feature maps `(batch, height, width, channels)`, or in those of one or
            three axes, they are pooled over their places.
        dimensions: Length of the vector.
        normalize: Whether to divide the vector by its Euclidean length.
        pooling: `"avg"` or `"max"`, for backbones that end in maps.
        name: Name of the model.

    Returns:
        A functional Keras model from the backbone's inputs to float32 vectors of shape
        `(batch, dimensions)`. Its last layers are called `embedding` and `unit_length`.

    Raises:
        TypeError: If `backbone` is no Keras model.
        ValueError: If it has no graph, several outputs, or ends in class scores; or if an argument
            is out of its range.

    Example:
        >>> backbone = keras.applications.MobileNetV2((32, 32, 3), weights=None, include_top=False)
        >>> model = embedding_model(backbone, dimensions=64)
        >>> model.output_shape
        (None, 64)

    Reference:
        Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", CVPR
        2015, https://arxiv.org/abs/1503.03832
    """
    dimensions = positive_int("dimensions", dimensions)
    if pooling not in ("avg", "max"):
        raise ValueError(f"pooling must be 'avg' or 'max'. Received: {pooling!r}")
    x = pooled(backbone, backbone_output(backbone), pooling)
    # In 16 bits, near vectors would fall together.
    dtype = _graph.output_dtype()
    x = keras.layers.Dense(dimensions, dtype=dtype, name="embedding")(x)
    if normalize:
        x = L2Normalization(dtype=dtype, name="unit_length")(x)
    inputs = backbone.inputs
    return keras.Model(inputs[0] if len(inputs) == 1 else inputs, x, name=name)


def backbone_output(backbone: keras.Model) -> Any:
    """Return the one output of a backbone, checked to hold features."""
    if not isinstance(backbone, keras.Model):
        raise TypeError(f"backbone must be a keras.Model. Received: {type(backbone).__name__}")
    outputs = getattr(backbone, "outputs", None) or []
    if not outputs:
        raise ValueError(
            f"backbone {backbone.name!r} has no graph: it is subclassed, or has not been built. "
            "Wrap it: keras.Model(x := keras.Input(shape), backbone(x))"
        )
    if len(outputs) != 1:
        raise ValueError(
            f"backbone {backbone.name!r} has {len(outputs)} outputs. Choose one: "
            "keras.Model(backbone.inputs, backbone.outputs[i])"
        )
    last = backbone.layers[-1]
    softmax = getattr(last, "activation", None) is keras.activations.softmax
    if softmax or isinstance(last, keras.layers.Softmax):
        raise ValueError(
            f"backbone {backbone.name!r} ends in class scores (softmax of {last.name!r}), which "
            "say little about images of other classes. Build it with include_top=False, or cut it: "
            "keras.Model(backbone.inputs, backbone.layers[-2].output)"
        )
    axes = len(outputs[0].shape)
    if axes != 2 and axes not in _POOLINGS:
        raise ValueError(
            f"backbone {backbone.name!r} must give vectors (batch, features) or feature maps "
            f"(batch, ..., features). Received outputs of shape {tuple(outputs[0].shape)}"
        )
    return outputs[0]


def pooled(backbone: keras.Model, x: Any, pooling: str) -> Any:
    """Pool feature maps over their places; a vector stays as it is."""
    axes = len(x.shape)
    if axes == 2:
        return x
    formats = (getattr(layer, "data_format", None) for layer in reversed(backbone.layers))
    data_format = next((found for found in formats if found is not None), None)
    layer = _POOLINGS[axes][pooling]
    return layer(data_format=data_format, name="pooled_features")(x)
