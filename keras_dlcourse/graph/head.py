"""Find the head of an image classifier: global pooling and one linear layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_dlcourse.graph.running import Network, Place
from keras_dlcourse.layers._remade import activation_name
from keras_dlcourse.layers.compression.compressed import CompressedLayer
from keras_dlcourse.layers.compression.fake_quantize import FakeQuantize
from keras_dlcourse.layers.description.output_description import OutputDescription
from keras_dlcourse.layers.normalization.l2_normalization import L2Normalization

POOLINGS: tuple[type, ...] = (
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
)

# At inference, these pass their input on unchanged, except for rounding or reshaping.
PASSING = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.ActivityRegularization,
    keras.layers.Identity,
    keras.layers.Flatten,
    keras.layers.Reshape,
    FakeQuantize,
    OutputDescription,
)
_UNIT_LENGTH = (L2Normalization, keras.layers.UnitNormalization)
_WAY_OUT = (
    "kd.explain.grad_cam supports any head. Or add GlobalAveragePooling2D and one Dense layer "
    "after the last convolution, and train that Dense layer: "
    "kd.explain.with_gap_head(model, classes)."
)


@dataclass(frozen=True)
class Head:
    """The head of a classifier, which turns the last feature maps into class scores.

    Attributes:
        features: Model from the inputs to the feature maps that are pooled. It shares its layers
            with the original model.
        pooling: The GlobalAveragePooling2D or GlobalMaxPooling2D layer.
        classifier: The Dense layer or 1x1 convolution that computes the logits.
        activation: Activation applied to the logits: `"softmax"`, `"sigmoid"`, `"linear"`, ...
    """

    features: keras.Model
    pooling: keras.layers.Layer
    classifier: keras.layers.Layer
    activation: str

    @property
    def channels_first(self) -> bool:
        """Whether feature maps have the shape `(n, channels, height, width)`."""
        return bool(self.pooling.data_format == "channels_first")

    @property
    def classes(self) -> int:
        """Number of logits."""
        return int(self.classifier.kernel.shape[-1])

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the current weights, after the transforms of a compressed layer.

        Returns:
            Kernel `(channels, classes)` and bias `(classes,)`, float32.
        """
        kernel = _weight(self.classifier, "kernel").reshape(-1, self.classes)
        if self.classifier.bias is None:
            return kernel, np.zeros(self.classes, "float32")
        return kernel, _weight(self.classifier, "bias")


