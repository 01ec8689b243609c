"""`python -m keras_dlcourse.edge classify MODEL IMAGE...`; needs only the `[edge]` extra."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from keras_dlcourse.edge.commands.classify import add_benchmark_parser, add_classify_parser
from keras_dlcourse.edge.commands.common import print_everywhere
from keras_dlcourse.edge.commands.detect import add_detect_parser
from keras_dlcourse.edge.commands.gallery import add_enroll_parser, add_identify_parser
from keras_dlcourse.edge.commands.locate import add_locate_parser
from keras_dlcourse.edge.commands.segment import add_segment_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 success, 1 failure; argparse exits with 2.

    Args:
        arguments: Command-line arguments without the program name. None uses `sys.argv`.
    """
    parser = argparse.ArgumentParser(
        prog="python -m keras_dlcourse.edge",
        description="Run .tflite image models on this device.",
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_classify_parser(subparsers)
    add_locate_parser(subparsers)
    add_detect_parser(subparsers)
    add_segment_parser(subparsers)
    add_enroll_parser(subparsers)
    add_identify_parser(subparsers)
    add_benchmark_parser(subparsers)
    print_everywhere()
    parsed = parser.parse_args(arguments)
    code: int = parsed.func(parsed)
    return code


if __name__ == "__main__":
    sys.exit(main())
