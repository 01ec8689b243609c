"""Quantize an unmodified keras.applications network and run it on three device runtimes.

python examples/quantize_mobilenet.py [--images 6000] [--epochs 4] [--output quantized]

Trains `keras.applications.MobileNetV2` on Fashion-MNIST, continues with quantization-aware
training, exports an all-integer file, and classifies the same images with ai-edge-litert,
tflite-runtime (if `KD_RUNTIME_PYTHON` names an interpreter that has it:
`pip install 'keras-dlcourse[tflite-runtime]'`) and TensorFlow Lite Micro
(`pip install 'keras-dlcourse[micro]'`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

import keras_dlcourse as kd

SIZE, SHOWN = 32, 200

# The script for the device: no Keras, no TensorFlow.
ON_DEVICE = """
import json, sys
import numpy as np
from keras_dlcourse.edge import ImageClassifier
classifier = ImageClassifier(sys.argv[1], threads=1)
labels = classifier.scores(np.load(sys.argv[2])).argmax(1).tolist()
print(json.dumps([classifier.runtime, labels]))
"""


def main(images: int, epochs: int, output: Path) -> dict[str, list[int]]:
    keras.utils.set_random_seed(0)
    output.mkdir(parents=True, exist_ok=True)
    data = kd.data.load("fashion_mnist_small")
    normalization = kd.data.Normalization(127.5, 127.5)  # -1 to 1, as in the network's paper
    x, y = pixels(data.train.x[:images]), np.asarray(data.train.y[:images])
    train = kd.data.pipeline(x, y, batch_size=32, shuffle=True, normalization=normalization)
    test = kd.data.pipeline(
        pixels(data.test.x), np.asarray(data.test.y), batch_size=100, normalization=normalization
    )

    model = keras.applications.MobileNetV2((SIZE, SIZE, 3), alpha=0.35, weights=None, classes=10)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # the original 0.999 needs tens of thousands of steps
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(train, epochs=epochs)

    aware = kd.quantize.quantization_aware(model)
    aware.compile(
        keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    aware.fit(train, epochs=1)
    result = kd.export.to_tflite(
        aware, output / "model.int8.tflite", labels=data.class_names, preprocessing=normalization
    )
    print(result)
    print(f"float model: {model.evaluate(test, verbose=0)[1]:.2%} of the test images")
    print(kd.export.verify(aware, result, test))
    print(kd.export.preflight(result))

    shown = output / "images.npy"
    np.save(shown, test.x[:SHOWN])
    labels = dict(on_linux_board(result.path, shown, python) for python in pythons())
    labels["tflite-micro"] = on_microcontroller(result.path, np.load(shown))
    first = next(iter(labels.values()))
    for runtime, named in labels.items():
        same = np.mean(np.array(named) == np.array(first))
        right = np.mean(np.array(named) == np.asarray(test.y[:SHOWN]))
        print(f"{runtime}: {right:.1%} right, {same:.1%} the same as on the first")
    return labels


def pixels(images: np.ndarray) -> np.ndarray:
    """Return uint8 images in the network's size with three channels, as from a camera."""
    large = keras.ops.image.resize(images.astype("float32"), (SIZE, SIZE))
    whole = np.round(keras.ops.convert_to_numpy(large)).astype("uint8")
    return np.repeat(whole, 3, axis=-1)


def pythons() -> list[str]:
    """Return the interpreters to use: this one, and the one with tflite-runtime if given."""
    return [sys.executable, *filter(None, [os.environ.get("KD_RUNTIME_PYTHON")])]


def on_linux_board(path: Path, images: Path, python: str) -> tuple[str, list[int]]:
    """Classify in a separate process with `keras_dlcourse.edge` and a runtime."""
    package = Path(kd.__file__).parents[1]
    done = subprocess.run(
        [python, "-c", ON_DEVICE, str(path), str(images)],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    runtime, labels = json.loads(done.stdout.splitlines()[-1])
    return runtime, labels


def on_microcontroller(path: Path, images: np.ndarray) -> list[int]:
    """Classify with TensorFlow Lite Micro; the uint8 pixels are the quantized input."""
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=4 << 20)
    labels = []
    for image in images:
        interpreter.set_input(image[None], 0)
        interpreter.invoke()
        labels.append(int(interpreter.get_output(0).argmax()))
    return labels


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path("quantized"))
    arguments = parser.parse_args()
    main(arguments.images, arguments.epochs, arguments.output)
