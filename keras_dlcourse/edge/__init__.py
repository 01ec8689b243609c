"""Run a `.tflite` classifier on a device: NumPy, Pillow and a LiteRT interpreter, nothing else.

Pillow and the interpreter are loaded on first use.
"""

from keras_dlcourse.edge.boxes import box_from_map
from keras_dlcourse.edge.class_map import Classification, overlay
from keras_dlcourse.edge.classifier import Category, ImageClassifier
from keras_dlcourse.edge.flatbuffer import InvalidModel
from keras_dlcourse.edge.images import InvalidImage, load_image, read_image, resize
from keras_dlcourse.edge.latency import Latency
from keras_dlcourse.edge.metadata import ImageMetadata
from keras_dlcourse.edge.model_file import ModelFile
from keras_dlcourse.edge.normalization import Normalization
from keras_dlcourse.edge.runtime import runtime_name

__all__ = [
    "Category",
    "Classification",
    "ImageClassifier",
    "ImageMetadata",
    "InvalidImage",
    "InvalidModel",
    "Latency",
    "ModelFile",
    "Normalization",
    "box_from_map",
    "load_image",
    "overlay",
    "read_image",
    "resize",
    "runtime_name",
]
