"""Run `.tflite` models on a device; needs only NumPy, Pillow and a LiteRT interpreter.

Pillow and the interpreter are imported on first use.
"""

from typing import Any

from keras_dlcourse._moved import load_moved
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.description.suppression import NonMaxSuppression
from keras_dlcourse.edge.results import (
    BoundingBox,
    Category,
    Classification,
    Detection,
    NormalizedKeypoint,
    Segmentation,
)
from keras_dlcourse.edge.runtime.device_model import DeviceModel, TensorSpec
from keras_dlcourse.edge.runtime.interpreter import ModelStopped, runtime_name
from keras_dlcourse.edge.runtime.latency import Latency
from keras_dlcourse.edge.runtime.sandbox import Limits
from keras_dlcourse.edge.search.gallery import Gallery, Match
from keras_dlcourse.edge.search.gallery_file import InvalidGallery
from keras_dlcourse.edge.search.identification import UNKNOWN, Identity, class_means, identify
from keras_dlcourse.edge.search.nearest import Neighbours, nearest
from keras_dlcourse.edge.search.vectors import Vectors
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel
from keras_dlcourse.edge.tflite.metadata import ModelMetadata
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.box_from_map import box_from_map
from keras_dlcourse.edge.vision.class_map import overlay
from keras_dlcourse.edge.vision.classifier import ImageClassifier
from keras_dlcourse.edge.vision.detector import ObjectDetector
from keras_dlcourse.edge.vision.drawing import (
    draw_detection,
    draw_detections,
    draw_segmentation,
)
from keras_dlcourse.edge.vision.embedder import ImageEmbedder
from keras_dlcourse.edge.vision.images import InvalidImage, load_image, read_image, resize
from keras_dlcourse.edge.vision.localizer import KeypointDetector, ObjectLocalizer
from keras_dlcourse.edge.vision.segmenter import ImageSegmenter
from keras_dlcourse.edge.vision.tiles import Tiles

__all__ = [
    "BoundingBox",
    "Category",
    "Classification",
    "Detection",
    "DeviceModel",
    "Gallery",
    "Identity",
    "ImageClassifier",
    "ImageEmbedder",
    "ImageSegmenter",
    "InvalidGallery",
    "InvalidImage",
    "InvalidModel",
    "KeypointDetector",
    "Latency",
    "Limits",
    "Match",
    "ModelFile",
    "ModelMetadata",
    "ModelStopped",
    "Neighbours",
    "Normalization",
    "NonMaxSuppression",
    "NormalizedKeypoint",
    "ObjectDetector",
    "ObjectLocalizer",
    "Segmentation",
    "TensorSpec",
    "Tiles",
    "UNKNOWN",
    "Vectors",
    "box_from_map",
    "class_means",
    "draw_detection",
    "draw_detections",
    "draw_segmentation",
    "identify",
    "load_image",
    "nearest",
    "overlay",
    "read_image",
    "resize",
    "runtime_name",
]


def __getattr__(name: str) -> Any:
    """Return an object under its old name, with a warning."""
    return load_moved(__name__, name, {"ImageMetadata": "keras_dlcourse.edge.ModelMetadata"})
