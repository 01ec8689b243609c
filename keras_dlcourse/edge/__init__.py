"""Run `.tflite` image models on a device: NumPy, Pillow and a LiteRT interpreter, nothing else.

Pillow and the interpreter are loaded on first use.
"""

from keras_dlcourse.edge.boxes import box_from_map
from keras_dlcourse.edge.class_map import Classification, overlay
from keras_dlcourse.edge.classifier import Category, ImageClassifier
from keras_dlcourse.edge.coordinates import BoundingBox, NormalizedKeypoint
from keras_dlcourse.edge.drawing import draw_detection
from keras_dlcourse.edge.embedder import ImageEmbedder
from keras_dlcourse.edge.flatbuffer import InvalidModel
from keras_dlcourse.edge.gallery import Gallery, Match
from keras_dlcourse.edge.gallery_file import InvalidGallery
from keras_dlcourse.edge.identification import UNKNOWN, Identity, class_means, identify
from keras_dlcourse.edge.images import InvalidImage, load_image, read_image, resize
from keras_dlcourse.edge.latency import Latency
from keras_dlcourse.edge.localizer import Detection, KeypointDetector, ObjectLocalizer
from keras_dlcourse.edge.metadata import ImageMetadata
from keras_dlcourse.edge.model_file import ModelFile
from keras_dlcourse.edge.normalization import Normalization
from keras_dlcourse.edge.runtime import ModelStopped, runtime_name
from keras_dlcourse.edge.sandbox import Limits
from keras_dlcourse.edge.search import Neighbours, nearest
from keras_dlcourse.edge.vectors import Vectors

__all__ = [
    "BoundingBox",
    "Category",
    "Classification",
    "Detection",
    "Gallery",
    "Identity",
    "ImageClassifier",
    "ImageEmbedder",
    "ImageMetadata",
    "InvalidGallery",
    "InvalidImage",
    "InvalidModel",
    "KeypointDetector",
    "Latency",
    "Limits",
    "Match",
    "ModelFile",
    "ModelStopped",
    "Neighbours",
    "Normalization",
    "NormalizedKeypoint",
    "ObjectLocalizer",
    "UNKNOWN",
    "Vectors",
    "box_from_map",
    "class_means",
    "draw_detection",
    "identify",
    "load_image",
    "nearest",
    "overlay",
    "read_image",
    "resize",
    "runtime_name",
]
