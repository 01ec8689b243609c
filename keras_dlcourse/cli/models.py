"""`keras-dlcourse models`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import add_command

EXAMPLES = """
keras-dlcourse models
keras-dlcourse models mobilenet_v2 --alpha 0.35 --image-size 96
keras-dlcourse train photos/ --model mobilenet_v2 -o runs/photos
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "models",
        run,
        "list the networks that train supports, with their costs, or show one layer by layer",
        EXAMPLES,
    )
    parser.add_argument("name", nargs="?", help="a network to show layer by layer")
    parser.add_argument(
        "--alpha", type=float, default=1.0, metavar="A", help="width multiplier (default: 1.0)"
    )
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="height and width of the images (default: as in its paper)",
    )


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    load_keras()
    from keras_dlcourse import models
    from keras_dlcourse.models.costs import cost_table, costs, outline

    if options.name is None:
        known = costs()
        print(cost_table(known))
        if others := sorted(set(models.names()) - {cost.name for cost in known}):
            print(f"\nNot listed, as they need arguments: {', '.join(others)}")
        return
    size = options.image_size
    shape = {} if size is None else {"input_shape": (size, size, 3)}
    print(models.profile(outline(options.name, alpha=options.alpha, **shape)))