def find_head(model: keras.Model, poolings: Sequence[type] = POOLINGS) -> Head:
    """Find global pooling followed by one Dense layer or one 1x1 convolution.

    Dropout, Flatten and Reshape may be between and after them, an activation after them, and the
    rounding of activations in models that simulate integers. Any of them may be in a nested model:
    a backbone used as a layer, with or without its own pooling, or a whole classifier after
    preprocessing.

    Args:
        model: A functional or Sequential model with one output.
        poolings: The pooling layers that the caller supports.

    Returns:
        The head.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If the model ends in something else; the message names what was found.

    Example:
        >>> import keras
        >>> model = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=5)
        >>> head = find_head(model)
        >>> head.classifier.name, head.activation, head.classes
        ('conv_preds', 'softmax', 5)
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {type(model).__name__}")
    outputs = getattr(model, "outputs", None)
    if not outputs or not isinstance(outputs[0], keras.KerasTensor):
        raise ValueError(
            f"Class activation maps need a functional or Sequential model that has been built. "
            f"{model.name!r} ({type(model).__name__}) has no graph. Call an unbuilt Sequential "
            "model on a batch first; rebuild a subclassed model with keras.Model(inputs, outputs)."
        )
    if len(outputs) != 1:
        raise ValueError(
            f"Class activation maps need a model with one output. {model.name!r} has "
            f"{len(outputs)}. Pass keras.Model(model.inputs, model.outputs[i])."
        )
    return _read_backwards(Network(model), tuple(poolings))


def is_embedding(model: keras.Model) -> bool:
    """Whether a model outputs embedding vectors instead of class scores.

    Embedding models end in a division by the Euclidean length, or in the dense layer that
    `kd.models.embedding_model` names `embedding`. Nested models are searched, too.

    Args:
        model: A Keras model. The result is False for a model without a graph.

    Example:
        >>> import keras
        >>> inputs = keras.Input((8,))
        >>> is_embedding(keras.Model(inputs, keras.layers.UnitNormalization()(inputs)))
        True
    """
    try:
        network = Network(model)
    except ValueError:
        return False
    for place in _places_backwards(network):
        layer = place.node.operation
        if not isinstance(layer, PASSING) and not _is_linear_activation(layer):
            return isinstance(layer, _UNIT_LENGTH) or layer.name == "embedding"
    return False


def _read_backwards(network: Network, poolings: tuple[type, ...]) -> Head:
    classifier, activation, seen = None, "linear", []
    for place in _places_backwards(network):
        layer = place.node.operation
        seen.append(f"{type(layer).__name__} {layer.name!r}")
        if isinstance(layer, PASSING) or _is_linear_activation(layer):
            continue
        if classifier is None:
            if _is_activation(layer):
                activation = _activation_of(layer)
                continue
            if not _is_classifier(layer):
                break
            classifier = layer
            if layer.activation is not keras.activations.linear:
                activation = _activation_of(layer)
            continue
        if isinstance(layer, poolings) and classifier.kernel.shape[-2] == _channels(place):
            return Head(_feature_model(network, place), layer, classifier, activation)
        break
    raise ValueError(
        f"Class activation maps need a network that ends in {_describe_poolings(poolings)} and one "
        f"Dense layer or 1x1 convolution. {network.model.name!r} ends in {' <- '.join(seen)}. "
        f"{_hint(classifier, seen, poolings)}{_WAY_OUT}"
    )


def _places_backwards(network: Network) -> Iterator[Place]:
    """Walk from the output toward the input, up to a place that reads several tensors."""
    place = network.maker(network.model.outputs[0])
    while place is not None:
        yield place
        place = network.source(place) if len(place.node.inputs) == 1 else None


def _feature_model(network: Network, pooling: Place) -> keras.Model:
    """Build the part of the model before the pooling, which may be inside nested models."""
    source = network.source(pooling)
    features = network.model.inputs[0] if source is None else network.tensor_at(source)
    return keras.Model(network.model.inputs, features, name=f"{network.model.name}_features")


def _is_classifier(layer: Any) -> bool:
    if isinstance(layer, keras.layers.Conv2D):
        return tuple(layer.kernel_size) == (1, 1) and layer.groups == 1
    return isinstance(layer, keras.layers.Dense)


def _is_activation(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Activation | keras.layers.Softmax)


def _is_linear_activation(layer: Any) -> bool:
    linear = keras.activations.linear
    return isinstance(layer, keras.layers.Activation) and layer.activation is linear


def _activation_of(layer: Any) -> str:
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    return activation_name(layer.activation)


def _channels(pooling: Place) -> int | None:
    axis = 1 if pooling.node.operation.data_format == "channels_first" else -1
    return pooling.node.inputs[0].shape[axis]


def _describe_poolings(poolings: tuple[type, ...]) -> str:
    kinds = {"GlobalAveragePooling2D": "average", "GlobalMaxPooling2D": "maximum"}
    return f"global {' or '.join(kinds[pooling.__name__] for pooling in poolings)} pooling"


def _hint(classifier: Any, seen: list[str], poolings: tuple[type, ...]) -> str:
    last = seen[-1].split()[0]
    if last.startswith("GlobalMaxPooling") and keras.layers.GlobalMaxPooling2D not in poolings:
        return "The maximum of a feature map is not a sum over its positions. "
    if classifier is None and last.startswith("GlobalAveragePooling"):
        return "There is no layer that turns the averages into class scores. "
    if classifier is None and last.startswith("GlobalMaxPooling"):
        return "There is no layer that turns the maxima into class scores. "
    if classifier is not None and seen[-1].startswith(("Dense", "Conv2D")):
        return "There must be only one such layer, directly after the pooling. "
    return ""


def _weight(layer: Any, name: str) -> np.ndarray:
    """Return a weight as the layer uses it, in float32 even with mixed precision."""
    if isinstance(layer, CompressedLayer) and name in layer.weight_transforms:
        value = layer.transform_weight(name)
    else:
        value = getattr(layer, name)
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(value, "float32")), "float32")
