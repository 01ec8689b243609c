"""The machine that a run was made on, and the command that made it."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

from keras_dlcourse.backend import accelerators


def describe_machine() -> dict[str, Any]:
    """Return what training times depend on, without names of hosts or people.

    Returns:
        `processor`, `cores`, `accelerators` (a list of names, empty without one) and `system`.

    Example:
        >>> list(describe_machine())
        ['processor', 'cores', 'accelerators', 'system']
    """
    return {
        "processor": _find_processor(),
        "cores": os.cpu_count(),
        "accelerators": accelerators(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def find_command() -> str | None:
    """Return the command line of `keras-dlcourse` that this process runs.

    Returns:
        The line, ready to be pasted into a shell; None in any other program, which may have done
        more than its own command line tells.

    Example:
        >>> find_command() is None
        True
    """
    program = Path(sys.argv[0])
    is_module = program.name == "__main__.py" and "keras_dlcourse" in program.parts
    if program.stem != "keras-dlcourse" and not is_module:
        return None
    return shlex.join(["keras-dlcourse", *sys.argv[1:]])


def _find_processor() -> str:
    """Return the name of the processor, or at least its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
