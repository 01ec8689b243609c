"""The `keras-dlcourse` command: a thin door to the package.

Nothing heavy is imported until a command needs it, so that `classify` and `benchmark` work where
only the `edge` extra is installed, and `--help` answers at once.
"""

from __future__ import annotations

from keras_dlcourse.cli.main import main

__all__ = ["main"]
