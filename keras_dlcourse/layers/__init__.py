"""Reusable Keras layers, one idea a file."""

from keras_dlcourse._extras import require

require("keras_dlcourse.layers", "tensorflow", "keras")

from keras_dlcourse.layers.compressed import (  # noqa: E402
    FakeQuantizeWeight,
    WeightTransform,
    compressed,
    compressed_class,
)
from keras_dlcourse.layers.depthwise_separable import DepthwiseSeparableConv2D  # noqa: E402
from keras_dlcourse.layers.fake_quantize import FakeQuantize  # noqa: E402
from keras_dlcourse.layers.image_description import ImageDescription, describe  # noqa: E402
from keras_dlcourse.layers.inverted_residual import InvertedResidual  # noqa: E402

__all__ = [
    "DepthwiseSeparableConv2D",
    "FakeQuantize",
    "FakeQuantizeWeight",
    "ImageDescription",
    "InvertedResidual",
    "WeightTransform",
    "compressed",
    "compressed_class",
    "describe",
]
