"""The folder of a run: what is in it, by name."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_dlcourse._files import user_path, write_text


class RunFolder:
    """The folder of one run, and the paths of the files in it.

    Args:
        path: A folder that does not exist yet or is empty, or with `resume` one of a run.
        resume: Whether to go on with a run that was broken off.

    Attributes:
        path: The folder.
        config: `config.json`: what the run was told.
        history: `history.csv`: the metrics of each epoch.
        results: `results.json`: what came out.
        model: `model.keras`: the Keras model with the best weights.
        report: `report.html`: all of it on one page.
        maps: `maps/`: class activation maps drawn during the training.
        backup: `backup/`: the state of the training, until the run is through.

    Raises:
        FileExistsError: If there is something in the folder: nothing is ever written over.
        FileNotFoundError: If there is no run to go on with.
        OSError: If the folder cannot be made or written to.

    Example:
        >>> import tempfile
        >>> folder = RunFolder(tempfile.mkdtemp() + "/run")
        >>> folder.tflite("int8").name
        'model.int8.tflite'
    """

    def __init__(self, path: str | os.PathLike[str], resume: bool = False) -> None:
        self.path = user_path(path)
        if not resume:
            check_free(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
        self.config = self.path / "config.json"
        self.history = self.path / "history.csv"
        self.results = self.path / "results.json"
        self.model = self.path / "model.keras"
        self.report = self.path / "report.html"
        self.maps = self.path / "maps"
        self.backup = self.path / "backup"
        if resume and not self.config.exists():
            raise FileNotFoundError(
                f"output: {self.path} holds no run that was begun (no {self.config.name}); leave "
                "resume away to begin one"
            )

    def tflite(self, quantization: str) -> Path:
        """Return the path of an exported file."""
        return self.path / f"model.{quantization}.tflite"

    def require_space(self, needed: int) -> None:
        """Raise OSError if the disk has less free space than a run will need.

        Args:
            needed: Bytes.
        """
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise OSError(
                f"the disk of {self.path} has {free / 1e6:,.0f} MB left, but this run needs about "
                f"{needed / 1e6:,.0f} MB; make room or choose another folder"
            )

    @staticmethod
    def write_json(path: Path, content: Mapping[str, Any]) -> None:
        """Write a JSON file that people can read; numbers that are not finite become null."""
        text = json.dumps(_finite(content), indent=2, ensure_ascii=True, allow_nan=False)
        # A list of numbers on one line. (Strings hold no line breaks in JSON.)
        text = re.sub(r"\[\n[\d\s.,e+-]+\]", lambda found: " ".join(found[0].split()), text)
        write_text(path, text + "\n")


def check_free(path: str | os.PathLike[str]) -> None:
    """Raise FileExistsError if `path` is a file or a folder with something in it.

    Args:
        path: Where a run is to be written.

    Raises:
        FileExistsError: If something is there.

    Example:
        >>> import tempfile
        >>> check_free(tempfile.mkdtemp())
    """
    path = user_path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        kind = "is not empty" if path.is_dir() else "is a file"
        raise FileExistsError(f"output: {path} {kind}; nothing is written over: name a new folder")


def first_free(path: str | os.PathLike[str]) -> Path:
    """Return `path`, or `path-2`, `path-3` and so on: the first that does not exist.

    Args:
        path: A folder.

    Returns:
        A folder that does not exist.

    Example:
        >>> import tempfile
        >>> first_free(tempfile.mkdtemp()).name.endswith("-2")
        True
    """
    path, number = user_path(path), 1
    candidate = path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON has not, by None."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
