"""The folder of a run, and the names of the files in it."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_dlcourse._files import check_free, user_path, write_text
from keras_dlcourse._moved import renamed_arguments


class RunFolder:
    """The folder of one run, and the paths of the files in it.

    Args:
        folder: A folder that does not exist yet or is empty; with `resume`, the folder of a run.
        resume: Whether to continue an interrupted run.

    Attributes:
        path: The folder.
        config: `config.json`: the settings of the run.
        split: `split.json`: which images are in which part, by their content.
        history: `history.csv`: the metrics of each epoch.
        results: `results.json`: the results.
        model: `model.keras`: the Keras model with the best weights.
        trained_in_integers: `model.int8.keras`: the copy that `model.int8.tflite` was made from, if
            it was repaired by training.
        report: `report.html`: everything on one page.
        maps: `maps/`: pictures drawn during training, for classification class activation maps.
        backup: `backup/`: the training state, until the run is complete.

    Raises:
        FileExistsError: If the folder is not empty: nothing is ever overwritten.
        FileNotFoundError: If there is no run to resume.
        OSError: If the folder cannot be created or written to.

    Example:
        >>> import tempfile
        >>> folder = RunFolder(tempfile.mkdtemp() + "/run")
        >>> folder.tflite("int8").name
        'model.int8.tflite'
    """

    SPLIT = "split.json"

    @renamed_arguments(path="folder")
    def __init__(self, folder: str | os.PathLike[str], resume: bool = False) -> None:
        self.path = user_path(folder)
        if not resume:
            check_free("folder", self.path)
            self.path.mkdir(parents=True, exist_ok=True)
        self.config = self.path / "config.json"
        self.split = self.path / self.SPLIT
        self.history = self.path / "history.csv"
        self.results = self.path / "results.json"
        self.model = self.path / "model.keras"
        self.trained_in_integers = self.path / "model.int8.keras"
        self.report = self.path / "report.html"
        self.maps = self.path / "maps"
        self.backup = self.path / "backup"
        if resume and not self.config.exists():
            raise FileNotFoundError(
                f"folder must hold a run to resume. Received: {self.path}, without "
                f"{self.config.name}. Omit resume to start a run."
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
                f"{needed / 1e6:,.0f} MB. Free some space or choose another folder."
            )

    @staticmethod
    def write_json(path: Path, content: Mapping[str, Any]) -> None:
        """Write a human-readable JSON file; NaN and infinity become null."""
        text = json.dumps(_replace_nonfinite(content), indent=2, ensure_ascii=True, allow_nan=False)
        # Put each list of numbers on one line. (JSON strings contain no line breaks.)
        text = re.sub(r"\[\n[\d\s.,e+-]+\]", lambda found: " ".join(found[0].split()), text)
        write_text(path, text + "\n")


@renamed_arguments(path="folder")
def first_free(folder: str | os.PathLike[str]) -> Path:
    """Return `folder`, or `folder-2`, `folder-3` and so on: the first that does not exist.

    Args:
        folder: A folder.

    Returns:
        A folder that does not exist.

    Example:
        >>> import tempfile
        >>> first_free(tempfile.mkdtemp()).name.endswith("-2")
        True
    """
    path, number = user_path(folder), 1
    candidate = path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _replace_nonfinite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not support, with None."""
    if isinstance(value, Mapping):
        return {key: _replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_nonfinite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
