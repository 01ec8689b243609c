"""Embeddings from any layer of any network, in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_integer
from keras_dlcourse._progress import track
from keras_dlcourse.data.stream import count_batches, stream_with_labels
from keras_dlcourse.explain.engine.scores import Scores
from keras_dlcourse.graph.places import find_named_place
from keras_dlcourse.graph.running import Network, Place
from keras_dlcourse.layers import describe

_CLASSIFYING = ("softmax", "sigmoid", "log_softmax")


def features(
    model: keras.Model, images: Any, layer: str | None = None, batch_size: int = 32
) -> np.ndarray:
    """Compute the output of a layer for each image, as one vector per image.

    Feature maps are reduced by global average pooling.

    Args:
        model: Any Keras model with one input; it must be functional or Sequential if `layer` is
            given.
        images: Inputs as for `model.predict`: an array `(n, ...)`, a `kd.data.Pipeline`, or
            anything else that `kd.data.take` accepts; labels are ignored.
        layer: Name of the layer, with or without the names of its nested models. None uses the
            output of the model. If the model ends in softmax or sigmoid, or has class names, None
            uses the input of its last layer with weights, because that gives better features than
            scores.
        batch_size: Number of images per batch.

    Returns:
        Float32 `(n, dimension)`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If there is no such layer, images do not match the model, or features are not
            finite.

    Example:
        >>> model = keras.Sequential([
        ...     keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, name="conv"),
        ...     keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, "softmax")])
        >>> images = np.random.default_rng(0).random((6, 8, 8, 1))
        >>> features(model, images).shape, features(model, images, layer="conv").shape
        ((6, 4), (6, 4))
    """
    return check_finite(Extractor(model, layer, batch_size)(images)[0])


def check_finite(embeddings: np.ndarray) -> np.ndarray:
    """Return embeddings after checking that they are finite.

    Raises:
        ValueError: If some are NaN or infinite; it names the first such image.
    """
    wrong = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if wrong.size:
        raise ValueError(
            f"the network outputs NaN or infinity for {wrong.size} of {len(embeddings)} images, "
            f"first for image {wrong[0]}. Check its weights for NaN, or lower the learning rate."
        )
    return embeddings


class Extractor:
    """Computes features of images at one layer of a model.

    Weights are read at each call, so the model may be trained between calls.

    Args:
        model: As for `features`.
        layer: As for `features`.
        batch_size: As for `features`.
    """

    def __init__(self, model: keras.Model, layer: str | None, batch_size: int) -> None:
        if not isinstance(model, keras.Model):
            raise TypeError(f"model must be a keras.Model. Received: {type(model).__name__}.")
        self.batch_size = check_integer("batch_size", batch_size)
        self._channels_first = False
        self._compute, variables = self._computation(model, layer)
        self._run: Callable[..., Any] = backend.compiled(self._pool, variables)

    def __call__(self, data: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Return features `(n, dimension)`, and labels or None if the data has none."""
        found, labels = [], []
        batches = stream_with_labels(data, self.batch_size)
        for x, _, y in track(batches, count_batches(data, self.batch_size), "Features"):
            room = min(self.batch_size, 1 << (len(x) - 1).bit_length())
            padded = np.concatenate([x, np.repeat(x[-1:], room - len(x), axis=0)])
            found.append(np.asarray(ops.convert_to_numpy(self._run(padded)))[: len(x)])
            labels.append(y)
        known = [y for y in labels if y is not None]
        return np.concatenate(found), np.concatenate(known) if len(known) == len(found) else None

    def _computation(self, model: keras.Model, layer: str | None) -> tuple[Any, Any]:
        """Return a function from a batch to the layer's output, and the variables it reads."""
        if layer is None and not _has_graph(model):
            return (lambda x: model(x, training=False)), model.variables
        network = Network(model)
        if len(network.model.inputs) != 1:
            raise ValueError(
                f"model must have one input. Received: {model.name!r} with "
                f"{len(network.model.inputs)} inputs. Pass a keras.Model of the branch that embeds "
                "an image."
            )
        place = _last(network) if layer is None else find_named_place(network, layer)
        if len(place.node.outputs) != 1:
            raise ValueError(
                f"layer {place.name!r} must have 1 output. Received: {len(place.node.outputs)}."
            )
        self._channels_first = (
            getattr(place.node.operation, "data_format", None) == "channels_first"
        )
        dtype = network.model.inputs[0].dtype
        return (lambda x: network.output_at(place, [ops.cast(x, dtype)])), network.model.variables

    def _pool(self, x: Any) -> Any:
        outputs = self._compute(x)
        if not hasattr(outputs, "shape"):
            raise ValueError("model must have one output. Pass the layer= to use.")
        outputs = ops.cast(outputs, "float32")
        rank = len(outputs.shape)
        if rank < 2:
            raise ValueError(f"features must be one vector per image. Received: {outputs.shape}.")
        if rank == 2:
            return outputs
        axes = tuple(range(2, rank)) if self._channels_first else tuple(range(1, rank - 1))
        return ops.mean(outputs, axis=axes)


def _has_graph(model: keras.Model) -> bool:
    outputs: Any = getattr(model, "outputs", None)
    return bool(outputs) and hasattr(outputs[0], "_keras_history")


def _last(network: Network) -> Place:
    """Return the place of the output, or of the input of a classifier's last layer."""
    if len(network.model.outputs) != 1:
        raise ValueError(
            f"model {network.model.name!r} has {len(network.model.outputs)} outputs. Pass the "
            "layer= to use."
        )
    end = network.maker(network.model.outputs[0])
    scores = Scores(network)
    described = describe(network.model)
    named = described is not None and described.class_names
    if scores.head and (scores.activation in _CLASSIFYING or named):
        before = network.source(scores.head[-1])
        if before is not None and hasattr(scores.head[-1].node.operation, "kernel"):
            return before
    if end is None:
        raise ValueError(f"model {network.model.name!r} returns its input, so it has no features.")
    return end
