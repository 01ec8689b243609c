"""One error message for missing optional dependencies."""

from __future__ import annotations

import importlib.util


def require(part: str, extra: str, *modules: str) -> None:
    """Raise an error with the pip command to run if a module that `part` needs is not installed.

    Args:
        part: Name of the part that needs the modules, e.g. `"keras_dlcourse.models"`.
        extra: The extra of this distribution that installs them, e.g. `"tensorflow"`.
        *modules: Top-level module names.

    Raises:
        ImportError: If a module is missing.

    Example:
        >>> require("keras_dlcourse.edge", "edge", "numpy")
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(
            f"{part} needs {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed: "
            f"pip install 'keras-dlcourse[{extra}]'"
        )
