"""Run a `.tflite` file as on a device: with NumPy, Pillow and LiteRT, without TensorFlow.

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
        raise RuntimeError("keras or tensorflow was imported, which a device does not have.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("images", nargs="+")
    arguments = parser.parse_args()
    main(arguments.model, arguments.images)
