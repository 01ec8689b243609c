"""Open an exported file, unchanged, with MediaPipe Tasks, the library for Android, iOS and web.

pip install mediapipe && python examples/mediapipe_tasks.py model.int8.tflite photo.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mediapipe
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions


def main(model: Path, image: str) -> None:
    options = ImageClassifierOptions(
        base_options=BaseOptions(model_asset_buffer=model.read_bytes()), max_results=3
    )
    with ImageClassifier.create_from_options(options) as classifier:
        result = classifier.classify(mediapipe.Image.create_from_file(image))
    for category in result.classifications[0].categories:
        print(f"{category.category_name}: {category.score:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("image")
    arguments = parser.parse_args()
    main(arguments.model, arguments.image)
