"""A run as the files in its folder describe it, read without Keras."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_dlcourse._files import user_path


@dataclass(frozen=True)
class RecordedRun:
    """What the files of a run say.

    Attributes:
        folder: The folder of the run.
        config: The content of `config.json`.
        history: A list for each column of `history.csv`; None where a value is missing.
        results: The content of `results.json`.
    """

    folder: Path
    config: Mapping[str, Any] = field(repr=False)
    history: Mapping[str, list[float | None]] = field(repr=False)
    results: Mapping[str, Any] = field(repr=False)

    @property
    def task(self) -> str:
        """The name of its task; the first versions knew only one and did not record it."""
        return str(self.config.get("task", "classify"))


def read_run(folder: str | os.PathLike[str]) -> RecordedRun:
    """Read the folder of a run.

    Args:
        folder: A folder that `kd.training.run` or `keras-dlcourse train` wrote.

    Raises:
        FileNotFoundError: If it is not the folder of a run, or the run has no results yet.
        ValueError: If one of its files is damaged.

    Example:
        >>> read_run("nowhere")
        Traceback (most recent call last):
        ...
        FileNotFoundError: runs must be folders of runs. Received: nowhere, without config.json.
    """
    path = user_path(folder)
    if not (path / "config.json").is_file():
        raise FileNotFoundError(
            f"runs must be folders of runs. Received: {path}, without config.json."
        )
    if not (path / "results.json").is_file():
        raise FileNotFoundError(
            f"runs must have results. Received: {path}, without results.json. Wait for its end, or "
            "continue it with --resume."
        )
    return RecordedRun(
        path,
        _read_json(path / "config.json"),
        _read_history(path / "history.csv"),
        _read_json(path / "results.json"),
    )


def _read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be JSON, as a run writes it. Received: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} must be a JSON object, as a run writes it. Received: {type(content).__name__}"
        )
    return content


def _read_history(path: Path) -> dict[str, list[float | None]]:
    """Read the metrics of every epoch; a run that was stopped in the first one has none."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return {
            name: [float(row[name]) if row[name] else None for row in rows]
            for name in (rows[0] if rows else ())
        }
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} must be a table of numbers, as a run writes it. Received: {error}"
        ) from error
