"""One case per layer, in a file per area."""

from cases.layers import (
    augmentation,
    blocks,
    compression,
    description,
    filtering,
    normalization,
    output,
    resizing,
)

LAYERS = (
    *augmentation.LAYERS,
    *blocks.LAYERS,
    *compression.LAYERS,
    *description.LAYERS,
    *filtering.LAYERS,
    *normalization.LAYERS,
    *output.LAYERS,
    *resizing.LAYERS,
)
