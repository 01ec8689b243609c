"""Gradients, search in sorted rows, and replicas with PyTorch. Nothing is compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from keras import ops, tree


def gradient(function: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """Return a function that computes the gradient w.r.t. the first argument; see `jax`."""

    def run(x: Any, *rest: Any) -> tuple[Any, Any]:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            value, aside = function(x, *rest)
            found = None
            if value.requires_grad:  # otherwise it does not depend on x
                (found,) = torch.autograd.grad(value, [x], allow_unused=True)
        # Returned tensors are detached, because a graph would keep all intermediate results alive.
        aside = tree.map_structure(_detach, aside)
        return torch.zeros_like(x) if found is None else found, aside

    return run


def compiled(function: Callable[..., Any], variables: Sequence[Any]) -> Callable[..., Any]:
    """Return a function that takes arrays; see `jax`."""

    def run(*arrays: Any) -> Any:
        with torch.no_grad():
            return function(*[ops.convert_to_tensor(array) for array in arrays])

    return run


def is_known(x: Any) -> bool:
    """Return whether the values of a tensor are available now; see `jax`."""
    return x.device.type != "meta" and not torch.compiler.is_compiling()


def take_by_row(x: Any, indices: Any) -> Any:
    """Take values from each row of a matrix; see `jax`."""
    return torch.gather(x, 1, indices.long())


def search_by_row(ascending: Any, values: Any, side: str) -> Any:
    """Return the insertion index of each value in each row of a sorted matrix; see `jax`."""
    return torch.searchsorted(ascending, values.contiguous(), side=side, out_int32=True)


def replica() -> tuple[Any, int]:
    """Return the index of this process, and the number of processes; see `jax`."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def gathered(x: Any) -> Any:
    """Return the rows of all processes, in order. All must have equally many rows; see `jax`."""
    from torch.distributed.nn.functional import all_gather

    return torch.cat(list(all_gather(x.contiguous())))


def is_between_replicas() -> bool:
    """Return whether this runs outside of replicas, only to determine shapes; see `jax`."""
    return False


def _detach(part: Any) -> Any:
    return part.detach() if isinstance(part, torch.Tensor) else part


def is_slow_in_groups() -> bool:
    """Return whether gradients of grouped convolutions are faster group by group, as on CPUs."""
    return False


def accelerators() -> list[str]:
    """Return the names of the GPUs and other accelerators, empty if there are only CPUs."""
    names = [torch.cuda.get_device_name(one) for one in range(torch.cuda.device_count())]
    return names or (["Apple GPU"] if torch.backends.mps.is_available() else [])


def list_devices() -> NoReturn:
    """Raise ValueError: Keras on PyTorch trains on one device."""
    raise ValueError(
        "devices must be None on PyTorch, where Keras trains on one device. Received: 'all'. "
        "Set KERAS_BACKEND=jax or tensorflow, or wrap the model in "
        "torch.nn.parallel.DistributedDataParallel in a training loop of your own."
    )


def share_batches(devices: Sequence[str]) -> NoReturn:
    """Raise ValueError; see `list_devices`."""
    list_devices()
