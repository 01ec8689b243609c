"""What `ImageClassifier.classify` costs beside the bare interpreter, MobileNetV2 1.0 at 224."""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np
from _figures import Figure, in_turn, ratio
from ai_edge_litert.interpreter import Interpreter

import keras_dlcourse as kd

ROUNDS, CALLS = 15, 20


def measure() -> list[Figure]:
    keras.utils.set_random_seed(0)
    model = kd.models.MobileNetV2(input_shape=(224, 224, 3))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (110, 224, 224, 3)).astype("uint8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        kd.export.to_tflite(
            model, path, quantization="int8", labels=[f"class {n}" for n in range(1000)],
            calibration=kd.data.pipeline(
                pixels, np.zeros(110, int), normalization=kd.data.Normalization(127.5, 127.5)
            ),
        )  # fmt: skip
        classifier = kd.edge.ImageClassifier(path, threads=1)
        bare = Interpreter(model_content=path.read_bytes(), num_threads=1)
    bare.allocate_tensors()
    given, scores = bare.get_input_details()[0]["index"], bare.get_output_details()[0]["index"]
    image = pixels[0]

    def interpreter() -> np.ndarray:
        bare.set_tensor(given, image[None])
        bare.invoke()
        return bare.get_tensor(scores)

    ours = classifier.scores(image[None])[0]
    expected = interpreter()[0]
    if int(np.argmax(ours)) != int(np.argmax(expected)):
        raise RuntimeError("the two sides do not compute the same")
    times = in_turn(
        lambda: classifier.classify(image, max_results=3), interpreter, rounds=ROUNDS, calls=CALLS
    )
    return [ratio("classify(uint8 array) / bare interpreter, one thread", *times, 1.05)]
