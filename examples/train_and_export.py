"""Train a MobileNetV2 on real images and export two `.tflite` files that agree with Keras.

python examples/train_and_export.py [--epochs 12] [--output runs/example]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras

import keras_dlcourse as kd


def main(epochs: int, output: Path) -> None:
    keras.utils.set_random_seed(0)
    data = kd.data.load("fashion_mnist_small")
    model = kd.models.MobileNetV2(
        input_shape=data.image_shape, alpha=0.35, classes=data.class_names,
        preprocessing=data.normalization,
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        data.train,
        validation_data=data.validation,
        epochs=epochs,
        callbacks=[
            kd.callbacks.EarlyStopping(monitor="val_accuracy", patience=5),
            kd.callbacks.ClassActivationMaps(data.validation, output / "maps"),
        ],
    )
    for quantization in ("float32", "int8"):
        # The file takes RGB, as phones deliver it, and includes the conversion to gray.
        result = kd.export.to_tflite(
            model, output / f"model.{quantization}.tflite", quantization=quantization,
            calibration=data.train,
        )  # fmt: skip
        print(kd.export.verify(model, result, data.test))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--output", type=Path, default=Path("runs/example"))
    arguments = parser.parse_args()
    main(arguments.epochs, arguments.output)
