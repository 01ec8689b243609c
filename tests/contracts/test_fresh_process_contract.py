"""Every part in a fresh process, on each installed backend: files open, and numbers are the same.

One process for a backend does it for all parts: to start it costs more than what it computes. The
run on TensorFlow tries all other backends, and so runs on them need not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from cases.layers import LAYERS
from cases.losses import LOSSES
from cases.metrics import METRICS
from cases.models import LOADED_ELSEWHERE, MODELS
from contract_kit import (
    BACKENDS,
    answers,
    images,
    loss_gradient,
    measured,
    model_of,
    randomise,
    relative_error,
    result,
)

import keras_dlcourse as kd

OTHERS = [name for name in BACKENDS if name != "tensorflow"]
LAYER_IDS, MODEL_IDS = ([case.id for case in cases] for cases in (LAYERS, MODELS))
# Of the models some: their layers are all loaded there, each by itself.
FILES = {backend: [*LAYER_IDS, *LOADED_ELSEWHERE] for backend in OTHERS}
FILES["tensorflow"] = [*LAYER_IDS, *MODEL_IDS]
NUMBERS = [case.id for case in (*LOSSES, *METRICS)]
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the run on TensorFlow tries every backend"
)


@pytest.fixture(scope="module")
def saved_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save layers and models with random weights, inputs and what they answer to them."""
    folder = tmp_path_factory.mktemp("parts")
    models = {case.id: model_of(case.layer(**case.arguments), case.input_shape) for case in LAYERS}
    for case in MODELS:
        if case.id in FILES[keras.backend.backend()]:
            models[case.id] = kd.models.build(case.name, **case.small)
    for name, model in models.items():
        randomise(model)
        inputs = images(model.input_shape[1:])
        model.save(folder / f"{name}.keras")
        np.save(folder / f"{name}.inputs.npy", inputs)
        np.save(folder / f"{name}.expected.npy", answers(model, inputs))
    return folder


@pytest.fixture(scope="module")
def elsewhere(saved_parts: Path) -> dict[str, tuple[dict[str, str], Any]]:
    """Return for each backend the errors in a fresh process, and what came there."""

    def run(backend: str) -> tuple[dict[str, str], Any]:
        names = [*FILES[backend], *(NUMBERS if backend in OTHERS else ())]
        script = Path(__file__).with_name("in_fresh_process.py")
        done = subprocess.run(
            [sys.executable, script, saved_parts, *names],
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        errors = json.loads(done.stdout.splitlines()[-1])
        return errors, dict(np.load(saved_parts / f"{backend}.npz"))

    return {backend: run(backend) for backend in FILES}


@pytest.mark.parametrize("name", FILES[keras.backend.backend()])
def test_a_file_from_a_stranger_opens(name: str, saved_parts: Path) -> None:
    loaded = kd.load(saved_parts / f"{name}.keras")
    inputs, expected = (np.load(saved_parts / f"{name}.{k}.npy") for k in ("inputs", "expected"))
    np.testing.assert_array_equal(answers(loaded, inputs), expected)


@on_tensorflow
@pytest.mark.parametrize(
    ("name", "backend"), [(name, backend) for backend in FILES for name in FILES[backend]]
)
def test_saved_file_answers_the_same(
    name: str, backend: str, saved_parts: Path, elsewhere: Any
) -> None:
    errors, found = elsewhere[backend]
    assert name not in errors, errors[name]
    expected = np.load(saved_parts / f"{name}.expected.npy")
    # Backends sum in different orders; float32 keeps about 7 digits, and models have up to 54
    # convolutions.
    assert relative_error(found[name], expected) < (1e-4 if name in MODEL_IDS else 1e-5)


@on_tensorflow
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.id)
def test_same_loss_on_every_backend(case: Any, other: str, elsewhere: Any) -> None:
    """Values and gradients: these are computed with other kernels in another order."""
    _, found = elsewhere[other]
    gradient, value = loss_gradient(case)
    assert float(found[f"{case.id}.value"]) == pytest.approx(float(value), rel=1e-5)
    theirs = found[f"{case.id}.gradient"]
    np.testing.assert_allclose(theirs, gradient, atol=1e-4 * np.abs(gradient).max())


@on_tensorflow
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("case", METRICS, ids=lambda case: case.id)
def test_same_metric_on_every_backend(case: Any, other: str, elsewhere: Any) -> None:
    _, found = elsewhere[other]
    np.testing.assert_allclose(found[case.id], result(measured(case)), rtol=1e-6)
