"""keras.applications, untouched: quantization-aware on Fashion-MNIST, and Keras beside the device.

For each network: operations left in float; the largest difference between Keras and the device
(ai-edge-litert, XNNPACK) in steps of the output, beside that between XNNPACK and the reference
kernels on the same file; and how often both name the same class. Outputs are logits. Each network
has a process of its own; `KD_APPLICATIONS=MobileNet,ResNet50` chooses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _figures import Figure

# Each with the size of its images, which its strides or its builder need at least.
NETWORKS = {
    "MobileNet": 64,
    "MobileNetV2": 64,
    "MobileNetV3Small": 64,
    "EfficientNetB0": 64,
    "ResNet50": 64,
    "DenseNet121": 64,
    "Xception": 72,
    "InceptionV3": 80,
    "NASNetMobile": 64,
}
TRAIN, TEST, BATCH = 4000, 256, 32
FLOAT_EPOCHS, AWARE_EPOCHS = 3, 1


def measure() -> list[Figure]:
    chosen = os.environ.get("KD_APPLICATIONS", ",".join(NETWORKS)).split(",")
    figures: list[Figure] = []
    for name in chosen:
        done = subprocess.run(
            [sys.executable, __file__, name], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.stderr.write(done.stderr[-2000:])
            raise RuntimeError(f"{name} failed")
        figures += _figures(name, json.loads(done.stdout.splitlines()[-1]))
        for figure in figures[-4:]:
            print(f"{figure.what}: {figure.value:.3g} {figure.unit} ({figure.detail})", flush=True)
    return figures


def _figures(name: str, found: dict[str, Any]) -> list[Figure]:
    trained = (
        f"{found['training_accuracy']:.1%} in training, {found['accuracy']:.1%} on test, "
        f"{found['device_accuracy']:.1%} on the device"
    )
    return [
        Figure(f"{name}: operations in float", found["islands"], "", 0, detail=trained),
        Figure(
            f"{name}: largest error, Keras to device", found["largest"], "steps",
            found["kernels"] + 2, detail=f"two kernels of the file: {found['kernels']:.0f} steps",
        ),
        Figure(
            f"{name}: outputs within one step", found["within"], "", 0.99, at_most=False,
            detail=f"two kernels of the file: {found['kernels_within']:.1%}",
        ),
        Figure(
            f"{name}: same top class", found["agreement"], "", 0.98, at_most=False,
            detail=f"two kernels of the file: {found['kernels_agreement']:.1%}",
        ),
    ]  # fmt: skip


def main(name: str) -> dict[str, Any]:
    """Train, quantize, export and compare one network."""
    import keras

    import keras_dlcourse as kd

    keras.utils.set_random_seed(0)
    x, y, x_test, y_test = _data(NETWORKS[name])
    model = getattr(keras.applications, name)(
        input_shape=x.shape[1:], weights=None, classes=10, classifier_activation=None
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # 0.99 and 0.999 need longer runs than this one
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    history = model.fit(x, y, batch_size=BATCH, epochs=FLOAT_EPOCHS, verbose=0).history
    aware = kd.quantize.quantization_aware(model)
    aware.compile(keras.optimizers.Adam(1e-4), loss, metrics=["accuracy"])
    history = aware.fit(x, y, batch_size=BATCH, epochs=AWARE_EPOCHS, verbose=0).history
    with tempfile.TemporaryDirectory() as folder:
        result = kd.export.to_tflite(
            aware, Path(folder) / "model.tflite", preprocessing=kd.data.Normalization(127.5, 127.5)
        )
        content = result.path.read_bytes()
    ours = aware.predict(x_test, batch_size=BATCH, verbose=0)
    device, step = _run(content, x_test, reference=False)
    reference, _ = _run(content, x_test, reference=True)
    error, kernels = np.abs(ours - device) / step, np.abs(device - reference) / step
    top = ours.argmax(1)
    return {
        "training_accuracy": history["accuracy"][-1],
        "accuracy": float(np.mean(top == y_test)),
        "device_accuracy": float(np.mean(device.argmax(1) == y_test)),
        "islands": len(result.float_islands),
        "largest": float(error.max()),
        "kernels": float(kernels.max()),
        "within": float(np.mean(error <= 1.001)),
        "kernels_within": float(np.mean(kernels <= 1.001)),
        "agreement": float(np.mean(top == device.argmax(1))),
        "kernels_agreement": float(np.mean(device.argmax(1) == reference.argmax(1))),
    }


def _data(size: int) -> tuple[np.ndarray, ...]:
    """Fashion-MNIST, resized, in three channels from 0 to 255 or as the network wants them."""
    import keras

    import keras_dlcourse as kd

    data = kd.data.load("fashion_mnist_small")

    def images(pixels: np.ndarray) -> np.ndarray:
        large = keras.ops.image.resize(pixels.astype("float32"), (size, size))
        return np.repeat(keras.ops.convert_to_numpy(large) / 127.5 - 1, 3, axis=-1)

    return (
        images(data.train.x[:TRAIN]),
        np.asarray(data.train.y[:TRAIN]),
        images(data.test.x[:TEST]),
        np.asarray(data.test.y[:TEST]),
    )


def _run(content: bytes, x: np.ndarray, reference: bool) -> tuple[np.ndarray, float]:
    """Run an integer file on ai-edge-litert, with its default or its reference kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    runtime = Interpreter(model_content=content, experimental_op_resolver_type=kind)
    runtime.allocate_tensors()
    given, returned = runtime.get_input_details()[0], runtime.get_output_details()[0]
    (scale, zero), (step, out_zero) = given["quantization"], returned["quantization"]
    codes = np.clip(np.floor(x / scale + 0.5) + zero, 0, 255).astype("uint8")
    outputs = []
    for row in codes:
        runtime.set_tensor(given["index"], row[None])
        runtime.invoke()
        outputs.append(runtime.get_tensor(returned["index"])[0])
    return (np.asarray(outputs, "float32") - out_zero) * step, step


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
