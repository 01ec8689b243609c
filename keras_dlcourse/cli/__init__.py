"""The `keras-dlcourse` command: a thin interface to the package.

Heavy modules are imported only when a command needs them, so that `classify` and `benchmark` work
if only the `edge` extra is installed, and `--help` responds at once.
"""

from __future__ import annotations

from keras_dlcourse.cli.main import main

__all__ = ["main"]
