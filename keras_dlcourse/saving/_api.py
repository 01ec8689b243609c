"""The public names of `keras_dlcourse.saving`."""

from keras_dlcourse._extras import require

require("keras_dlcourse.saving", "tensorflow", "keras", "h5py", "filelock")

from keras_dlcourse.saving.errors import (
    InvalidModelFile,
    Refused,
    UntrustedModelError,
)
from keras_dlcourse.saving.load import load
from keras_dlcourse.saving.newest import latest_checkpoint

__all__ = ["InvalidModelFile", "Refused", "UntrustedModelError", "latest_checkpoint", "load"]
