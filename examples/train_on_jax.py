"""Train on JAX, without TensorFlow, then export the `.keras` file with TensorFlow.

KERAS_BACKEND=jax python examples/train_on_jax.py [--epochs 12] [--images N] [--mixed]
keras-dlcourse export model.keras -o model.tflite          # where TensorFlow is installed
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

import keras_dlcourse as kd


def main(epochs: int, images: int | None, output: Path, mixed: bool) -> None:
    if mixed:
        keras.config.set_dtype_policy("mixed_bfloat16")
    keras.utils.set_random_seed(0)
    data = kd.data.load("fashion_mnist_small")
    # The normalization is recorded in the model, so the export does not need it.
    model = kd.models.MobileNetV2(
        input_shape=data.image_shape, alpha=0.35, classes=data.class_names,
        preprocessing=data.normalization,
    )  # fmt: skip
    train = kd.data.pipeline(
        data.train.x[:images], data.train.y[:images], shuffle=True, normalization=data.normalization
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        train,
        validation_data=data.validation,
        epochs=epochs,
        callbacks=[kd.callbacks.EarlyStopping(monitor="val_accuracy", patience=5)],
    )
    model.save(output)
    accuracy = model.evaluate(data.test, return_dict=True, verbose=0)["accuracy"]
    print(f"{output}: {accuracy:.4f} on the test images, on {keras.backend.backend()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--images", type=int, help="number of training images; all by default")
    parser.add_argument("--output", type=Path, default=Path("model.keras"))
    parser.add_argument("--mixed", action="store_true", help="mixed precision, bfloat16")
    arguments = parser.parse_args()
    main(arguments.epochs, arguments.images, arguments.output, arguments.mixed)
