"""Run a `.tflite` classifier on a device: NumPy, Pillow and a LiteRT interpreter, nothing else."""

from keras_dlcourse.edge.images import InvalidImage, load_image, read_image, resize
from keras_dlcourse.edge.normalization import Normalization

__all__ = ["InvalidImage", "Normalization", "load_image", "read_image", "resize"]
