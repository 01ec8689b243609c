"""The peer of `quantization_cost.py`: tensorflow-model-optimization on Keras 2, timed alike.

Runs in an environment of its own: `pip install tensorflow tf_keras tensorflow-model-optimization`.
"""

import json
import os
import statistics
import sys
import time

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras


def main(data: str, weights: str, rounds: int) -> dict[str, float]:
    arrays = np.load(data)
    x, y, x_test, y_test = (arrays[name] for name in ("x", "y", "x_test", "y_test"))
    model = keras.applications.MobileNetV2(
        x.shape[1:], alpha=0.35, weights=None, classes=10, classifier_activation=None
    )
    stored = np.load(weights)
    model.set_weights([stored[f"arr_{number}"] for number in range(len(stored.files))])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    started = time.perf_counter()
    aware = tfmot.quantization.keras.quantize_model(model)
    prepare = time.perf_counter() - started
    for network in (model, aware):
        network.compile(keras.optimizers.Adam(1e-4), loss, metrics=["accuracy"])
        network.fit(x[:64], y[:64], verbose=0)
    times = ([], [])
    for _ in range(rounds):
        for network, seconds in zip((model, aware), times, strict=True):
            started = time.perf_counter()
            network.fit(x, y, shuffle=False, verbose=0)
            seconds.append(time.perf_counter() - started)

    started = time.perf_counter()
    converter = tf.lite.TFLiteConverter.from_keras_model(aware)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content = converter.convert()
    convert = time.perf_counter() - started
    return {
        "prepare": prepare,
        "ratio": statistics.median(times[1]) / statistics.median(times[0]),
        "epoch": statistics.median(times[1]),
        "convert": convert,
        "bytes": len(content),
        "accuracy": _accuracy(content, x_test, y_test),
    }


def _accuracy(content: bytes, x: np.ndarray, y: np.ndarray) -> float:
    runtime = tf.lite.Interpreter(model_content=content)
    runtime.allocate_tensors()
    given, returned = runtime.get_input_details()[0], runtime.get_output_details()[0]
    right = 0
    for image, label in zip(x, y, strict=True):
        runtime.set_tensor(given["index"], image[None])
        runtime.invoke()
        right += int(runtime.get_tensor(returned["index"])[0].argmax() == label)
    return right / len(y)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
