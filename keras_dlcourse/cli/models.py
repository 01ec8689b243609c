"""`keras-dlcourse models`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import add_command

EXAMPLES = """
keras-dlcourse models
keras-dlcourse train photos/ --model mobilenet_v2 -o runs/photos
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    add_command(commands, "models", run, "list the networks that train knows", EXAMPLES)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    load_keras()
    from keras_dlcourse import models

    print("\n".join(models.names()))
