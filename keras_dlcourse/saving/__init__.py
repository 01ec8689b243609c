"""Files of models and of trainings: written whole, checked when they are read."""

from keras_dlcourse._extras import require

require("keras_dlcourse.saving", "tensorflow", "keras", "filelock")

from keras_dlcourse.saving.checkpoints import latest_checkpoint  # noqa: E402

__all__ = ["latest_checkpoint"]
