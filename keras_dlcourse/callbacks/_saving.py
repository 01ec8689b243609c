"""What callbacks that save have in common."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras_dlcourse._checks import is_whole

ON_ERROR = ("warn", "raise")


def check_save_freq(save_freq: Any) -> None:
    """Raise ValueError unless it is `"epoch"` or a number of batches."""
    if save_freq != "epoch" and not (is_whole(save_freq) and save_freq > 0):
        raise ValueError(
            f"save_freq must be 'epoch' or a number of batches, 1 or more. Received: {save_freq!r}"
        )


@contextmanager
def or_warn(on_error: str, problem: str) -> Iterator[None]:
    """Turn an OSError, such as that of a full disk, into a sentence: a warning or an OSError."""
    try:
        yield
    except OSError as error:
        message = f"{problem}: {error}. What was saved before is still there, unchanged."
        if on_error == "raise":
            raise OSError(error.errno, message) from error
        warnings.warn(f"{message} Training goes on.", stacklevel=2)
