"""What holds for every test and every example in a docstring."""

from __future__ import annotations

import gc
import random

import numpy as np
import pytest

pytest_plugins = ["processor_time"]  # tests/processor_time.py


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start each from the same random numbers, alone or among others.

    Keras draws the seeds of weights and dropout from Python's generator. Its own function would
    also seed TensorFlow, which throws away all kernels that it has made so far.
    """
    random.seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True, scope="module")
def no_model_outlives_its_file():
    """Models hold themselves in circles, which Python collects too late for a process of hours.

    What is left is imported, or kept by TensorFlow, and never becomes garbage. Each conversion and
    each fit of a search collects garbage: walking through that million objects was a third of the
    time of a small conversion. At the end of a file its last test would still hold its models.
    """
    gc.collect()
    gc.freeze()
