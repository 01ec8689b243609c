"""Gradients of a layer's trainable weights, on the backend that Keras runs on."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np


def weight_gradients(layer: keras.layers.Layer, x: np.ndarray) -> list[np.ndarray]:
    """Return the gradients of the sum of a built layer's outputs in training."""
    if keras.backend.backend() == "jax":
        import jax

        # stateless_call hands its arguments on to call as they are.
        takes_training = "training" in inspect.signature(layer.call).parameters
        options = {"training": True} if takes_training else {}

        def loss(trainable: Any) -> Any:
            others = [variable.value for variable in layer.non_trainable_variables]
            outputs, _ = layer.stateless_call(trainable, others, x, **options)
            return outputs.sum()

        found = jax.grad(loss)([variable.value for variable in layer.trainable_variables])
    elif keras.backend.backend() == "torch":
        import torch

        total = keras.ops.sum(layer(x, training=True))
        weights = [variable.value for variable in layer.trainable_variables]
        found = torch.autograd.grad(total, weights)
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            total = keras.ops.sum(layer(x, training=True))
        found = tape.gradient(total, [variable.value for variable in layer.trainable_variables])
    return [keras.ops.convert_to_numpy(gradient) for gradient in found]
