"""Measures of retrieval in the logs of `fit`."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_dlcourse as kd

RNG = np.random.default_rng(0)
LABELS = np.arange(30) % 3
IMAGES = (RNG.random((30, 6, 6, 1)) + LABELS[:, None, None, None] * RNG.random((6, 6, 1))).astype(
    "float32"
)


def network():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation="relu", name="hidden"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    return model


def fit(model, *callbacks, epochs=4):
    return model.fit(IMAGES, LABELS, epochs=epochs, verbose=0, callbacks=list(callbacks)).history


def test_the_logs_have_what_the_weights_of_each_epoch_give():
    measures = ["recall@1", "map@r", "equal_error_rate", "nmi"]
    expected = []

    class Reference(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.on_epoch_end(-1)

        def on_epoch_end(self, epoch, logs=None):
            kernel, bias = self.model.get_layer("hidden").get_weights()
            embeddings = np.maximum(IMAGES.reshape(30, -1) @ kernel + bias, 0)
            expected.append(kd.retrieval.evaluate(embeddings, LABELS, measures, metric="euclidean"))

    callback = kd.callbacks.RetrievalMetrics((IMAGES, LABELS), measures, metric="euclidean")
    history = fit(network(), callback, Reference())
    for name in measures:
        np.testing.assert_allclose(
            [callback.before[name], *history[f"val_{name}"]],
            [each[name] for each in expected],
            atol=0.02,
        )
    assert len({each["map@r"] for each in expected}) > 1  # trained


def test_early_stopping_monitors_them():
    measured = kd.callbacks.RetrievalMetrics((IMAGES, LABELS), ["map@r"])
    stopping = kd.callbacks.EarlyStopping(monitor="val_map@r", mode="max", patience=2)
    model = network()
    history = fit(model, measured, stopping, epochs=60)["val_map@r"]
    assert len(history) < 60
    assert measured.measure()["map@r"] == pytest.approx(max(history), abs=1e-6)
    with pytest.raises(ValueError, match="monitors 'val_map@r', which is not in the logs"):
        fit(network(), kd.callbacks.EarlyStopping(monitor="val_map@r", mode="max"), measured)


def test_a_part_of_the_images_another_layer_and_prefix():
    callback = kd.callbacks.RetrievalMetrics(
        (IMAGES, LABELS), ["recall@1"], layer="flatten", limit=12, seed=3, prefix="held_out_"
    )
    model = network()
    model.layers[0].name = "flatten"
    some = kd.data.take((IMAGES, LABELS), 12, seed=3)
    history = fit(model, callback)
    right = kd.retrieval.recall_at_k(some.inputs.reshape(12, -1), some.labels)
    assert history["held_out_recall@1"] == [right] * 4


def test_a_network_of_nan_is_logged_and_training_goes_on():
    model = network()
    # Some processors let ReLU turn NaN into 0.
    model.get_layer("hidden").activation = keras.activations.tanh
    callback = kd.callbacks.RetrievalMetrics((IMAGES, LABELS), ["recall@1"])
    breaking = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: model.get_layer("hidden").set_weights(
            [np.full((36, 8), np.nan), np.zeros(8)]
        )
    )
    with pytest.warns(UserWarning, match="RetrievalMetrics: the network outputs NaN"):
        history = fit(model, breaking, callback, epochs=2)
    assert np.isnan(history["val_recall@1"]).all() and len(history["loss"]) == 2


def test_data_without_labels_and_layers_that_are_not_there():
    with pytest.raises(ValueError, match="data must have labels"):
        fit(network(), kd.callbacks.RetrievalMetrics(IMAGES))
    with pytest.raises(ValueError, match="has no layer 'hiden'. Did you mean 'hidden'"):
        fit(network(), kd.callbacks.RetrievalMetrics((IMAGES, LABELS), layer="hiden"))
    with pytest.raises(ValueError, match="needs a model. Pass this callback to fit"):
        kd.callbacks.RetrievalMetrics((IMAGES, LABELS)).measure()
