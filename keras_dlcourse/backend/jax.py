"""Gradients and compiling by JAX."""

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
