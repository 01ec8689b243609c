"""Every public part of the package has a row in the tables of `cases`."""

from __future__ import annotations

import importlib
import importlib.util

import pytest
from cases.walked import NOT_PARTS, WALKED

PARTS = [part for part in WALKED if importlib.util.find_spec(f"keras_dlcourse.{part}") is not None]


def _uncovered(part: str) -> list[str]:
    """Return the public names of a part that have neither a case nor a reason for having none."""
    module = importlib.import_module(f"keras_dlcourse.{part}")
    return [
        f"{module.__name__}.{name}"
        for name in module.__all__
        if getattr(module, name) not in WALKED[part]
        and f"{module.__name__}.{name}" not in NOT_PARTS
    ]


@pytest.mark.parametrize("part", PARTS)
def test_every_public_part_has_a_contract_case(part: str) -> None:
    assert not _uncovered(part), "add a row to tests/contracts/cases/"


def test_a_part_without_a_case_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk itself: a new public layer without a row must be reported."""
    layers = importlib.import_module("keras_dlcourse.layers")
    monkeypatch.setattr(layers, "Forgotten", type("Forgotten", (), {}), raising=False)
    monkeypatch.setattr(layers, "__all__", [*layers.__all__, "Forgotten"])
    assert _uncovered("layers") == ["keras_dlcourse.layers.Forgotten"]


def test_every_family_of_models_has_a_contract_case() -> None:
    """Variants are rows of a family's table: one file a family."""
    from cases.models import MODELS

    from keras_dlcourse.models.registry import _BUILDERS

    families = {builder.__module__ for builder in _BUILDERS.values()}
    assert {case.builder.__module__ for case in MODELS} == families
    assert {case.name for case in MODELS} <= set(_BUILDERS)


def test_exceptions_still_exist() -> None:
    for path in NOT_PARTS:
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), f"{path} is gone: remove its row"
