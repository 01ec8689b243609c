"""Run a `.tflite` file as a device does: NumPy, Pillow and LiteRT, no Keras and no TensorFlow.

python examples/classify_on_device.py model.int8.tflite photo.jpg ...
"""

from __future__ import annotations

import argparse
import sys

from keras_dlcourse.edge import ImageClassifier


def main(model: str, images: list[str]) -> None:
    classifier = ImageClassifier(model)
    for image in images:
        best = classifier.classify(image, max_results=3)
        print(image, ", ".join(f"{category.label} {category.score:.2f}" for category in best))
    print(f"{classifier.runtime}; {classifier.benchmark()}")
    if {"keras", "tensorflow"} & set(sys.modules):
        raise RuntimeError("a device needs neither")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("images", nargs="+")
    arguments = parser.parse_args()
    main(arguments.model, arguments.images)
