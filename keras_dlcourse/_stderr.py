"""Capture what C++ libraries write to standard error, to keep it off the terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def capture_stderr() -> Iterator[Callable[[], str]]:
    """Capture the process's standard error, including output from outside of Python.

    Yields:
        A function that returns what has been written so far.

    Example:
        >>> import os
        >>> with capture_stderr() as written:
        ...     _ = os.write(2, b"a note of some library")
        ...     text = written()
        >>> text
        'a note of some library'
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:
        saved = os.dup(2)
        os.dup2(log.fileno(), 2)

        def written() -> str:
            log.seek(0)
            return log.read().decode(errors="replace")

        try:
            yield written
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
