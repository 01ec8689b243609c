"""Keep the startup messages of TensorFlow's C++ libraries off the terminal."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import nullcontext

from keras_dlcourse._extras import require
from keras_dlcourse._stderr import capture_stderr

DEBUG = "KERAS_DLCOURSE_DEBUG"
# Environment variables of glibc, the numbers of the same options for `mallopt`, and the bytes.
_MALLOC = (
    ("MALLOC_TOP_PAD_", -2, 1 << 28),
    ("MALLOC_TRIM_THRESHOLD_", -1, (1 << 31) - 1),
    ("MALLOC_MMAP_THRESHOLD_", -3, 1 << 30),
)


def quiet_tensorflow() -> None:
    """Set the log level that TensorFlow reads on import, unless the user has set one."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step of training, on Linux.

    It returns the memory of every large tensor to the system when the step ends, and clears it
    again in the next step: in `fit` on a CPU, that takes up to half of the time. Environment
    variables that set this otherwise are respected.
    """
    if any(name in os.environ for name, *_ in _MALLOC):
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return
    for _, option, value in _MALLOC:
        set_option(option, value)


def load_keras(*modules: str) -> None:
    """Import Keras and start its backend, hiding what they write to standard error.

    That takes seconds, which a line on standard error announces. TensorFlow logs messages about CPU
    instructions and missing GPUs before its log level applies.

    Args:
        *modules: Further modules that the command needs, which are not imported.
    """
    require("This command", "tensorflow", "keras", *modules)
    keep_freed_memory()
    if "keras" not in sys.modules:
        print("Starting Keras and its backend", file=sys.stderr, flush=True)
    with nullcontext() if os.environ.get(DEBUG) else capture_stderr():
        import keras

        keras.distribution.list_devices()  # the search for GPUs happens at first use
