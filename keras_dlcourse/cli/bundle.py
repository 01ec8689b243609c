"""`keras-dlcourse bundle`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_dlcourse.cli.usage import add_command

EXAMPLES = """
keras-dlcourse bundle model.int8.tflite --target raspberry-pi -o pi/
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "bundle",
        run,
        "make a folder to copy to a device: model, runner, requirements, checksums, systemd unit",
        EXAMPLES,
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        help=".tflite image classifier or segmenter with labels, or embedder",
    )
    parser.add_argument("--target", required=True, choices=["raspberry-pi"], help="kind of device")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="new folder")


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from keras_dlcourse.export.shipping.bundle import bundle

    folder = bundle(options.file, options.output, target=options.target)
    print(f"{folder}: copy this folder to the device and follow its README.md")
