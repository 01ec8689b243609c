"""Gradients, compiling, search in sorted rows, and replicas by JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras


def gradient(function: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """Return a function that gives the gradient by the first argument.

    Args:
        function: Takes tensors and returns a scalar and what else is wanted.

    Returns:
        A function of the same arguments that returns the gradient of the scalar by the first one,
        0 where it has no influence, and what else the function returned.
    """
    return jax.grad(function, has_aux=True)


def compiled(function: Callable[..., Any], variables: Sequence[Any]) -> Callable[..., Any]:
    """Return a function compiled at its first call.

    Args:
        function: Takes tensors and returns tensors, in any structure; it changes no variable.
        variables: The variables that it reads. They may change between calls.

    Returns:
        A function that takes arrays instead. It is compiled once for each set of shapes.
    """

    def stateless(values: list[Any], *arrays: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*arrays)

    jitted = jax.jit(stateless)
    return lambda *arrays: jitted([variable.value for variable in variables], *arrays)


def is_known(x: Any) -> bool:
    """Whether the numbers of a tensor can be looked at now, which they cannot while compiling."""
    return not isinstance(x, jax.core.Tracer)


def take_by_row(x: Any, indices: Any) -> Any:
    """Take numbers out of each row of a matrix.

    Args:
        x: `(n, m)`.
        indices: int32 `(n, k)`, from 0 to m - 1.

    Returns:
        `(n, k)`. The gradient by `x` adds up where an index comes twice.
    """
    return jax.numpy.take_along_axis(x, indices, axis=1)


def search_by_row(ascending: Any, values: Any, side: str) -> Any:
    """Count the numbers before each value in each row of a sorted matrix.

    Args:
        ascending: `(n, m)`, sorted along the second axis.
        values: `(n, k)`.
        side: `"left"` counts the numbers below the value, `"right"` also those equal to it.

    Returns:
        int32 `(n, k)`, from 0 to m.
    """
    return jax.vmap(lambda row, wanted: jax.numpy.searchsorted(row, wanted, side=side))(
        ascending, values
    )


def replica() -> tuple[Any, int]:
    """Return the index of this replica, and how many of them split a batch among them.

    `keras.distribution` on JAX splits arrays, not programs: the one program sees the whole batch.
    """
    return 0, 1


def gathered(x: Any) -> Any:
    """Return the rows of all replicas, in their order; gradients go back to where rows came from.

    Called by all replicas, or by none.
    """
    return x


def is_between_replicas() -> bool:
    """Whether this is compiled for no replica, but for their shapes alone.

    Keras on TensorFlow does so before the first step under a strategy, with means of labels.
    """
    return False


def is_slow_in_groups() -> bool:
    """Whether gradients of grouped convolutions are better taken group by group, as on CPUs."""
    return bool(jax.default_backend() == "cpu")
