"""`keras-dlcourse --print-completion SHELL`: completion of commands, options, names and files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from keras_dlcourse._extras import require

SHELLS = ("bash", "zsh", "fish")
_FOLDERS = {"DIR", "RUN"}
_FILES = {"FILE", "IMAGE", "MASKS", "MODEL", "MODEL.keras", "WEIGHTS"}


class PrintCompletion(argparse.Action):
    """Option that prints the completion script of a shell, made by shtab, and ends the process."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Print the script."""
        try:
            require("--print-completion", "completion", "shtab")
        except ImportError as error:
            parser.exit(1, f"error: {error}\n")
        import shtab

        _describe(parser)
        print(shtab.complete(parser, str(values)))
        parser.exit()


def _describe(parser: argparse.ArgumentParser) -> None:
    """Tell shtab what completes each argument of a parser and of its commands."""
    import shtab

    from keras_dlcourse.models.costs import read_costs

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _describe(command)
        elif action.metavar in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar == "NETWORK":
            action.choices = [cost.name for cost in read_costs()]
