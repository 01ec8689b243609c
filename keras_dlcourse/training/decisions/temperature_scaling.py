"""Temperature scaling: one parameter that calibrates a classifier's scores."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import check_number
from keras_dlcourse.data.multilabel import class_numbers
from keras_dlcourse.data.stream import stream_with_labels
from keras_dlcourse.graph.flat import copy_model
from keras_dlcourse.graph.logits import find_logits, logits_model
from keras_dlcourse.graph.running import Network
from keras_dlcourse.layers.compression.compressed import CompressedLayer
from keras_dlcourse.layers.compression.fake_quantize import FakeQuantize

_RANGE = (-5.0, 5.0)  # of the logarithm: temperatures from 1/148 to 148
_TINY = float(np.finfo("float32").tiny)


class TemperatureScaling:
    """Divide a classifier's logits by a temperature chosen on validation data.

        scores = softmax(logits / T), or sigmoid(logits / T)

    T minimizes the cross-entropy on data that the network was not trained on. Most networks are
    overconfident, so T is above 1. The order of the classes, and thus the accuracy, stays the same.

    `apply` divides the weights and bias of the last layer: the model, and the `.tflite` file
    exported from it, keep the same layers. If the logits do not come from a single dense layer or
    convolution, e.g. in an ensemble, it divides the logarithm of the scores, which adds operations.

    Attributes:
        temperature: T; 1 before `fit`.
        loss_before: Cross-entropy per label on the data of `fit`, in nats, without T.
        loss_after: The same with T.

    Example:
        >>> inputs = keras.Input((3,))
        >>> model = keras.Model(inputs, keras.layers.Softmax()(keras.layers.Dense(3)(inputs)))
        >>> model.layers[1].set_weights([20 * np.eye(3), np.zeros(3)])
        >>> x, y = np.eye(3)[[0, 1, 2, 0, 1]], np.array([0, 1, 2, 0, 2])  # sure, one in five wrong
        >>> scaling = TemperatureScaling().fit(model, (x, y))
        >>> round(float(scaling.apply(model).predict(x, verbose=0).max()), 2)
        0.8

    Reference:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017,
        https://arxiv.org/abs/1706.04599
    """

    def __init__(self) -> None:
        self.temperature = 1.0
        self.loss_before = self.loss_after = float("nan")

    def fit(self, model: keras.Model, validation: Any, *, batch_size: int = 32) -> Any:
        """Choose the temperature.

        Args:
            model: A classifier with one output `(n, classes)` that ends in softmax, in sigmoid, or
                in logits, which are taken to be those of a softmax.
            validation: Images and labels, as `kd.data.take` reads them, finite, and with as many
                inputs as the model takes; not the training data.
                Labels are `(n,)` class numbers, one-hot, or for sigmoid `(n, classes)` of 0 and 1,
                with NaN or a negative value where unknown.
            batch_size: Number of images at a time.

        Returns:
            This object.

        Raises:
            TypeError: If `model` is not a Keras model.
            ValueError: If it has no graph, several outputs or another kind of end, or the labels do
                not match.
        """
        network = _network(model)
        found = find_logits(network)
        scores = logits_model(network, found) if found.layer is not None else network.model
        logits, labels = [], []
        for inputs, _, known in stream_with_labels(validation, batch_size, several_inputs=True):
            if known is None:
                raise ValueError("validation must have labels, needed to choose the temperature.")
            logits.append(np.asarray(scores.predict_on_batch(inputs), "float64"))
            labels.append(np.asarray(known))
        values = np.concatenate(logits)
        kind = _kind(found.activation, found.layer is None, values)
        if found.layer is None:
            values = _logits_of(values, kind)
        self._choose(values, np.concatenate(labels), kind)
        return self

    def _choose(self, logits: np.ndarray, labels: np.ndarray, kind: str) -> None:
        from scipy.optimize import minimize_scalar

        loss = _sigmoid_loss if kind == "sigmoid" else _softmax_loss
        y = _check_labels(labels, logits, kind)
        best = minimize_scalar(
            lambda log: loss(logits / np.exp(log), y), bounds=_RANGE, method="bounded"
        )
        self.temperature = float(np.exp(best.x))
        self.loss_before, self.loss_after = float(loss(logits, y)), float(best.fun)

    def apply(self, model: keras.Model) -> keras.Model:
        """Return a copy of the model that includes the temperature.

        Args:
            model: The model passed to `fit`; it is left unchanged.

        Returns:
            A model with the same kind of scores: softmax, sigmoid or logits.

        Raises:
            TypeError: If `model` is not a Keras model.
            ValueError: If it has no graph, several outputs or another kind of end, or simulates
                integers.
        """
        check_number("temperature", self.temperature, above=0)
        for place in _network(model).places:
            if isinstance(place.node.operation, FakeQuantize | CompressedLayer):
                raise ValueError(
                    f"{place.name} simulates integers or compression, and its ranges would no "
                    "longer fit. Apply the temperature to the plain model, then quantize that."
                )
        twin = copy_model(model)
        network = Network(twin)
        found = find_logits(network)
        if found.layer is not None and found.calls == 1:
            found.layer.set_weights(
                [weight / self.temperature for weight in found.layer.get_weights()]
            )
            return twin
        kind = "sigmoid" if found.activation == "sigmoid" else "softmax"
        scores = twin.outputs[0]
        if kind == "sigmoid":
            logits = ops.log(ops.maximum(scores, _TINY)) - ops.log(ops.maximum(1 - scores, _TINY))
            outputs = ops.sigmoid(logits / self.temperature)
        else:
            logits = ops.log(ops.maximum(scores, _TINY))
            outputs = ops.softmax(logits / self.temperature)
        return keras.Model(twin.inputs, outputs, name=twin.name)


def _network(model: keras.Model) -> Network:
    network = Network(model)
    shapes = [tuple(one.shape) for one in network.model.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise ValueError(f"model must have one output, (n, classes). Received: shapes {shapes}")
    return network


def _kind(activation: str, unknown: bool, values: np.ndarray) -> str:
    """Return `"softmax"` or `"sigmoid"`, from the model's last activation or from its scores."""
    if activation in ("softmax", "sigmoid"):
        return activation
    if activation == "linear" and not unknown:
        return "softmax"
    if (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        return "softmax"  # e.g. the mean of an ensemble
    raise ValueError(
        "model must end in softmax, sigmoid or logits of a dense layer. Received: a model that "
        f"ends in {activation!r}, whose scores do not add up to 1"
    )


def _logits_of(scores: np.ndarray, kind: str) -> np.ndarray:
    """Return logits that yield these scores."""
    logits = np.log(np.maximum(scores, _TINY))
    return logits - np.log(np.maximum(1 - scores, _TINY)) if kind == "sigmoid" else logits


def _check_labels(labels: np.ndarray, logits: np.ndarray, kind: str) -> np.ndarray:
    """Return class numbers `(n,)` for softmax, `(n, classes)` of 0, 1 and NaN for sigmoid."""
    n, classes = logits.shape
    if not np.isfinite(logits).all():
        raise ValueError("model must return finite scores. Received: NaN or infinity")
    if kind == "sigmoid":
        y = labels.astype("float64").reshape(n, -1)
        y = np.where(y < 0, np.nan, y)
        if y.shape != logits.shape or not np.isin(y[~np.isnan(y)], (0, 1)).all():
            raise ValueError(
                f"labels for sigmoid scores must be ({n}, {classes}) of 0 and 1. Received: "
                f"shape {labels.shape}"
            )
        return y
    return class_numbers(labels, n, classes)


def _softmax_loss(logits: np.ndarray, y: np.ndarray) -> float:
    from scipy.special import logsumexp

    return float(np.mean(logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]))


def _sigmoid_loss(logits: np.ndarray, y: np.ndarray) -> float:
    return float(np.nanmean(np.logaddexp(0, logits) - y * logits))
