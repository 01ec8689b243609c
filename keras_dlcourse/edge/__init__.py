"""Run a `.tflite` classifier on a device: NumPy, Pillow and a LiteRT interpreter, nothing else."""

from keras_dlcourse.edge.flatbuffer import InvalidModel
from keras_dlcourse.edge.images import InvalidImage, load_image, read_image, resize
from keras_dlcourse.edge.metadata import ImageMetadata
from keras_dlcourse.edge.model_file import ModelFile
from keras_dlcourse.edge.normalization import Normalization

__all__ = [
    "ImageMetadata",
    "InvalidImage",
    "InvalidModel",
    "ModelFile",
    "Normalization",
    "load_image",
    "read_image",
    "resize",
]
