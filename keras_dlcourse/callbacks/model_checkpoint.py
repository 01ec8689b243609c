"""Save models during training, safe against a kill, a full disk or a flipped bit."""

from __future__ import annotations

import io
import math
import os
import string
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse._files import user_path
from keras_dlcourse.callbacks._fit import (
    call_on_exception,
    callback_list_of,
    check_averages,
    is_validating,
)
from keras_dlcourse.callbacks._monitor import Direction, Monitor
from keras_dlcourse.callbacks._saving import ON_ERROR, check_save_freq, handle_save_errors
from keras_dlcourse.callbacks._states import Remembers
from keras_dlcourse.callbacks._weights import find_first_broken
from keras_dlcourse.saving.checkpoints import Checkpoint, CheckpointFolder


class ModelCheckpoint(Remembers, keras.callbacks.Callback):
    """Save the model, or its weights, after each epoch or every few batches.

    The interface is that of `keras.callbacks.ModelCheckpoint`, with these differences:

    - Each file is written under a temporary name, flushed and renamed: after a kill at any moment,
      or on a full disk, earlier saves are unchanged. `checkpoints.json` in the folder lists all
      files with SHA-256, and `kd.saving.latest_checkpoint` finds the newest, or best, intact one.
    - If `filepath` is one fixed name, the previous file stays as `name.previous.keras`.
    - `keep` and `keep_best` limit the number of files; older ones are deleted once the new one is
      complete.
    - If a save fails, a warning says what is still there, and training continues, unless
      `on_error="raise"`.
    - The better direction comes from the loss or metric, or from `mode`; NaN is never the best; a
      quantity that is not in the logs, or that is never measured at a save, is an error.
    - NaN or infinite weights are not saved, with a warning; earlier saves stay.
    - Two runs cannot use the same folder at the same time.

    Args:
        filepath: Path of the file, ending in `.keras`, or in `.weights.h5` with
            `save_weights_only=True`. The name may have fields that `str.format` fills: `epoch`
            (from 1), `batch` (from 1, with `save_freq` in batches) and the names in the logs, as in
            `"runs/{epoch:03d}-{val_loss:.2f}.keras"`.
        monitor: Name in the logs of the quantity that decides what is best.
        verbose: 1 prints a line at each save, 0 prints nothing.
        save_best_only: Whether to save only when the quantity is better than ever before.
        save_weights_only: Whether to save only the weights instead of the whole model with its
            optimizer.
        mode: `"min"` if lower is better, `"max"` if higher is better; `"auto"` infers it from the
            loss or metric.
        save_freq: `"epoch"`, or a number of batches.
        initial_value_threshold: With `save_best_only`, the value that the first save must beat.
        keep: Number of newest files to keep; None keeps all, or only the last one if `keep_best` is
            given.
        keep_best: Number of best files to keep in addition.
        on_error: What to do if a save fails, e.g. on a full disk: `"warn"` and continue, or
            `"raise"`.

    Attributes:
        best: Best value so far, or None.
        direction: `"min"` or `"max"`, once it is known.
        batches: Number of batches since the last save.

    Raises:
        ValueError: If an argument is out of range, or a validation quantity is monitored with
            `save_freq` in batches; in `fit` if the monitored quantity or a field of the name is not
            in the logs, or `fit` ends before it was measured.
        RuntimeError: If another run uses the folder.
        OSError: If the folder cannot be written to at all; later, if `on_error="raise"`.

    Example:
        >>> import keras, numpy as np, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> saver = ModelCheckpoint(folder + "/{epoch:02d}.keras", monitor="loss", keep=2)
        >>> history = model.fit(np.ones((8, 2)), np.ones(8), epochs=4, verbose=0,
        ...                     callbacks=[saver])
        >>> sorted(name for name in os.listdir(folder) if name.endswith(".keras"))
        ['03.keras', '04.keras']
    """

    _remembered = ("best", "direction", "batches")

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: int | str = "epoch",
        initial_value_threshold: float | None = None,
        keep: int | None = None,
        keep_best: int | None = None,
        on_error: str = "warn",
    ) -> None:
        super().__init__()
        path = user_path(filepath)
        ending = ".weights.h5" if save_weights_only else ".keras"
        if not path.name.endswith(ending):
            raise ValueError(
                f"filepath must end in {ending!r} with save_weights_only={save_weights_only}. "
                f"Received: {str(filepath)!r}"
            )
        if _fields(str(path.parent)):
            raise ValueError(
                "filepath must have fields such as {epoch} only in the file name, not in the "
                f"folder. Received: {str(filepath)!r}"
            )
        check_save_freq(save_freq)
        check_one_of("on_error", on_error, ON_ERROR)
        for name, value in (("keep", keep), ("keep_best", keep_best)):
            if value is None:
                continue
            check_integer(name, value)
            if not _fields(path.name):
                raise ValueError(
                    f"{name}={value} needs a separate name for each file, such as "
                    f"'model-{{epoch:03d}}{ending}'. Received: {path.name!r}"
                )
        self._needs_value = bool(save_best_only) or keep_best is not None
        if self._needs_value and save_freq != "epoch" and str(monitor).startswith("val_"):
            raise ValueError(
                f"monitor={monitor!r} is measured at the end of an epoch, but "
                f"save_freq={save_freq} saves within epochs, where it is never in the logs. Pass "
                "save_freq='epoch', or monitor a training quantity, such as "
                f"{monitor.removeprefix('val_')!r}."
            )
        self.filepath = path
        self.monitor = monitor
        self.verbose = verbose
        self.save_best_only = bool(save_best_only)
        self.save_weights_only = bool(save_weights_only)
        self.save_freq = save_freq
        self.keep, self.keep_best = keep, keep_best
        self.on_error = on_error
        self.initial_value_threshold = initial_value_threshold
        self.best = initial_value_threshold
        self._quantity = Monitor(monitor, mode, 0.0, "ModelCheckpoint")
        self._folder = CheckpointFolder(path.parent)
        self._epoch = self._last = self.batches = 0
        self.async_safe = save_freq == "epoch"  # tells Keras not to wait for the batch hook

    @property
    def direction(self) -> Direction | None:
        """`"min"` or `"max"`, once it is known; else None."""
        return self._quantity.direction

    @direction.setter
    def direction(self, value: Direction | None) -> None:
        self._quantity.direction = value

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Lock the folder and reset the state."""
        self.best = self.initial_value_threshold
        self.batches = 0
        self._quantity.start()
        self._tried = self._warned = False
        if self._needs_value:
            check_averages(self, self.monitor, sys._getframe())
        self._folder.unlock()
        self._folder.lock()
        callback_list = callback_list_of(self, sys._getframe())
        if callback_list is not None:
            call_on_exception(callback_list, lambda error: self._folder.unlock())

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Reset the batch counter of the epoch."""
        self._epoch, self._last = epoch, -1

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save, if a save is due."""
        self.batches += batch - self._last
        self._last = batch
        if isinstance(self.save_freq, int) and self.batches >= self.save_freq:
            self.batches = 0
            self._save(logs or {}, batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save, if a save is due."""
        if self.save_freq == "epoch":
            self._save(logs or {}, None)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Release the folder, and warn if nothing was saved."""
        self._folder.unlock()
        if self._tried and self._needs_value and not self._quantity.seen:
            raise ValueError(
                f"ModelCheckpoint never saw {self.monitor!r}: fit ended before validation ran. "
                "Lower validation_freq, or monitor a training quantity."
            )
        why = ""
        if not self._tried and self.save_freq != "epoch":
            why = f"save_freq is {self.save_freq} batches, but fit had {self.batches}; lower it"
        elif self._tried and self.save_best_only and self.best is None:
            why = f"{self.monitor!r} was never finite at a save"
        if why:
            warnings.warn(f"ModelCheckpoint has saved nothing: {why}.", stacklevel=2)

    def _is_broken(self) -> bool:
        """Return whether a weight is NaN or infinite, and warn the first time."""
        broken = find_first_broken(self.model)
        if broken is not None and not self._warned:
            self._warned = True
            warnings.warn(
                f"ModelCheckpoint does not save: in epoch {self._epoch + 1} the weight "
                f"{broken.path!r} is NaN or infinite. Earlier saves are still there. "
                "Use kd.callbacks.TerminateOnNaN to find the cause.",
                stacklevel=4,
            )
        return broken is not None

    def _save(self, logs: Mapping[str, Any], batch: int | None) -> None:
        self._tried = True
        value = self._value(logs)
        is_best = value is not None and self._quantity.is_better(value, self.best)
        if (self.save_best_only and not is_best) or self._is_broken():
            return
        if self.save_best_only:
            self.best = value
        path = self.filepath.with_name(self._name(logs, batch))
        with handle_save_errors(self.on_error, f"ModelCheckpoint could not save {path}"):
            self._folder.save(
                path.name,
                self._write,
                group=self.filepath.name,
                epoch=self._epoch + 1,
                value=value,
                mode=self._quantity.direction,
            )
            if self.keep is not None or self.keep_best is not None:
                self._folder.prune(self.filepath.name, self._choose_kept)
            if self.verbose:
                print(f"\nModelCheckpoint: saved {path}")

    def _value(self, logs: Mapping[str, Any]) -> float | None:
        """Return the monitored value; None if it is not finite or was not measured."""
        if not self._needs_value and self.monitor not in logs:
            return None
        # Within an epoch there is no validation: a missing "val_" name is not an error.
        value = self._quantity.read(logs, lambda: is_validating(self))
        if value is None or not math.isfinite(value):
            return None
        self._quantity.resolve(self.model, required=self._needs_value)
        return value

    def _name(self, logs: Mapping[str, Any], batch: int | None) -> str:
        fields = {**logs, "epoch": self._epoch + 1}
        if batch is not None:
            fields["batch"] = batch + 1
        try:
            return self.filepath.name.format(**fields)
        except KeyError as error:
            raise ValueError(
                f"filepath {self.filepath.name!r} names {error}, which is not in the logs. The "
                f"logs have: {', '.join(fields)}."
            ) from error

    def _write(self, path: Path) -> None:
        if self.save_weights_only:
            content = _InMemory()
            self.model.save_weights(content)
            path.write_bytes(content.getbuffer())
        else:
            self.model.save(path)

    def _choose_kept(self, there: list[Checkpoint]) -> list[Checkpoint]:
        """Return the checkpoints to keep: the newest ones and the best ones."""
        newest = there[-(self.keep or 1) :]
        measured = [found for found in there if found.facts["value"] is not None]
        sign = -1 if self._quantity.direction == "max" else 1
        best = sorted(measured, key=lambda found: sign * found.facts["value"])
        return newest + best[: self.keep_best or 0]


class _InMemory(io.BytesIO):
    """An in-memory weights file: HDF5 kills the process if it writes to a full disk."""

    def __str__(self) -> str:
        return "memory.weights.h5"  # Keras infers the format from the name


def _fields(name: str) -> list[str]:
    """Return the names of the fields in a format string."""
    return [field for _, field, _, _ in string.Formatter().parse(name) if field]
