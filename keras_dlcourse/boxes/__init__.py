"""Boxes: formats, overlap, anchors, codes, matching and suppression.

In training, boxes are `(batch, boxes, 4)`: left, top, right, bottom, padded to the same number and
with a mask `(batch, boxes)` that tells which ones exist. Anchors are constants,
`(anchors, 4)`. All functions take pixels or fractions of the image, but the same for both.
"""

from keras_dlcourse._extras import require

require("keras_dlcourse.boxes", "tensorflow", "keras")

# Must come first: importing Keras imports our losses (`_registration`), which need this package.
import keras  # noqa: F401

from keras_dlcourse.boxes.anchor_shapes import AnchorShapes, cluster_shapes
from keras_dlcourse.boxes.anchors import Anchors, make_anchors
from keras_dlcourse.boxes.coding import DistanceCoder, GridCoder, OffsetCoder
from keras_dlcourse.boxes.matching import (
    BACKGROUND,
    IGNORED,
    match_by_cell,
    match_by_cost,
    match_by_iou,
    match_by_statistics,
    take_matched,
    unmatched_share,
)
from keras_dlcourse.boxes.overlap import pairwise_iou
from keras_dlcourse.boxes.suppression import non_max_suppression, soft_non_max_suppression

__all__ = [
    "AnchorShapes",
    "Anchors",
    "BACKGROUND",
    "DistanceCoder",
    "GridCoder",
    "IGNORED",
    "OffsetCoder",
    "cluster_shapes",
    "make_anchors",
    "match_by_cell",
    "match_by_cost",
    "match_by_iou",
    "match_by_statistics",
    "non_max_suppression",
    "pairwise_iou",
    "soft_non_max_suppression",
    "take_matched",
    "unmatched_share",
]
