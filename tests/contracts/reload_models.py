"""Run as a script in a fresh process: load every model of a folder and write what it answers."""

import json
import sys
from pathlib import Path

import keras_dlcourse

# What a `.keras` file needs must be there without a further import of this package.
assert "keras" not in sys.modules, f"import keras_dlcourse {keras_dlcourse.__version__} got Keras"

import keras  # noqa: E402
import numpy as np  # noqa: E402

errors = {}
for path in sorted(Path(sys.argv[1]).glob("*.keras")):
    stem = path.with_suffix("")
    if len(sys.argv) > 2 and path.stem not in sys.argv[2:]:
        continue
    try:
        model = keras.models.load_model(path)
        outputs = model.predict_on_batch(np.load(f"{stem}.inputs.npy"))  # compiled, as a whole
        np.save(f"{stem}.{keras.backend.backend()}.npy", outputs)
    except Exception as error:
        errors[path.stem] = repr(error)
print(json.dumps(errors))
