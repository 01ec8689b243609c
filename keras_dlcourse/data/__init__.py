"""Read images and labels, split them, and make of them what `Model.fit` takes."""

from keras_dlcourse._extras import require

require("keras_dlcourse.data", "tensorflow", "keras")

# First of all: Keras brings the losses in (`_registration`), and these take boxes from here.
import keras  # noqa: E402, F401

from keras_dlcourse.data.bootstrap import Bootstrap  # noqa: E402
from keras_dlcourse.data.boxes import FORMATS as BOX_FORMATS  # noqa: E402
from keras_dlcourse.data.boxes import check_boxes, convert_boxes  # noqa: E402
from keras_dlcourse.data.datasets import Dataset, load  # noqa: E402
from keras_dlcourse.data.descriptors import color_histogram, hog  # noqa: E402
from keras_dlcourse.data.examples import Examples, take  # noqa: E402
from keras_dlcourse.data.folder import image_folder  # noqa: E402
from keras_dlcourse.data.image_files import ImageFiles  # noqa: E402
from keras_dlcourse.data.keypoints import (  # noqa: E402
    flip_keypoints,
    keypoints_from_box,
    keypoints_to_box,
)
from keras_dlcourse.data.leaks import Leaks, find_leaks  # noqa: E402
from keras_dlcourse.data.multilabel import positive_weights  # noqa: E402
from keras_dlcourse.data.pipeline import Pipeline, pipeline  # noqa: E402
from keras_dlcourse.data.samplers import (  # noqa: E402
    PairSampler,
    PKSampler,
    TripletSampler,
)
from keras_dlcourse.data.scenes import Scenes, compose_scenes, split_sources  # noqa: E402
from keras_dlcourse.data.shift import (  # noqa: E402
    CovariateShift,
    FeatureShift,
    covariate_shift,
)
from keras_dlcourse.data.split import split  # noqa: E402
from keras_dlcourse.edge.normalization import Normalization  # noqa: E402

__all__ = [
    "BOX_FORMATS",
    "Bootstrap",
    "CovariateShift",
    "Dataset",
    "Examples",
    "FeatureShift",
    "ImageFiles",
    "Leaks",
    "Normalization",
    "PKSampler",
    "PairSampler",
    "Pipeline",
    "Scenes",
    "TripletSampler",
    "check_boxes",
    "color_histogram",
    "compose_scenes",
    "convert_boxes",
    "covariate_shift",
    "find_leaks",
    "flip_keypoints",
    "hog",
    "image_folder",
    "keypoints_from_box",
    "keypoints_to_box",
    "load",
    "pipeline",
    "positive_weights",
    "split",
    "split_sources",
    "take",
]
