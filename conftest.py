"""What holds for every test and every example in a docstring."""

from __future__ import annotations

import random

import numpy as np
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start each from the same random numbers, alone or among others.

    Keras draws the seeds of weights and dropout from Python's generator. Its own function would
    also seed TensorFlow, which throws away all kernels that it has made so far.
    """
    random.seed(0)
    np.random.seed(0)
