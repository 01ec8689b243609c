"""Run as a script in a fresh process: FOLDER NAME..., writes what these parts answer there.

A name is that of a `.keras` file in the folder, or the id of a loss or metric case.
"""

import json
import sys
from pathlib import Path

import keras_dlcourse

# What a `.keras` file needs must be there without a further import of this package.
assert "keras" not in sys.modules, f"import keras_dlcourse {keras_dlcourse.__version__} got Keras"

import keras  # noqa: E402
import numpy as np  # noqa: E402

folder, names = Path(sys.argv[1]), sys.argv[2:]
errors, models, answers = {}, {}, {}
for name in names:
    try:
        if (folder / f"{name}.keras").exists():
            models[name] = keras.models.load_model(folder / f"{name}.keras")
    except Exception as error:
        errors[name] = repr(error)

from cases.losses import LOSSES  # noqa: E402
from cases.metrics import METRICS  # noqa: E402
from contract_kit import loss_gradient, measured, result, together  # noqa: E402


def answers_of(names: list[str]) -> dict[str, np.ndarray]:
    """One model for all is compiled in a fraction of the time that each takes by itself."""
    inputs = [keras.Input(models[name].input_shape[1:]) for name in names]
    outputs = {name: models[name](given) for name, given in zip(names, inputs, strict=True)}
    whole = keras.Model(inputs, outputs)
    given = [np.load(folder / f"{name}.inputs.npy") for name in names]
    if keras.backend.backend() != "jax":  # where each operation would be compiled by itself
        return {name: keras.ops.convert_to_numpy(y) for name, y in whole(given).items()}
    return whole.predict_on_batch(given)


for name, answer in together(list(models), answers_of).items():
    if isinstance(answer, Exception):
        errors[name] = repr(answer)
    else:
        answers[name] = answer
for loss in LOSSES:
    if loss.id in names:
        answers[f"{loss.id}.gradient"], answers[f"{loss.id}.value"] = loss_gradient(loss)
for metric in METRICS:
    if metric.id in names:
        answers[metric.id] = result(measured(metric))
np.savez(folder / f"{keras.backend.backend()}.npz", **answers)
print(json.dumps(errors))
