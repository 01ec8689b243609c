"""One case per loss, in a file per area."""

from cases.losses import classification, detection, embedding, segmentation

LOSSES = (
    *classification.LOSSES,
    *detection.LOSSES,
    *embedding.LOSSES,
    *segmentation.LOSSES,
)
