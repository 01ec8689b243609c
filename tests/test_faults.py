"""The short form of `python benchmarks faults`: real kills, real damage, nothing lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import faults


def values(figures: list) -> dict[str, float]:
    return {figure.what: figure.value for figure in figures}


@pytest.mark.skipif(not hasattr(faults.os, "fork"), reason="kills a forked process")
def test_kills_while_saving() -> None:
    for seed in range(50):
        found = values(faults.kills_while_saving(8, seed, sizes=((2, 1.0),)))
        assert found["checkpoints of 2 MB lost to kills while saving: ours"] == 0
        if found["checkpoints of 2 MB lost to kills while saving: Keras"] > 0:
            break
    else:
        pytest.fail("the kills came at no moment that matters")


def test_damage() -> None:
    found = values(faults.damage(90))
    assert found["damaged checkpoints that pass the manifest"] == 0
    assert found["damaged .keras files that kd.load opens with other weights, no manifest"] == 0


@pytest.mark.release
def test_kills_in_training() -> None:
    figures = faults.kills_in_training(2, words=("--epochs", "2", "--images", "600"))
    assert all(figure.kept for figure in figures), figures
