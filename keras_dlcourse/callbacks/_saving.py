"""Helpers shared by the callbacks that save."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras_dlcourse._checks import check_integer, check_one_of, is_whole

ON_ERROR = ("warn", "raise")


def check_save_freq(save_freq: Any) -> None:
    """Raise an error unless `save_freq` is `"epoch"` or a number of batches."""
    if is_whole(save_freq):
        check_integer("save_freq", save_freq)
    else:
        check_one_of("save_freq", save_freq, ("epoch",), why=". Or pass a number of batches.")


@contextmanager
def handle_save_errors(on_error: str, problem: str) -> Iterator[None]:
    """Turn an OSError, e.g. from a full disk, into a warning or an OSError that explains it."""
    try:
        yield
    except OSError as error:
        message = f"{problem}: {error}. Earlier saves are still there, unchanged."
        if on_error == "raise":
            raise OSError(error.errno, message) from error
        warnings.warn(f"{message} Training continues.", stacklevel=2)
