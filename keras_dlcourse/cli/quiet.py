"""Keep the startup messages of TensorFlow's C++ libraries off the terminal."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext

from keras_dlcourse._extras import require
from keras_dlcourse._stderr import capture_stderr

DEBUG = "KERAS_DLCOURSE_DEBUG"


def quiet_tensorflow() -> None:
    """Set the log level that TensorFlow reads on import, unless the user has set one."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def load_keras(*modules: str) -> None:
    """Import Keras and start its backend, hiding what they write to standard error.

    That takes seconds, which a line on standard error announces. TensorFlow logs messages about CPU
    instructions and missing GPUs before its log level applies.

    Args:
        *modules: Further modules that the command needs, which are not imported.
    """
    require("This command", "tensorflow", "keras", *modules)
    if "keras" not in sys.modules:
        print("Starting Keras and its backend", file=sys.stderr, flush=True)
    with nullcontext() if os.environ.get(DEBUG) else capture_stderr():
        import keras

        keras.distribution.list_devices()  # the search for GPUs happens at first use
