"""Every part, saved once and loaded again in one fresh process for each installed backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from contract_cases import LAYERS, LOADED_ELSEWHERE, MODELS
from contract_kit import answers, images, model_of, randomise, reload_elsewhere

import keras_dlcourse as kd


@pytest.fixture(scope="module")
def saved_parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save each layer or each model with random weights, inputs and what it answers to them."""
    folder = tmp_path_factory.mktemp("parts")
    if request.module.__name__ == "test_layer_contract":
        models = {
            case.id: model_of(case.layer(**case.arguments), case.input_shape) for case in LAYERS
        }
    else:
        models = {case.id: kd.models.build(case.name, **case.small) for case in MODELS}
    for name, model in models.items():
        randomise(model)
        inputs = images(model.input_shape[1:])
        model.save(folder / f"{name}.keras")
        np.save(folder / f"{name}.inputs.npy", inputs)
        np.save(folder / f"{name}.expected.npy", answers(model, inputs))
    return folder


@pytest.fixture(scope="module")
def reloaded(
    request: pytest.FixtureRequest, saved_parts: Path
) -> Callable[[str, str], tuple[np.ndarray, np.ndarray]]:
    """Return a function of a part's id and a backend: what is expected, and what came there."""
    is_of_models = request.module.__name__ == "test_model_contract"
    errors: dict[str, dict[str, str]] = {}

    def both(name: str, backend: str) -> tuple[np.ndarray, np.ndarray]:
        if backend not in errors:
            elsewhere = is_of_models and backend != "tensorflow"
            errors[backend] = reload_elsewhere(
                saved_parts, backend, LOADED_ELSEWHERE if elsewhere else ()
            )
        assert name not in errors[backend], errors[backend][name]
        return (
            np.load(saved_parts / f"{name}.expected.npy"),
            np.load(saved_parts / f"{name}.{backend}.npy"),
        )

    return both
