"""What `to_tflite` costs beside `model.export` and the bare converter, MobileNetV2 1.0 at 224."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from _figures import Figure, in_turn, ratio

import keras_dlcourse as kd

ROUNDS = 3
LABELS = [f"class {number}" for number in range(1000)]


def measure() -> list[Figure]:
    keras.utils.set_random_seed(0)
    model = kd.models.MobileNetV2(input_shape=(224, 224, 3))
    pixels = np.random.default_rng(0).integers(0, 256, (110, 224, 224, 3)).astype("uint8")
    normalization = kd.data.Normalization(127.5, 127.5)
    data = kd.data.pipeline(pixels, np.zeros(110, int), normalization=normalization)
    inputs = normalization(pixels)
    folder = Path(tempfile.mkdtemp())
    figures = []
    for quantization, rounds in (("float32", ROUNDS), ("int8", 2)):
        calibration = data if quantization == "int8" else None

        def ours(quantization: str = quantization, calibration: object = calibration) -> None:
            kd.export.to_tflite(
                model, folder / "ours.tflite", quantization=quantization, calibration=calibration,
                labels=LABELS, preprocessing=normalization,
            )  # fmt: skip

        def bare(calibration: object = calibration) -> None:
            _bare(model, folder / "bare.tflite", inputs if calibration is not None else None)

        ours(), bare()  # the first of each pays for imports
        times = in_turn(ours, bare, rounds=rounds)
        figures.append(
            ratio(f"to_tflite {quantization} / model.export + bare converter", *times, 1.1)
        )
    sizes = [(folder / name).stat().st_size for name in ("ours.tflite", "bare.tflite")]
    kd.export.to_tflite(
        model, folder / "float32.tflite", labels=LABELS, preprocessing=normalization
    )
    float_size = (folder / "float32.tflite").stat().st_size
    figures.append(
        Figure(
            "size of float32 / int8, MobileNetV2 1.0 at 224",
            float_size / sizes[0],
            "x",
            3.3,
            at_most=False,
            detail=f"{float_size:,} against {sizes[0]:,} bytes",
        )  # fmt: skip
    )
    shutil.rmtree(folder)
    return figures


def _bare(model: keras.Model, path: Path, inputs: np.ndarray | None) -> None:
    """Convert as the documentation of Keras and TensorFlow has it, the same examples included."""
    with tempfile.TemporaryDirectory() as folder:
        model.export(
            folder,
            verbose=False,
            input_signature=[keras.InputSpec(dtype="float32", shape=(1, 224, 224, 3))],
        )
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if inputs is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            # to_tflite adds a black and a white image to the examples
            examples = np.concatenate([inputs, -np.ones_like(inputs[:1]), np.ones_like(inputs[:1])])
            converter.representative_dataset = lambda: (
                [examples[i : i + 1]] for i in range(len(examples))
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        path.write_bytes(converter.convert())
