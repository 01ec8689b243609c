"""Model builders, and models that train or predict with another model."""

from typing import TYPE_CHECKING, Any

from keras_dlcourse._lazy import load_on_use
from keras_dlcourse._moved import load_moved

if TYPE_CHECKING:
    from keras_dlcourse.models._api import *

_MOVED = {
    name: f"keras_dlcourse.graph.{name}"
    for name in (
        "ConvMatrix",
        "LayerProfile",
        "Profile",
        "ReceptiveField",
        "conv_as_dense_matrix",
        "dense_as_conv",
        "fold_batch_norm",
        "profile",
        "receptive_field",
    )
}

load_on_use(__name__)


def __getattr__(name: str) -> Any:
    """Return an object under its old name, with a warning."""
    return load_moved(__name__, name, _MOVED)
