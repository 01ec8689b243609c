"""Models in files: how those from strangers are opened."""

from keras_dlcourse._extras import require

require("keras_dlcourse.saving", "tensorflow", "keras", "h5py")

from keras_dlcourse.saving.errors import (  # noqa: E402
    InvalidModelFile,
    Refused,
    UntrustedModelError,
)
from keras_dlcourse.saving.load import load  # noqa: E402

__all__ = ["InvalidModelFile", "Refused", "UntrustedModelError", "load"]
