"""Find the head of an image classifier: global pooling and one linear layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_dlcourse.layers.compressed import CompressedLayer
from keras_dlcourse.layers.fake_quantize import FakeQuantize

POOLINGS: tuple[type, ...] = (
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
)

# At inference these hand on the numbers they get, at most rounded or in another shape.
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
)
_WAY_OUT = (
    "kd.explain.grad_cam takes any head. Or put GlobalAveragePooling2D and one Dense layer behind "
    "the last convolution, and train that Dense layer: kd.explain.with_gap_head(model, classes)."
)


@dataclass(frozen=True)
class Head:
    """Where a classifier's last feature maps become class scores.

    Attributes:
        features: From the model's inputs to the feature maps that are pooled; it shares its layers
            with the model.
        pooling: The GlobalAveragePooling2D or GlobalMaxPooling2D layer.
        classifier: The Dense layer or 1x1 convolution that gives the logits.
        activation: What stands on the logits: `"softmax"`, `"sigmoid"`, `"linear"`, ...
    """

    features: keras.Model
    pooling: keras.layers.Layer
    classifier: keras.layers.Layer
    activation: str

    @property
    def channels_first(self) -> bool:
        """Whether feature maps come as `(n, channels, height, width)`."""
        return bool(self.pooling.data_format == "channels_first")

    @property
    def classes(self) -> int:
        """Number of logits."""
        return int(self.classifier.kernel.shape[-1])

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the weights as they are now, after the transforms of a compressed layer.

        Returns:
            Kernel `(channels, classes)` and bias `(classes,)`, float32.
        """
        kernel = _weight(self.classifier, "kernel").reshape(-1, self.classes)
        if self.classifier.bias is None:
            return kernel, np.zeros(self.classes, "float32")
        return kernel, _weight(self.classifier, "bias")


def find_head(model: keras.Model, poolings: Sequence[type] = POOLINGS) -> Head:
    """Find global pooling followed by one Dense layer or one 1x1 convolution.

    Dropout, Flatten and Reshape may stand between and behind them, and an activation behind; in
    models that simulate integers, the rounding of activations. Any of them may stand in a nested
    model: a backbone used as a layer, with or without its own pooling, or a whole classifier behind
    preprocessing.

    Args:
        model: A functional or Sequential model with one output.
        poolings: The pooling layers that the caller can make use of.

    Returns:
        The head.

    Raises:
        TypeError: If `model` is no Keras model.
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
    outputs = _outputs(model)
    if outputs is None:
        raise ValueError(
            f"Class activation maps need a functional or Sequential model that has been built; "
            f"{model.name!r} ({type(model).__name__}) has no graph to look into. Call an unbuilt "
            "Sequential model on a batch first; build a subclassed one with keras.Model(inputs, "
            "outputs)."
        )
    if len(outputs) != 1:
        raise ValueError(
            f"Class activation maps need a model with one output; {model.name!r} has "
            f"{len(outputs)}. Pass keras.Model(model.inputs, model.outputs[i])."
        )
    return _read_backwards(model, outputs[0], tuple(poolings))


@dataclass(frozen=True)
class _Step:
    """A layer met on the way from the output to the input."""

    layer: Any
    source: Any  # its input tensor; None where it has several
    path: tuple[tuple[Any, list[Any]], ...]  # nested models around it, each with its inputs


def _read_backwards(model: keras.Model, output: Any, poolings: tuple[type, ...]) -> Head:
    classifier, activation, seen = None, "linear", []
    for step in _steps(output):
        layer = step.layer
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
        if (
            isinstance(layer, poolings)
            and classifier.kernel.shape[-2] == step.source.shape[_channel_axis(layer)]
        ):
            return Head(_feature_model(model, step), layer, classifier, activation)
        break
    raise ValueError(
        f"Class activation maps need a network that ends in {_wanted(poolings)} and one Dense "
        f"layer or 1x1 convolution; {model.name!r} ends in {' <- '.join(seen)}. "
        f"{_hint(classifier, seen, poolings)}{_WAY_OUT}"
    )


def _steps(tensor: Any) -> Iterator[_Step]:
    """Walk from a tensor towards the input, into nested models and out of them again."""
    path: tuple[tuple[Any, list[Any]], ...] = ()
    while tensor is not None:
        layer, node_index, tensor_index = tensor._keras_history
        if isinstance(layer, keras.layers.InputLayer):
            if not path:
                return
            (nested, sources), path = path[-1], path[:-1]
            tensor = sources[[inner is tensor for inner in nested.inputs].index(True)]
            continue
        sources = layer._inbound_nodes[node_index].input_tensors
        outputs = _outputs(layer)
        if outputs is not None:
            path = (*path, (layer, sources))
            tensor = outputs[tensor_index]
            continue
        source = sources[0] if len(sources) == 1 else None
        yield _Step(layer, source, path)
        tensor = source


def _outputs(layer: Any) -> list[Any] | None:
    """Give the output tensors of a functional or built Sequential model, None for the rest."""
    if not isinstance(layer, keras.Model):
        return None
    outputs = getattr(layer, "outputs", None)
    return list(outputs) if outputs and hasattr(outputs[0], "_keras_history") else None


def _feature_model(model: keras.Model, pooling: _Step) -> keras.Model:
    """Build the part of `model` before the pooling, which may stand inside nested models."""
    tensor = pooling.source
    for nested, sources in reversed(pooling.path):
        part = keras.Model(nested.inputs, tensor, name=f"{nested.name}_before_pooling")
        tensor = part(sources if len(sources) > 1 else sources[0])
    return keras.Model(model.inputs, tensor, name=f"{model.name}_features")


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
    return str(getattr(layer.activation, "__name__", type(layer.activation).__name__))


def _channel_axis(pooling: Any) -> int:
    return 1 if pooling.data_format == "channels_first" else -1


def _wanted(poolings: tuple[type, ...]) -> str:
    kinds = {"GlobalAveragePooling2D": "average", "GlobalMaxPooling2D": "maximum"}
    return f"global {' or '.join(kinds[pooling.__name__] for pooling in poolings)} pooling"


def _hint(classifier: Any, seen: list[str], poolings: tuple[type, ...]) -> str:
    last = seen[-1].split()[0]
    if last.startswith("GlobalMaxPooling") and keras.layers.GlobalMaxPooling2D not in poolings:
        return "The maximum of a feature map is no sum over its places. "
    if classifier is None and last.startswith("GlobalAveragePooling"):
        return "There is no layer that turns the averages into class scores. "
    if classifier is None and last.startswith("GlobalMaxPooling"):
        return "There is no layer that turns the maxima into class scores. "
    if classifier is not None and seen[-1].startswith(("Dense", "Conv2D")):
        return "There must be one such layer only, straight behind the pooling. "
    return ""


def _weight(layer: Any, name: str) -> np.ndarray:
    """Read a weight as the layer computes with it, of mixed precision too."""
    if isinstance(layer, CompressedLayer) and name in layer.weight_transforms:
        value = layer.transformed(name)
    else:
        value = getattr(layer, name)
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(value, "float32")), "float32")
