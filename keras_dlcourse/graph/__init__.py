"""A model as one flat graph of primitive layers, to be read and rebuilt."""

from keras_dlcourse._extras import require

require("keras_dlcourse.graph", "tensorflow", "keras")

from keras_dlcourse.graph.flat import Graph, Node, flat_copy, functional  # noqa: E402

__all__ = ["Graph", "Node", "flat_copy", "functional"]
