"""Reusable Keras layers, one idea a file."""

from keras_dlcourse._extras import require

require("keras_dlcourse.layers", "tensorflow", "keras")

from keras_dlcourse.layers.channel_scale import ChannelScale  # noqa: E402
from keras_dlcourse.layers.class_specific import ClassSpecific  # noqa: E402
from keras_dlcourse.layers.cluster_weight import ClusterWeight  # noqa: E402
from keras_dlcourse.layers.compressed import (  # noqa: E402
    FakeQuantizeWeight,
    WeightTransform,
    compressed,
    compressed_class,
)
from keras_dlcourse.layers.cosine_dense import CosineDense  # noqa: E402
from keras_dlcourse.layers.dense_block import DenseBlock, DenseTransition  # noqa: E402
from keras_dlcourse.layers.depthwise_separable import DepthwiseSeparableConv2D  # noqa: E402
from keras_dlcourse.layers.fake_quantize import FakeQuantize  # noqa: E402
from keras_dlcourse.layers.float_barrier import FloatBarrier  # noqa: E402
from keras_dlcourse.layers.freezing_batch_normalization import (  # noqa: E402
    FreezingBatchNormalization,
)
from keras_dlcourse.layers.image_description import ImageDescription, describe  # noqa: E402
from keras_dlcourse.layers.image_views import ImageViews  # noqa: E402
from keras_dlcourse.layers.inception_module import InceptionModule  # noqa: E402
from keras_dlcourse.layers.inverted_residual import InvertedResidual  # noqa: E402
from keras_dlcourse.layers.l2_normalization import L2Normalization  # noqa: E402
from keras_dlcourse.layers.local_filter import LocalFilter2D  # noqa: E402
from keras_dlcourse.layers.local_response_normalization import (  # noqa: E402
    LocalResponseNormalization,
)
from keras_dlcourse.layers.mlp_conv import MLPConv2D  # noqa: E402
from keras_dlcourse.layers.output_description import OutputDescription  # noqa: E402
from keras_dlcourse.layers.prune_weight import PruneWeight  # noqa: E402
from keras_dlcourse.layers.radial_basis_output import RadialBasisOutput  # noqa: E402
from keras_dlcourse.layers.random_affine import RandomAffine  # noqa: E402
from keras_dlcourse.layers.range_bridge import RangeBridge  # noqa: E402
from keras_dlcourse.layers.rank_filter import RankFilter2D  # noqa: E402
from keras_dlcourse.layers.residual_block import ResidualBlock  # noqa: E402
from keras_dlcourse.layers.sparse_connected_conv2d import SparseConnectedConv2D  # noqa: E402
from keras_dlcourse.layers.sparsity_schedules import (  # noqa: E402
    ConstantSparsity,
    PolynomialDecay,
)
from keras_dlcourse.layers.squeeze_excite import SqueezeExcite  # noqa: E402
from keras_dlcourse.layers.superimpose import Superimpose  # noqa: E402
from keras_dlcourse.layers.whitening import Whitening  # noqa: E402

__all__ = [
    "ChannelScale",
    "ClassSpecific",
    "ClusterWeight",
    "ConstantSparsity",
    "CosineDense",
    "DenseBlock",
    "DenseTransition",
    "DepthwiseSeparableConv2D",
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
    "OutputDescription",
    "PolynomialDecay",
    "PruneWeight",
    "RadialBasisOutput",
    "RandomAffine",
    "RangeBridge",
    "RankFilter2D",
    "ResidualBlock",
    "SparseConnectedConv2D",
    "SqueezeExcite",
    "Superimpose",
    "WeightTransform",
    "Whitening",
    "compressed",
    "compressed_class",
    "describe",
]
