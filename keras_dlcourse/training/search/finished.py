"""The folder of a search: finished fits are not repeated."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np

from keras_dlcourse._files import user_path, write_bytes
from keras_dlcourse.saving.checkpoints import CheckpointFolder
from keras_dlcourse.saving.newest import find_intact
from keras_dlcourse.training.run.run_folder import RunFolder
from keras_dlcourse.training.search.one_fit import Recipe, Task

_WEIGHTS = "refit.npz"


class Finished:
    """The finished fits of a search, kept on disk if a folder is given.

    `search.json` describes the search, `fits/` has a file for each finished fit, written
    atomically, `refit.npz` has the weights of the refit, and `results.json` the results.

    Args:
        path: The folder; None keeps nothing.
        description: Describes the search; a different one in the folder is an error.

    Raises:
        FileExistsError: If the folder contains something else.
        RuntimeError: If another process is using the folder.
        ValueError: If the folder belongs to another search.
    """

    def __init__(self, path: str | os.PathLike[str] | None, description: dict[str, Any]) -> None:
        self.path = None if path is None else user_path(path)
        if self.path is None:
            return
        config = self.path / "search.json"
        if not config.exists() and self.path.exists() and any(self.path.iterdir()):
            raise FileExistsError(
                f"folder: {self.path} contains something else. Pass a new folder, or the folder "
                "of a search."
            )
        self._folder = CheckpointFolder(self.path)
        self._folder.lock()
        try:
            if config.exists():
                _check_same(self.path, json.loads(config.read_text(encoding="utf-8")), description)
            else:
                RunFolder.write_json(config, description)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the folder."""
        if self.path is not None:
            self._folder.unlock()

    def read(self, task: Task) -> dict[str, Any] | None:
        """Return the result of a fit, or None if it is not done yet."""
        found = _read_json(self._file(task))
        return None if found is None else {**found, **_measures(found)}

    def keep(self, task: Task, found: dict[str, Any]) -> None:
        """Write the result of a fit."""
        self._write(self._file(task), found)

    def results(self) -> dict[str, Any]:
        """Return the last results from `keep_results`, initially an empty dictionary."""
        return _read_json(self._path("results.json")) or {}

    def keep_results(self, results: dict[str, Any]) -> None:
        """Write the results of the search."""
        self._write(self._path("results.json"), results)

    def keep_picture(self, name: str, content: bytes) -> None:
        """Write an image file."""
        if self.path is not None:
            write_bytes(self.path / name, content)

    def load_refit(self, model: keras.Model) -> bool:
        """Load the weights of the refit into a model; return False if missing or damaged."""
        file = self._path(_WEIGHTS)
        if file is None or not file.exists():
            return False
        try:
            with np.load(find_intact(file)) as weights:
                model.set_weights([weights[f"arr_{number}"] for number in range(len(weights))])
        except (ValueError, OSError, BadZipFile):  # damaged: the model is fitted again
            return False
        return True

    def keep_refit(self, model: keras.Model) -> None:
        """Write the weights of the refit."""
        if self.path is not None:
            # NumPy format: only the weights, in order, without the optimizer state.
            weights = model.get_weights()
            self._folder.save(_WEIGHTS, lambda path: np.savez(path, *weights), group=_WEIGHTS)

    def _path(self, name: str) -> Path | None:
        return None if self.path is None else self.path / name

    def _file(self, task: Task) -> Path | None:
        return self._path(f"fits/value{task.value_number:03}-fold{task.fold:03}.json")

    @staticmethod
    def _write(path: Path | None, content: dict[str, Any]) -> None:
        if path is not None:
            RunFolder.write_json(path, content)


def describe_model(model: keras.Model) -> list[str]:
    """Return what distinguishes models: layers with their settings, loss, optimizer."""
    lines = []
    for layer in model._flatten_layers(include_self=False):
        config = {} if isinstance(layer, keras.Model) else layer.get_config()
        told = {name: value for name, value in config.items() if name not in ("name", "dtype")}
        shapes = [tuple(weight.shape) for weight in layer.weights]
        lines.append(stabilize(f"{type(layer).__name__} {told} {shapes}"))
    optimizer = model.optimizer.get_config()
    optimizer.pop("name", None)
    loss = getattr(model.loss, "name", getattr(model.loss, "__name__", model.loss))
    return [*lines, stabilize(f"{type(model.optimizer).__name__} {optimizer}"), f"loss {loss}"]


def describe_fit(recipe: Recipe) -> str:
    """Return what distinguishes ways of fitting: the arguments, or the source code."""
    if not callable(recipe.fit):
        return stabilize({name: value for name, value in recipe.fit.items() if name != "callbacks"})
    try:
        return inspect.getsource(recipe.fit)
    except (OSError, TypeError):  # defined at a prompt
        return stabilize(recipe.fit)


def describe_values(values: tuple[Any, ...]) -> list[str]:
    """Return a text for each value that distinguishes it from others."""
    return [stabilize(value) for value in values]


def stabilize(value: Any) -> str:
    """Return the text of a value without memory addresses and automatic names, which vary."""
    text = re.sub(r" at 0x[0-9a-f]+", "", str(value))
    return re.sub(r"'(shared_object_id|build_config|name)': [^,}]+,? ?", "", text)


def sha256(content: Any) -> str:
    """Return the SHA-256 of JSON-serializable content."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _check_same(path: Path, before: dict[str, Any], now: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(now))
    for name in now:
        if before.get(name) != now[name]:
            was, is_ = _first_difference(before.get(name), now[name])
            raise ValueError(
                f"folder: {path} belongs to another search: its {name} was {was}, now it is {is_}. "
                "Pass a new folder, or continue that search."
            )


def _first_difference(before: Any, now: Any) -> tuple[Any, Any]:
    """Return the first pair of entries that differ, shortened."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        before, now = next(pair for pair in zip(before, now, strict=True) if pair[0] != pair[1])
    return tuple(str(one)[:200] for one in (before, now))  # type: ignore[return-value]


def _read_json(path: Path | None) -> dict[str, Any] | None:
    try:
        return None if path is None else dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # missing or damaged: treat as not done
        return None


def _measures(found: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the measures, with NaN for null in JSON."""
    return {
        part: {name: math.nan if one is None else one for name, one in found[part].items()}
        for part in ("validation", "training")
    }
