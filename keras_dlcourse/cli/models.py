"""`keras-dlcourse models`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_dlcourse._checks import check_number
from keras_dlcourse._extras import require
from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import UsageError, add_command
from keras_dlcourse.edge.commands.common import real_number, whole_number

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
    parser.add_argument(
        "name", nargs="?", metavar="NETWORK", help="a network to show layer by layer"
    )
    parser.add_argument(
        "--alpha", type=real_number, metavar="A", help="width multiplier (default: 1.0)"
    )
    parser.add_argument(
        "--image-size",
        type=whole_number,
        metavar="N",
        help="height and width of the images (default: as in its paper)",
    )


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from keras_dlcourse.models.costs import check_network, cost_table, read_costs

    alpha, size = options.alpha, options.image_size
    if options.name is None:
        if alpha is not None or size is not None:
            raise UsageError("--alpha and --image-size need the name of a network")
        require("This command", "tensorflow", "rich")
        print(cost_table(read_costs()))
        return
    check_network(options.name)
    if alpha is not None:
        check_number("--alpha", alpha, above=0)
    load_keras("sklearn", "scipy", "rich")
    from keras_dlcourse.graph.profile import profile
    from keras_dlcourse.models.measuring import outline

    given = {} if alpha is None else {"alpha": alpha}
    given |= {} if size is None else {"input_shape": (size, size, 3)}
    print(profile(outline(options.name, **given)))
