"""Gradients by PyTorch; nothing is compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from keras import ops


def gradient(function: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """Return a function that gives the gradient by the first argument; see `jax`."""

    def run(x: Any, *rest: Any) -> tuple[Any, Any]:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            value, aside = function(x, *rest)
            (found,) = torch.autograd.grad(value, [x], allow_unused=True)
        return torch.zeros_like(x) if found is None else found, aside

    return run


def compiled(function: Callable[..., Any], variables: Sequence[Any]) -> Callable[..., Any]:
    """Return a function that takes arrays; see `jax`."""

    def run(*arrays: Any) -> Any:
        with torch.no_grad():
            return function(*[ops.convert_to_tensor(array) for array in arrays])

    return run
