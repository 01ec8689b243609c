"""What tests of callbacks share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def broken_off() -> Iterator[None]:
    """Clean up after a fit that was broken off, at once.

    It leaves an iterator of tf.data whose thread looks whether it is to end, and the more seldom
    the older it is: all of a file together were waited for longer than their tests took.
    """
    yield
    gc.collect()
