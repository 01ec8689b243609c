"""The history of a run on the disk, whole after every epoch."""

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
    """Write `history.csv`: a row an epoch, a column a metric, and the seconds since the start.

    Unlike `keras.callbacks.CSVLogger` it never leaves half a row: the file is written beside and
    renamed after each epoch, so that it can be read while the training goes on or after it died.

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
        """How long the training has taken so far, that of earlier processes included."""
        return time.monotonic() - self._began

    @property
    def columns(self) -> dict[str, list[float]]:
        """A list for each column, one number an epoch, as `model.fit(...).history` has them."""
        return {name: [row[name] for row in self.rows] for name in self._names()}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the clock and an empty history."""
        self.rows, self._began = [], time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the epoch's row and write the file."""
        # Metrics are of single precision: more digits would be noise.
        metrics = {name: float(f"{float(value):.7g}") for name, value in (logs or {}).items()}
        seconds = round(self.seconds, 2)
        self.rows.append({"epoch": epoch + 1, **metrics, "seconds": seconds})
        text = io.StringIO()
        writer = csv.DictWriter(text, self._names(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far, and the seconds they took.

        Example:
            >>> HistoryFile("history.csv").state_dict()["rows"]
            []
        """
        return {"rows": list(self.rows), "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the rows of a `state_dict`."""
        self.rows = [dict(row) for row in state["rows"]]
        self._began = time.monotonic() - state["seconds"]

    def _names(self) -> list[str]:
        """Return the names of the columns."""
        return list(self.rows[0]) if self.rows else []
