"""Models and trainings in files: written whole, checked when they are read, whoever made them."""

from keras_dlcourse._extras import require

require("keras_dlcourse.saving", "tensorflow", "keras", "h5py", "filelock")

from keras_dlcourse.saving.errors import (  # noqa: E402
    InvalidModelFile,
    Refused,
    UntrustedModelError,
)
from keras_dlcourse.saving.load import load  # noqa: E402
from keras_dlcourse.saving.newest import latest_checkpoint  # noqa: E402

__all__ = ["InvalidModelFile", "Refused", "UntrustedModelError", "latest_checkpoint", "load"]
