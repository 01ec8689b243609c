"""Keep the startup messages of TensorFlow's C++ libraries off the terminal."""

from __future__ import annotations

import os
from contextlib import nullcontext

from keras_dlcourse._extras import require
from keras_dlcourse._stderr import capture_stderr

DEBUG = "KERAS_DLCOURSE_DEBUG"


def quiet_tensorflow() -> None:
    """Set the log level that TensorFlow reads on import, unless the user has set one."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def load_keras() -> None:
    """Import Keras and start its backend, hiding what they write to standard error.

    TensorFlow logs messages about CPU instructions and missing GPUs before its log level applies.
    """
    require("This command", "tensorflow", "keras")
    with nullcontext() if os.environ.get(DEBUG) else capture_stderr():
        import keras

        keras.distribution.list_devices()  # the search for GPUs happens at first use
