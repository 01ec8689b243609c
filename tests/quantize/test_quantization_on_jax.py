"""Train quantization-aware on JAX, export on TensorFlow: the numbers stay the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from quantized_models import device

import keras_dlcourse as kd

TRAIN = """
import sys
import keras, numpy as np
import keras_dlcourse as kd
from quantized_models import BODIES, inputs, network

assert keras.backend.backend() == "jax"
keras.utils.set_random_seed(0)
x = inputs(64)
y = (x[:, :6].mean((1, 2, 3)) > x[:, 6:].mean((1, 2, 3))).astype("int32")
model = kd.quantize.quantization_aware(network(BODIES["squeeze_excite"]))
model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(True))
losses = model.fit(x, y, epochs=6, verbose=0).history["loss"]
assert losses[-1] < losses[0], losses
assert all(layer.is_observed for layer in model.layers if hasattr(layer, "is_observed"))
model.save(sys.argv[1] + "/model.keras")
np.save(sys.argv[1] + "/outputs.npy", model.predict(x, verbose=0))
"""


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports on TensorFlow")
def test_trained_on_jax_runs_as_integers(tmp_path: Path) -> None:
    from quantized_models import inputs

    pytest.importorskip("jax")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", TRAIN, str(tmp_path)], env=environment, check=True)
    model = keras.saving.load_model(tmp_path / "model.keras")
    x, expected = inputs(64), np.load(tmp_path / "outputs.npy")
    near = model.predict(x, verbose=0)
    scale = next(y for y in model.layers if y.name == "scores_range").range()
    step = (scale[1] - scale[0]) / 255
    # Sums in another order tip a few numbers that lie between two codes.
    assert np.abs(near - expected).max() <= 2.01 * step
    assert np.mean(np.abs(near - expected) < 0.01 * step) > 0.9
    result = kd.export.to_tflite(model, tmp_path / "model.tflite")
    assert not result.float_islands
    theirs, step = device(result.path, x)
    assert np.abs(theirs - near).max() <= 2.01 * step
