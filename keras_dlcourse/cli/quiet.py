"""Keep the start-up notes of TensorFlow's C++ libraries off the terminal."""

from __future__ import annotations

import os
from contextlib import nullcontext

from keras_dlcourse._extras import require
from keras_dlcourse._stderr import captured_stderr

DEBUG = "KERAS_DLCOURSE_DEBUG"


def quiet_tensorflow() -> None:
    """Set the log level that TensorFlow reads when it is imported, unless the user has set one."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def load_keras() -> None:
    """Import Keras and start its backend without what they write to standard error meanwhile.

    TensorFlow writes notes about CPU instructions and absent GPUs before its log level counts.
    """
    require("This command", "tensorflow", "keras")
    with nullcontext() if os.environ.get(DEBUG) else captured_stderr():
        import keras

        keras.distribution.list_devices()  # GPUs are looked for at first use
