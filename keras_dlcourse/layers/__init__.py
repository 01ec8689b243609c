"""Reusable Keras layers, one idea per file."""

from keras_dlcourse._extras import require

require("keras_dlcourse.layers", "tensorflow", "keras")

from keras_dlcourse.layers.augmentation.class_specific import ClassSpecific
from keras_dlcourse.layers.augmentation.drop_pixels import DropPixels
from keras_dlcourse.layers.augmentation.elastic_deformation import ElasticDeformation
from keras_dlcourse.layers.augmentation.image_views import ImageViews
from keras_dlcourse.layers.augmentation.random_affine import RandomAffine
from keras_dlcourse.layers.augmentation.superimpose import Superimpose
from keras_dlcourse.layers.blocks.dense_block import DenseBlock, DenseTransition
from keras_dlcourse.layers.blocks.depthwise_separable import DepthwiseSeparableConv2D
from keras_dlcourse.layers.blocks.inception_module import InceptionModule
from keras_dlcourse.layers.blocks.inverted_residual import InvertedResidual
from keras_dlcourse.layers.blocks.mlp_conv import MLPConv2D
from keras_dlcourse.layers.blocks.residual_block import ResidualBlock
from keras_dlcourse.layers.blocks.sparse_connected_conv2d import SparseConnectedConv2D
from keras_dlcourse.layers.blocks.squeeze_excite import SqueezeExcite
from keras_dlcourse.layers.compression.cluster_weight import ClusterWeight
from keras_dlcourse.layers.compression.compressed import (
    FakeQuantizeWeight,
    WeightTransform,
    compressed,
    compressed_class,
)
from keras_dlcourse.layers.compression.fake_quantize import FakeQuantize
from keras_dlcourse.layers.compression.float_barrier import FloatBarrier
from keras_dlcourse.layers.compression.prune_weight import PruneWeight
from keras_dlcourse.layers.compression.range_bridge import RangeBridge
from keras_dlcourse.layers.compression.sparsity_schedules import (
    ConstantSparsity,
    PolynomialDecay,
)
from keras_dlcourse.layers.description.image_description import (
    ImageDescription,
    describe,
    record_thresholds,
)
from keras_dlcourse.layers.description.output_description import OutputDescription
from keras_dlcourse.layers.filtering.local_filter import LocalFilter2D
from keras_dlcourse.layers.filtering.rank_filter import RankFilter2D
from keras_dlcourse.layers.normalization.channel_scale import ChannelScale
from keras_dlcourse.layers.normalization.freezing_batch_normalization import (
    FreezingBatchNormalization,
)
from keras_dlcourse.layers.normalization.l2_normalization import L2Normalization
from keras_dlcourse.layers.normalization.local_response_normalization import (
    LocalResponseNormalization,
)
from keras_dlcourse.layers.normalization.whitening import Whitening
from keras_dlcourse.layers.output.cosine_dense import CosineDense
from keras_dlcourse.layers.output.radial_basis_output import RadialBasisOutput
from keras_dlcourse.layers.resizing.bilinear import Bilinear
from keras_dlcourse.layers.resizing.max_unpooling import MaxUnpooling2D
from keras_dlcourse.layers.resizing.pad_to_multiple import CropLike, PadToMultiple
from keras_dlcourse.layers.resizing.resize_conv2d import ResizeConv2D

__all__ = [
    "Bilinear",
    "ChannelScale",
    "ClassSpecific",
    "ClusterWeight",
    "ConstantSparsity",
    "CosineDense",
    "CropLike",
    "DenseBlock",
    "DenseTransition",
    "DepthwiseSeparableConv2D",
    "DropPixels",
    "ElasticDeformation",
    "FakeQuantize",
    "FakeQuantizeWeight",
    "FloatBarrier",
    "FreezingBatchNormalization",
    "ImageDescription",
    "ImageViews",
    "InceptionModule",
    "InvertedResidual",
    "L2Normalization",
    "LocalFilter2D",
    "LocalResponseNormalization",
    "MLPConv2D",
    "MaxUnpooling2D",
    "OutputDescription",
    "PadToMultiple",
    "PolynomialDecay",
    "PruneWeight",
    "RadialBasisOutput",
    "RandomAffine",
    "RangeBridge",
    "RankFilter2D",
    "ResidualBlock",
    "ResizeConv2D",
    "SparseConnectedConv2D",
    "SqueezeExcite",
    "Superimpose",
    "WeightTransform",
    "Whitening",
    "compressed",
    "compressed_class",
    "describe",
    "record_thresholds",
]
