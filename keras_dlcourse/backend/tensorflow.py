"""Gradients, compilation and replicas with TensorFlow, and its fused fake-quantization operations.

These give the same values as `portable` in one pass over memory, and the converter supports them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf


def fake_quantize(x: Any, low: Any, high: Any, narrow: bool = False) -> Any:
    """Round values to the 256 codes of a range given by two scalars; see `portable`."""
    return tf.quantization.fake_quant_with_min_max_vars(x, low, high, narrow_range=narrow)


def fake_quantize_per_channel(weights: Any, axis: int | tuple[int, ...]) -> Any:
    """Round weights to 255 codes with a scale for each index along `axis`; see `portable`."""
    rank = len(weights.shape)
    axes = [number % rank for number in ((axis,) if isinstance(axis, int) else axis)]
    order = [number for number in range(rank) if number not in axes] + axes
    moved = order != list(range(rank))
    channels_last = tf.transpose(weights, order) if moved else weights
    # The operation accepts only one axis besides the channels.
    rows = tf.reshape(channels_last, (-1, math.prod(weights.shape[number] for number in axes)))
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(rows), axis=0))
    rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        rows, -largest, largest, narrow_range=True
    )
    rounded = tf.reshape(rounded, tf.shape(channels_last))
    return tf.transpose(rounded, [order.index(n) for n in range(rank)]) if moved else rounded


def l2_normalize(x: Any, epsilon: float) -> Any:
    """Normalize vectors along the last axis to length 1, in a form that the converter supports."""
    return tf.math.l2_normalize(x, axis=-1, epsilon=epsilon)


def local_response_normalization(
    x: Any, depth_radius: int, bias: float, alpha: float, beta: float
) -> Any:
    """Divide by a power of sums over neighboring channels, in a form the converter supports."""
    return tf.nn.local_response_normalization(x, depth_radius, bias, alpha, beta)


def gradient(function: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """Return a function that computes the gradient w.r.t. the first argument; see `jax`."""

    def run(x: Any, *rest: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value, aside = function(x, *rest)
        return tape.gradient(value, x, unconnected_gradients=tf.UnconnectedGradients.ZERO), aside

    return run


def compiled(function: Callable[..., Any], variables: Sequence[Any]) -> Callable[..., Any]:
    """Return a function that is compiled when it is first called; see `jax`."""
    traced = tf.function(function, autograph=False)
    # Cached by shape here, because tf.function warns about retracing if many functions share code.
    programs: dict[Any, Callable[..., Any]] = {}

    def run(*arrays: Any) -> Any:
        tensors = [tf.convert_to_tensor(array) for array in arrays]
        key = tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors)
        if key not in programs:
            programs[key] = traced.get_concrete_function(*tensors)
        return programs[key](*tensors)

    return run


def is_known(x: Any) -> bool:
    """Return whether the values of a tensor are available now; see `jax`."""
    return isinstance(x, tf.Tensor) and tf.executing_eagerly()


def take_by_row(x: Any, indices: Any) -> Any:
    """Take values from each row of a matrix; see `jax`."""
    return tf.gather(x, indices, batch_dims=1)


def search_by_row(ascending: Any, values: Any, side: str) -> Any:
    """Return the insertion index of each value in each row of a sorted matrix; see `jax`."""
    return tf.searchsorted(ascending, values, side=side)


def replica() -> tuple[Any, int]:
    """Return the index of this replica, and the number of replicas; see `jax`."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return 0, 1
    return context.replica_id_in_sync_group, context.num_replicas_in_sync


def gathered(x: Any) -> Any:
    """Return the rows of all replicas, in order; see `jax`."""
    context = tf.distribute.get_replica_context()

    @tf.custom_gradient
    def gather(x: Any) -> tuple[Any, Callable[[Any], Any]]:
        # TensorFlow's own gradient fails if replicas have different numbers of rows.
        rows = tf.shape(x)[:1]
        before = context.all_gather(rows, axis=0)[: context.replica_id_in_sync_group]
        first = tf.reduce_sum(before)

        def back(upstream: Any) -> Any:
            total = context.all_reduce(tf.distribute.ReduceOp.SUM, upstream)
            return total[first : first + rows[0]]

        return context.all_gather(x, axis=0), back

    # Without the identity, a tensor shared by all replicas (a constant) counts as already gathered.
    return gather(tf.identity(x))


def is_between_replicas() -> bool:
    """Return whether this runs outside of replicas, only to determine shapes; see `jax`."""
    return tf.distribute.in_cross_replica_context() and not tf.executing_eagerly()


def is_slow_in_groups() -> bool:
    """Return whether gradients of grouped convolutions are faster group by group, as on CPUs."""
    return all(device.device_type == "CPU" for device in tf.config.get_visible_devices())


def accelerators() -> list[str]:
    """Return the names of the GPUs and other accelerators, empty if there are only CPUs."""
    found = [one for one in tf.config.list_physical_devices() if one.device_type != "CPU"]
    details = tf.config.experimental.get_device_details
    return [details(one).get("device_name", one.device_type) for one in found]


def share_batches(devices: Sequence[str]) -> AbstractContextManager[Any]:
    """Return a context in which models are created and trained on several devices; see `jax`."""
    return tf.distribute.MirroredStrategy(list(devices)).scope()
