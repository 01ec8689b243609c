"""The public names of `keras_dlcourse.data`."""

from keras_dlcourse._extras import require

require("keras_dlcourse.data", "tensorflow", "keras")

# Must come first: importing Keras imports our losses (`_registration`), which need the boxes below.
import keras  # noqa: F401

from keras_dlcourse.boxes.formats import FORMATS as BOX_FORMATS
from keras_dlcourse.boxes.formats import check_boxes, convert_boxes
from keras_dlcourse.data.bootstrap import Bootstrap
from keras_dlcourse.data.class_crops import ClassCrops
from keras_dlcourse.data.datasets import Dataset, SourceFiles, load
from keras_dlcourse.data.descriptors import color_histogram, hog
from keras_dlcourse.data.examples import Examples, take
from keras_dlcourse.data.fashion import fashion_scenes
from keras_dlcourse.data.folder import image_folder
from keras_dlcourse.data.image_files import ImageFiles
from keras_dlcourse.data.keypoints import (
    flip_keypoints,
    keypoints_from_box,
    keypoints_to_box,
)
from keras_dlcourse.data.leaks import Leaks, find_leaks
from keras_dlcourse.data.mask_labels import IGNORE, class_shares
from keras_dlcourse.data.masks.folder import mask_folder
from keras_dlcourse.data.masks.instances import separate_instances
from keras_dlcourse.data.masks.outlines import decode_rle, draw_polygons, encode_rle
from keras_dlcourse.data.masks.table import VOC_COLORS
from keras_dlcourse.data.multilabel import positive_weights
from keras_dlcourse.data.pipeline import Pipeline, pipeline
from keras_dlcourse.data.samplers import (
    PairSampler,
    PKSampler,
    TripletSampler,
)
from keras_dlcourse.data.scenes import Scenes, compose_scenes, split_sources
from keras_dlcourse.data.shift import (
    CovariateShift,
    FeatureShift,
    covariate_shift,
)
from keras_dlcourse.data.sources import as_dataset
from keras_dlcourse.data.split import split
from keras_dlcourse.data.summary import Summary, summarize
from keras_dlcourse.data.table import image_csv, read_images
from keras_dlcourse.edge.description.normalization import Normalization

__all__ = [
    "SourceFiles",
    "Summary",
    "image_csv",
    "read_images",
    "summarize",
    "BOX_FORMATS",
    "Bootstrap",
    "ClassCrops",
    "CovariateShift",
    "Dataset",
    "Examples",
    "FeatureShift",
    "IGNORE",
    "ImageFiles",
    "Leaks",
    "Normalization",
    "PKSampler",
    "PairSampler",
    "Pipeline",
    "Scenes",
    "TripletSampler",
    "VOC_COLORS",
    "as_dataset",
    "check_boxes",
    "class_shares",
    "color_histogram",
    "compose_scenes",
    "convert_boxes",
    "covariate_shift",
    "decode_rle",
    "draw_polygons",
    "encode_rle",
    "fashion_scenes",
    "find_leaks",
    "flip_keypoints",
    "hog",
    "image_folder",
    "keypoints_from_box",
    "keypoints_to_box",
    "load",
    "mask_folder",
    "pipeline",
    "positive_weights",
    "separate_instances",
    "split",
    "split_sources",
    "take",
]
