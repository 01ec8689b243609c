"""What holds for every test."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

# XLA ends the process on a flag that it does not know: pyproject.toml names the version of JAX.
QUICK_TO_COMPILE = [
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
]

# A busy machine is no failure; and CI tries the same examples each time, half as many as others do.
# JAX compiles for each shape: of those that differ by backend some are enough.
IN_CI = "CI" in os.environ
ON_JAX = os.environ.get("KERAS_BACKEND") == "jax"
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=IN_CI,
    max_examples=100 if not IN_CI else 15 if ON_JAX else 50,
)
settings.load_profile("steady")


def pytest_configure(config: pytest.Config) -> None:
    """Let XLA compile the thousands of tiny programs of the quick tests without optimizing.

    That takes a third of the time. `-m slow` and `-m release` train, which takes longer so.
    """
    if config.option.markexpr not in ("slow", "release"):
        os.environ.setdefault("XLA_FLAGS", " ".join(QUICK_TO_COMPILE))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest test first: at the end, one process would wait for it."""
    items.sort(key=lambda item: "test_training_quickstart" not in item.nodeid)


# A script's background job is born with Ctrl-C ignored, and so would be all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
