"""Export a Keras 2 model trained with tensorflow-model-optimization, and verify the file.

tensorflow-model-optimization works only with Keras 2 and enables it for the whole process, so this
part runs in a separate environment and writes a SavedModel:

    python -m venv tfmot-env
    tfmot-env/bin/pip install tensorflow tensorflow-model-optimization tf_keras
    python examples/tfmot_to_device.py --python tfmot-env/bin/python
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import numpy as np

import keras_dlcourse as kd

# The script for that environment: quantization-aware training, then a SavedModel.
TRAIN = """
import sys

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras as keras

data, folder, epochs = np.load(sys.argv[1]), sys.argv[2], int(sys.argv[3])
layers = keras.layers
model = keras.Sequential([
    layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, input_shape=(28, 28, 1)),
    layers.BatchNormalization(momentum=0.9),
    layers.ReLU(6.0),
    layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False),
    layers.BatchNormalization(momentum=0.9),
    layers.ReLU(6.0),
    layers.Conv2D(32, 1),
    layers.ReLU(6.0),
    layers.GlobalAveragePooling2D(),
    layers.Dense(10),
    layers.Softmax(),
])
model = tfmot.quantization.keras.quantize_model(model)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(data["x"], data["y"], batch_size=32, epochs=epochs, verbose=2)
model.save(folder)
"""


def main(python: str, output: Path, epochs: int = 10) -> None:
    data = kd.data.load("fashion_mnist_small")
    output.mkdir(parents=True, exist_ok=True)
    x = data.normalization(data.train.x[:]).astype("float32")
    np.savez(output / "train.npz", x=x, y=data.train.y)
    script, saved = output / "train.py", output / "saved_model"
    script.write_text(TRAIN)
    subprocess.run([python, script, output / "train.npz", saved, str(epochs)], check=True)

    # From here on it is the same as for a Keras 3 model. The ranges were learned in training, so no
    # calibration data is needed.
    result = kd.export.to_tflite(
        saved,
        output / "model.int8.tflite",
        quantization="int8",
        labels=data.class_names,
        preprocessing=data.normalization,
    )
    print(result)
    print(kd.export.verify(saved, result, data.test))
    print(kd.export.preflight(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="Python interpreter of that environment")
    parser.add_argument("--output", type=Path, default=Path("runs/tfmot"))
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    main(arguments.python, arguments.output, arguments.epochs)
