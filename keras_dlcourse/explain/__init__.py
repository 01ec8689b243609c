"""See what a network uses: class activation maps."""

from keras_dlcourse._extras import require

require("keras_dlcourse.explain", "tensorflow", "keras")

from keras_dlcourse.explain.cam import ClassActivationMapper, cam  # noqa: E402
from keras_dlcourse.graph.head import Head, find_head  # noqa: E402

__all__ = ["ClassActivationMapper", "Head", "cam", "find_head"]
