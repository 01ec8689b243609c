"""Read images and labels, split them, and make of them what `Model.fit` takes."""

from keras_dlcourse._extras import require

require("keras_dlcourse.data", "tensorflow", "keras")

from keras_dlcourse.data.datasets import Dataset, load  # noqa: E402
from keras_dlcourse.data.examples import Examples, take  # noqa: E402
from keras_dlcourse.data.folder import image_folder  # noqa: E402
from keras_dlcourse.data.image_files import ImageFiles  # noqa: E402
from keras_dlcourse.data.pipeline import Pipeline, pipeline  # noqa: E402
from keras_dlcourse.data.split import split  # noqa: E402
from keras_dlcourse.edge.normalization import Normalization  # noqa: E402

__all__ = [
    "Dataset",
    "Examples",
    "ImageFiles",
    "Normalization",
    "Pipeline",
    "image_folder",
    "load",
    "pipeline",
    "split",
    "take",
]
