"""Keep the start-up notes of TensorFlow's C++ libraries off the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEBUG = "KERAS_DLCOURSE_DEBUG"


def quiet_tensorflow() -> None:
    """Set the log level that TensorFlow reads when it is imported, unless the user has set one."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def load_keras() -> None:
    """Import Keras and start its backend without what they write to standard error meanwhile.

    TensorFlow writes notes about CPU instructions and absent GPUs before its log level counts.
    """
    with _silent_stderr():
        import keras

        keras.distribution.list_devices()  # GPUs are looked for at first use


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Send the process's standard error nowhere, below Python too; not while debugging."""
    if os.environ.get(DEBUG):
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
