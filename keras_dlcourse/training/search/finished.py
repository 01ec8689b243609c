"""The folder of a search: what was fitted already is not fitted again."""

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
from keras_dlcourse.saving.newest import checked
from keras_dlcourse.training.run.run_folder import RunFolder
from keras_dlcourse.training.search.one_fit import Recipe, Task

_WEIGHTS = "refit.npz"


class Finished:
    """The fits of a search that are through, on the disk where a folder is named.

    `search.json` says what the search is, `fits/` has a file for each fit, written whole when it is
    through, `refit.npz` the weights of the refit, `results.json` what came out.

    Args:
        path: The folder, None to keep nothing.
        description: What the search is; another one in the folder is refused.

    Raises:
        FileExistsError: If the folder holds something else.
        RuntimeError: If another process searches there.
        ValueError: If it holds another search.
    """

    def __init__(self, path: str | os.PathLike[str] | None, description: dict[str, Any]) -> None:
        self.path = None if path is None else user_path(path)
        if self.path is None:
            return
        config = self.path / "search.json"
        if not config.exists() and self.path.exists() and any(self.path.iterdir()):
            raise FileExistsError(
                f"folder: {self.path} holds something else; name a new folder, or that of a search."
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
        """Let others search there."""
        if self.path is not None:
            self._folder.unlock()

    def read(self, task: Task) -> dict[str, Any] | None:
        """Return what a fit gave, None if it is still to be done."""
        found = _read_json(self._file(task))
        return None if found is None else {**found, **_measures(found)}

    def keep(self, task: Task, found: dict[str, Any]) -> None:
        """Write what a fit gave."""
        self._write(self._file(task), found)

    def results(self) -> dict[str, Any]:
        """Return what `keep_results` wrote last, an empty dictionary at first."""
        return _read_json(self._path("results.json")) or {}

    def keep_results(self, results: dict[str, Any]) -> None:
        """Write what came out of the search."""
        self._write(self._path("results.json"), results)

    def keep_picture(self, name: str, content: bytes) -> None:
        """Write a picture."""
        if self.path is not None:
            write_bytes(self.path / name, content)

    def load_refit(self, model: keras.Model) -> bool:
        """Load the weights of the refit into a model; say whether they were there, and whole."""
        file = self._path(_WEIGHTS)
        if file is None or not file.exists():
            return False
        try:
            with np.load(checked(file)) as weights:
                model.set_weights([weights[f"arr_{number}"] for number in range(len(weights))])
        except (ValueError, OSError, BadZipFile):  # damaged: it is fitted again
            return False
        return True

    def keep_refit(self, model: keras.Model) -> None:
        """Write the weights of the refit."""
        if self.path is not None:
            # NumPy's own format: the weights alone, in order, without the state of the optimizer.
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
    """Return what tells one model from another: layers with their settings, loss, optimizer."""
    lines = []
    for layer in model._flatten_layers(include_self=False):
        config = {} if isinstance(layer, keras.Model) else layer.get_config()
        told = {name: value for name, value in config.items() if name not in ("name", "dtype")}
        shapes = [tuple(weight.shape) for weight in layer.weights]
        lines.append(steady(f"{type(layer).__name__} {told} {shapes}"))
    optimizer = model.optimizer.get_config()
    optimizer.pop("name", None)
    loss = getattr(model.loss, "name", getattr(model.loss, "__name__", model.loss))
    return [*lines, steady(f"{type(model.optimizer).__name__} {optimizer}"), f"loss {loss}"]


def describe_fit(recipe: Recipe) -> str:
    """Return what tells one way of fitting from another: arguments, or the code."""
    if not callable(recipe.fit):
        return steady({name: value for name, value in recipe.fit.items() if name != "callbacks"})
    try:
        return inspect.getsource(recipe.fit)
    except (OSError, TypeError):  # typed at a prompt
        return steady(recipe.fit)


def describe_values(values: tuple[Any, ...]) -> list[str]:
    """Return what tells values apart, as text."""
    return [steady(value) for value in values]


def steady(value: Any) -> str:
    """Return a text without places in memory and numbers of names, which differ each time."""
    text = re.sub(r" at 0x[0-9a-f]+", "", str(value))
    return re.sub(r"'(shared_object_id|build_config|name)': [^,}]+,? ?", "", text)


def sha256(content: Any) -> str:
    """Return the SHA-256 of what JSON can hold."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _check_same(path: Path, before: dict[str, Any], now: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(now))
    for name in now:
        if before.get(name) != now[name]:
            was, is_ = _first_difference(before.get(name), now[name])
            raise ValueError(
                f"folder: {path} holds another search: its {name} was {was}, now it is {is_}. "
                "Name a new folder, or go on with that search."
            )


def _first_difference(before: Any, now: Any) -> tuple[Any, Any]:
    """Return the first pair of entries that differ, shortened."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        before, now = next(pair for pair in zip(before, now, strict=True) if pair[0] != pair[1])
    return tuple(str(one)[:200] for one in (before, now))  # type: ignore[return-value]


def _read_json(path: Path | None) -> dict[str, Any] | None:
    try:
        return None if path is None else dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # not there, or damaged: as if it had not been done
        return None


def _measures(found: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the measures with NaN where JSON has null."""
    return {
        part: {name: math.nan if one is None else one for name, one in found[part].items()}
        for part in ("validation", "training")
    }
