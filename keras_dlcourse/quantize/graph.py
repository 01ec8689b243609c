"""The flat graph; it stands in `keras_dlcourse.graph`."""

from keras_dlcourse.graph import Graph, Node, flat_copy, functional

__all__ = ["Graph", "Node", "flat_copy", "functional"]
