"""Gradients of a function with one tensor as result, on the backend that Keras runs on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def gradients(
    function: Callable[..., Any], *arrays: np.ndarray, upstream: np.ndarray
) -> list[np.ndarray]:
    """Return the gradients of `sum(upstream * function(*arrays))` in each array."""

    def loss(*tensors: Any) -> Any:
        return keras.ops.sum(keras.ops.convert_to_tensor(upstream, "float32") * function(*tensors))

    if keras.backend.backend() == "jax":
        import jax

        places = tuple(range(len(arrays)))
        found = jax.grad(loss, places)(*(jax.numpy.asarray(array) for array in arrays))
    elif keras.backend.backend() == "torch":
        import torch

        tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
        found = torch.autograd.grad(loss(*tensors), tensors, materialize_grads=True)
    else:
        import tensorflow as tf

        tensors = [tf.constant(array) for array in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = loss(*tensors)
        found = tape.gradient(value, tensors, unconnected_gradients="zero")
    return [keras.ops.convert_to_numpy(gradient) for gradient in found]
