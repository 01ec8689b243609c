"""Gradients, compilation, search in sorted rows, and replicas with JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import keras


def gradient(function: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """Return a function that computes the gradient with respect to the first argument.

    Args:
        function: Takes tensors and returns a scalar and auxiliary outputs.

    Returns:
        A function of the same arguments that returns the gradient of the scalar with respect to the
        first one, 0 where it has no influence, and the auxiliary outputs.
    """
    return jax.grad(function, has_aux=True)


def compiled(function: Callable[..., Any], variables: Sequence[Any]) -> Callable[..., Any]:
    """Return a function that is compiled when it is first called.

    Args:
        function: Takes tensors and returns tensors, in any structure. It must not change variables.
        variables: The variables that it reads. They may change between calls.

    Returns:
        A function that takes arrays instead of tensors. It is compiled once for each set of shapes.
    """

    def stateless(values: list[Any], *arrays: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*arrays)

    jitted = jax.jit(stateless)
    return lambda *arrays: jitted([variable.value for variable in variables], *arrays)


def is_known(x: Any) -> bool:
    """Return whether the values of a tensor are available now, as they are not while compiling."""
    return not isinstance(x, jax.core.Tracer)


def take_by_row(x: Any, indices: Any) -> Any:
    """Take values from each row of a matrix.

    Args:
        x: `(n, m)`.
        indices: int32 `(n, k)`, from 0 to m - 1.

    Returns:
        `(n, k)`. The gradient with respect to `x` is summed over repeated indices.
    """
    return jax.numpy.take_along_axis(x, indices, axis=1)


def search_by_row(ascending: Any, values: Any, side: str) -> Any:
    """Return the insertion index of each value in each row of a sorted matrix.

    Args:
        ascending: `(n, m)`, sorted along the second axis.
        values: `(n, k)`.
        side: `"left"` counts the entries below the value, `"right"` also those equal to it.

    Returns:
        int32 `(n, k)`, from 0 to m.
    """
    return jax.vmap(lambda row, wanted: jax.numpy.searchsorted(row, wanted, side=side))(
        ascending, values
    )


def replica() -> tuple[Any, int]:
    """Return the index of this replica, and the number of replicas that share a batch.

    On JAX, `keras.distribution` shards arrays, not programs: one program sees the whole batch.
    """
    return 0, 1


def gathered(x: Any) -> Any:
    """Return the rows of all replicas, in order; gradients flow back to the replica of each row.

    Must be called by all replicas or by none.
    """
    return x


def is_between_replicas() -> bool:
    """Return whether this runs outside of replicas, only to determine shapes.

    Keras on TensorFlow does this before the first step under a strategy, with averaged labels.
    """
    return False


def is_slow_in_groups() -> bool:
    """Return whether gradients of grouped convolutions are faster group by group, as on CPUs."""
    return bool(jax.default_backend() == "cpu")


def accelerators() -> list[str]:
    """Return the names of the GPUs and other accelerators, empty if there are only CPUs."""
    return [device.device_kind for device in jax.devices() if device.platform != "cpu"]


def share_batches(devices: Sequence[str]) -> AbstractContextManager[Any]:
    """Return a context in which models are created and trained that share batches among devices.

    All results are those of one device, except that sums are in another order. On TensorFlow, this
    holds for the gradient, but not within layers that see the other examples of a batch, such as
    batch normalization: there, they see those on the same device.

    Args:
        devices: Names from `list_devices`.
    """
    return keras.distribution.DataParallel(devices=list(devices)).scope()
