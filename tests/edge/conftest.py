"""Tiny `.tflite` files, each made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tflite_files import Network, describe


@pytest.fixture(scope="session")
def network() -> Network:
    return Network()


@pytest.fixture(scope="session")
def plain() -> Callable[..., bytes]:
    """Files of the converter, without metadata, each made once."""
    made: dict[Any, bytes] = {}

    def convert(io_type: str = "float32", batch: int | None = 1, **network: Any) -> bytes:
        key = (io_type, batch, *sorted(network.items()))
        if key not in made:
            made[key] = Network(**network).convert(io_type, batch)
        return made[key]

    return convert


@pytest.fixture(scope="session")
def described(plain: Callable[..., bytes]) -> Callable[..., bytes]:
    """Files with standard metadata, by the schema's generated classes."""
    return lambda io_type="float32", batch=1, **network: describe(plain(io_type, batch, **network))


@pytest.fixture(scope="session")
def embedding() -> Network:
    return Network(head="unit")


@pytest.fixture(scope="session")
def embedder_file(plain: Callable[..., bytes]) -> Callable[..., bytes]:
    """Files that give a vector of length 1, with standard metadata, which name no classes."""
    return lambda io_type="float32", batch=1: describe(
        plain(io_type, batch, head="unit"), labels=None
    )
