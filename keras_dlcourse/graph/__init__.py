"""Models as graphs: receptive fields, cost profiles and equivalent forms."""

from keras_dlcourse._extras import require

require("keras_dlcourse.graph", "tensorflow", "keras")

from keras_dlcourse.graph.conv_as_matrix import ConvMatrix, conv_as_dense_matrix
from keras_dlcourse.graph.dense_as_conv import dense_as_conv
from keras_dlcourse.graph.feature_pyramid import feature_pyramid
from keras_dlcourse.graph.folding import fold_batch_norm
from keras_dlcourse.graph.heat_maps import shift_and_stitch, upsample_scores
from keras_dlcourse.graph.profile import LayerProfile, Profile, profile
from keras_dlcourse.graph.receptive_field import ReceptiveField, receptive_field
from keras_dlcourse.graph.strides import remove_strides

__all__ = [
    "ConvMatrix",
    "LayerProfile",
    "Profile",
    "ReceptiveField",
    "conv_as_dense_matrix",
    "dense_as_conv",
    "feature_pyramid",
    "fold_batch_norm",
    "profile",
    "receptive_field",
    "remove_strides",
    "shift_and_stitch",
    "upsample_scores",
]
