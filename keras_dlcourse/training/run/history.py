"""The history of a run on disk, complete after every epoch."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Mapping
from typing import Any

import keras

from keras_dlcourse._files import user_path, write_text


class HistoryFile(keras.callbacks.Callback):
    """Write `history.csv`: one row per epoch, one column per metric, and the seconds since start.

    Unlike `keras.callbacks.CSVLogger`, it never leaves a partial row: after each epoch, the file is
    written under a temporary name and renamed, so it can be read during training or after a crash.

    Args:
        path: The file.

    Example:
        >>> import pathlib, tempfile
        >>> history = HistoryFile(pathlib.Path(tempfile.mkdtemp()) / "history.csv")
        >>> history.on_train_begin()
        >>> history.on_epoch_end(0, {"loss": 1.5})
        >>> history.path.read_text().splitlines()[0]
        'epoch,loss,seconds'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = user_path(path)
        self.rows: list[dict[str, float]] = []
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """The training time so far, including that of earlier processes."""
        return time.monotonic() - self._began

    @property
    def columns(self) -> dict[str, list[float]]:
        """A list for each column, one value per epoch, as in `model.fit(...).history`."""
        return {name: [row[name] for row in self.rows] for name in self._names()}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the clock and clear the history."""
        self.rows, self._began = [], time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the epoch's row and write the file."""
        # Metrics are single precision: more digits would be noise.
        metrics = {name: float(f"{float(value):.7g}") for name, value in (logs or {}).items()}
        seconds = round(self.seconds, 2)
        self.rows.append({"epoch": epoch + 1, **metrics, "seconds": seconds})
        text = io.StringIO()
        writer = csv.DictWriter(text, self._names(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far, and the seconds elapsed.

        Example:
            >>> HistoryFile("history.csv").state_dict()["rows"]
            []
        """
        return {"rows": list(self.rows), "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the rows of a `state_dict`."""
        self.rows = [dict(row) for row in state["rows"]]
        self._began = time.monotonic() - state["seconds"]

    def _names(self) -> list[str]:
        """Return the names of the columns."""
        return list(self.rows[0]) if self.rows else []
