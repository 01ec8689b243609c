"""See what a network perceives: reconstruct its most confident mistakes from a layer.

    python examples/perceive.py --output runs/perception.png

Trains a small classifier on Fashion-MNIST (a subset is in the package), then a decoder that learns
to invert its last feature maps, and draws misclassified test images: where the network looks, the
reconstruction, and both combined. It takes about five minutes on two cores.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_dlcourse as kd


def main(output: str | Path = "runs/perception.png", epochs: int = 5) -> float:
    """Train, draw, and return the fraction of reconstructions predicted like their image."""
    keras.utils.set_random_seed(0)
    data = kd.data.load("fashion_mnist_small")
    model = classifier(data.image_shape, len(data.class_names))
    model.compile(
        keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(data.train, validation_data=data.validation, epochs=epochs, verbose=2)

    inverter = kd.explain.LatentInverter(model)  # inverts the feature maps that Grad-CAM uses
    inverter.compile(keras.optimizers.Adam(3e-3))
    inverter.fit(data.train, epochs=epochs, verbose=2)

    inputs, labels = data.test.prepare(data.test.x), data.test.y
    scores = model.predict(inputs, verbose=0)
    worst = kd.report.confident_mistakes(labels, scores, limit=6)
    black = float(data.normalization(np.zeros((1, 1, 1, 1), "uint8")).item())
    seen = kd.explain.perception_visualization(inverter, inputs[worst], baseline=black)
    names = data.class_names
    captions = [
        f"{names[label]} taken for {names[answer]}; what it sees: {names[again]}"
        for label, answer, again in zip(
            labels[worst], seen.answers, seen.answers_to_reconstructions, strict=True
        )
    ]
    figure = kd.report.draw_perception(
        data.test.x[worst],
        seen.maps,
        pixels(seen.reconstructions, data.normalization),
        pixels(seen.visualizations, data.normalization),
        captions,
    )
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    Path(output).write_bytes(kd.report.png_bytes(figure, dpi=100))
    whole = kd.explain.perception_visualization(inverter, inputs[:500])
    print(f"{whole.agreement:.1%} of 500 reconstructions get the same prediction as their image")
    print(output)
    return whole.agreement


def classifier(image_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build four convolutions, global average pooling and one Dense layer."""
    x = given = keras.Input(image_shape)
    for filters, strides in ((16, 1), (32, 2), (64, 2), (64, 1)):
        x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(given, layers.Dense(classes, activation="softmax")(x))


def pixels(inputs: np.ndarray, normalization: kd.data.Normalization) -> np.ndarray:
    """Invert the normalization."""
    values = inputs * np.asarray(normalization.std) + np.asarray(normalization.mean)
    return np.clip(np.round(values), 0, 255).astype("uint8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="runs/perception.png")
    parser.add_argument("--epochs", type=int, default=5)
    main(**vars(parser.parse_args()))
