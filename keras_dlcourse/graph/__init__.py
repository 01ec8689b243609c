"""A model as one flat graph of primitive layers, to be read and rebuilt."""

from keras_dlcourse._extras import require

require("keras_dlcourse.graph", "tensorflow", "keras")

from keras_dlcourse.graph.conv_as_matrix import ConvMatrix, conv_as_dense_matrix  # noqa: E402
from keras_dlcourse.graph.dense_as_conv import dense_as_conv  # noqa: E402
from keras_dlcourse.graph.flat import (  # noqa: E402
    Graph,
    Node,
    flat_copy,
    functional,
    open_block,
    skeleton,
)
from keras_dlcourse.graph.folding import factor_and_offset, fold_batch_norm  # noqa: E402
from keras_dlcourse.graph.running import Network, Place  # noqa: E402

__all__ = [
    "ConvMatrix",
    "Graph",
    "Network",
    "Node",
    "Place",
    "conv_as_dense_matrix",
    "dense_as_conv",
    "factor_and_offset",
    "flat_copy",
    "fold_batch_norm",
    "functional",
    "open_block",
    "skeleton",
]
