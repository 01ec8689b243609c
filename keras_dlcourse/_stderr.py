"""Keep what C++ libraries write to standard error off the terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def captured_stderr() -> Iterator[Callable[[], str]]:
    """Catch the process's standard error, below Python too.

    Yields:
        A function that returns what was written so far.

    Example:
        >>> import os
        >>> with captured_stderr() as written:
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
