"""The two training stages: which layers are trained, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers as L

from keras_dlcourse import losses
from keras_dlcourse.callbacks import EarlyStopping
from keras_dlcourse.callbacks._weights import find_first_broken
from keras_dlcourse.graph.blocks import NORMS, find_block_starts, find_weighted_places, layers_from
from keras_dlcourse.graph.places import find_named_place
from keras_dlcourse.graph.running import Network
from keras_dlcourse.models._shared.parts import output_dtype
from keras_dlcourse.training.progress import fit_with_progress
from keras_dlcourse.training.schedules import warmup_cosine
from keras_dlcourse.training.transfer.given import Given


class Steps(keras.Model):
    """A network in training: augmentation in front, the base in inference mode.

    Keras passes the training mode to all layers of a functional model, even if the model was built
    with `base(x, training=False)`; here the base is called explicitly in inference mode. So its
    batch normalization and dropout ignore training, and augmentation is not part of the network.
    """

    def __init__(self, features: keras.Model, head: keras.Model, augmentation: Any) -> None:
        super().__init__(name="transfer")
        self.augmentation, self.features, self.head = augmentation, features, head

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the scores of a batch of images."""
        if self.augmentation is not None:
            inputs = self.augmentation(inputs, training=training)
        return self.head(self.features(inputs, training=False), training=training)


def build_head(width: int, classes: int, dropout: float, seed: int) -> keras.Model:
    """Build dropout and a dense layer from vectors to logits, initially all 0."""
    inputs = keras.Input((width,))
    x = L.Dropout(dropout, seed=seed, name="head_dropout")(inputs)
    return keras.Model(inputs, _classifier(classes, "linear")(x), name="head")


def _classifier(classes: int, activation: str) -> L.Layer:
    # The loss of a single linear layer is convex: starting from 0 converges fastest.
    return L.Dense(
        classes, activation, kernel_initializer="zeros", dtype=output_dtype(), name="predictions"
    )


def adapt_to_vectors(head: keras.Model) -> keras.Model:
    """Return the head for vectors in the form of 1x1 images, as the cache returns them."""
    inputs = keras.Input((1, 1, head.inputs[0].shape[-1]))
    return keras.Model(inputs, head(L.Flatten()(inputs)), name="head_of_vectors")


def join_head(features: keras.Model, head: keras.Model, name: str) -> keras.Model:
    """Return base and head as one functional model, with softmax instead of logits."""
    _, dropout, trained = head.layers
    last = _classifier(trained.units, "softmax")
    model = keras.Model(features.inputs[0], last(dropout(features.outputs[0])), name=name)
    last.set_weights(trained.get_weights())
    return model


def choose_layers(body: keras.Model, unfreeze: int | str) -> tuple[list[L.Layer], str]:
    """Return the layers that the second stage trains, and a description of where they start.

    Args:
        body: The network without its head.
        unfreeze: Number of blocks, from the end, or of layers with weights if the network has no
            blocks; or the name of the first layer.

    Raises:
        ValueError: If there are fewer blocks or layers, or no such layer.
    """
    if unfreeze == 0:
        return [], "nothing of the base"
    network = Network(body)
    if isinstance(unfreeze, str):
        start = find_named_place(network, unfreeze)
        return layers_from(network, start), f"from {unfreeze} on"
    starts, kind = find_block_starts(network), "block"
    if not starts:
        starts, kind = find_weighted_places(network), "layer"
    if unfreeze > len(starts):
        raise ValueError(
            f"unfreeze={unfreeze} exceeds the {len(starts)} {kind}s of {body.name!r}. Pass "
            f"the name of the first layer to train instead, such as {starts[0].name!r}."
            if starts
            else f"base {body.name!r} has no layers with weights to unfreeze. Pass unfreeze=0."
        )
    words = f"the last {kind}" if unfreeze == 1 else f"the last {unfreeze} {kind}s"
    layers = layers_from(network, starts[-unfreeze])
    return layers, f"{words}, from {layers[0].name} on"


def list_weighted_names(body: keras.Model) -> list[str]:
    """Return the unique names of the layers with weights, except normalization layers."""
    return list(dict.fromkeys(place.node.name for place in find_weighted_places(Network(body))))


def set_trained(model: keras.Model, layers: list[L.Layer]) -> None:
    """Make only these layers of a model trainable, except their batch normalization.

    Frozen batch normalization stays in inference mode in any later training, too.
    """
    for layer in model._flatten_layers(include_self=False):
        if not isinstance(layer, keras.Model):
            layer.trainable = False
    for layer in layers:
        layer.trainable = True
        for inner in layer._flatten_layers():
            if isinstance(inner, NORMS):
                inner.trainable = False


def compile_model(model: keras.Model, rate: Any, one_hot: bool, from_logits: bool = False) -> None:
    """Compile with Adam and cross-entropy."""
    loss = losses.for_task("multiclass", one_hot=one_hot, from_logits=from_logits)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])


def run_stage(
    model: keras.Model,
    given: Given,
    epochs: int,
    rate: float,
    warmup: float,
    patience: int | None,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: int | None,
) -> dict[str, list[float]]:
    """Train with a learning rate that rises to `rate` and falls to 0; return the history.

    Raises:
        ValueError: If a weight is NaN or infinite afterwards.
    """
    compile_model(
        model, warmup_cosine(epochs * given.batches, rate, warmup), given.one_hot, from_logits=True
    )
    loud = 1 if verbose is None else min(verbose, 1)
    stop = [] if patience is None else [EarlyStopping(patience=patience, verbose=loud)]
    options = {
        "validation_data": given.validation,
        "epochs": epochs,
        "callbacks": [*stop, *callbacks],
    }
    if verbose is None:
        history = fit_with_progress(model, given.train, **options).history
    else:
        history = model.fit(given.train, verbose=verbose, **options).history
    broken = find_first_broken(model)
    if broken is not None:
        raise ValueError(
            f"training has diverged: the weight {broken.path!r} is NaN or infinite after the stage "
            f"with a learning rate of {rate:g}. Check the images for NaN, or lower the rate in "
            "learning_rates=."
        )
    return {name: [float(value) for value in values] for name, values in history.items()}
