"""Back up the training state, so that training resumes after a kill as if uninterrupted."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_folder, check_one_of
from keras_dlcourse._files import user_path
from keras_dlcourse.callbacks._fit import (
    arguments_of,
    call_before,
    call_on_exception,
    callback_list_of,
)
from keras_dlcourse.callbacks._interrupts import DeferredInterrupt
from keras_dlcourse.callbacks._saving import ON_ERROR, check_save_freq, handle_save_errors
from keras_dlcourse.callbacks._states import has_state, load_state, name_parts, state_of
from keras_dlcourse.callbacks._weights import find_first_nan
from keras_dlcourse.data.trainer import TrainerData
from keras_dlcourse.saving.checkpoints import CheckpointFolder
from keras_dlcourse.saving.state import capture, read_state, restore, write_state


class BackupAndRestore(keras.callbacks.Callback):
    """Save the training state, and resume exactly from it in the next `fit`.

    The interface is that of `keras.callbacks.BackupAndRestore`, with these differences:

    - Training that is killed and restarted ends with exactly the same weights and history as
      uninterrupted training. The saved state consists of the weights, the optimizer, the seeds of
      dropout and augmentation, the metrics of the epoch so far, the history, all stateful callbacks
      of this `fit` (those with `state_dict`, and Keras's own), and the data. Batches after the last
      save run again, from the same state.
    - With `save_freq` in batches, an epoch resumes at its next batch. This requires data that
      supports it: the result of `kd.data.pipeline`, or a sampler.
    - A kill during a save, a full disk or a damaged file loses no more than the time since the
      previous save: files are written under a temporary name, flushed and renamed, with SHA-256
      hashes in a manifest, and the previous file stays until the new one is complete.
    - A state with NaN weights is not saved, with a warning; the previous one stays.
    - Ctrl-C and SIGTERM (sent by a scheduler that reclaims a machine) save before training ends.
    - Two runs cannot use the same folder at the same time.

    The model must be built and compiled in the same way as before. Results computed on several
    threads or on a GPU may differ in the last bits from run to run, killed or not.

    Args:
        backup_dir: Folder for this training only.
        save_freq: `"epoch"`, or a number of batches.
        double_checkpoint: Whether to keep the save before the last one, in case a file gets damaged
            on disk.
        delete_checkpoint: Whether to delete the folder after `fit` has ended successfully.
        also: Other stateful objects, with `state_dict()` and `load_state_dict(state)`, such as data
            that is passed to `fit` inside a wrapper. The data and callbacks of this `fit` are
            included automatically.
        on_error: What to do if a save fails, e.g. on a full disk: `"warn"` and continue, or
            `"raise"`.
        verbose: 1 prints one line that says where training resumes, 0 prints nothing.

    Raises:
        ValueError: If an argument is out of range; in `fit`, if the data cannot resume within an
            epoch, or if the state is from another model or other data.
        RuntimeError: If another run uses the folder.
        OSError: If the folder cannot be written to at all; later, if `on_error="raise"`.

    Example:
        >>> import tempfile, keras_dlcourse as kd
        >>> def train(stop_after):
        ...     keras.utils.set_random_seed(0)
        ...     model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(),
        ...                               keras.layers.Dropout(0.5), keras.layers.Dense(2)])
        ...     model.compile("adam", "mse")
        ...     data = kd.data.pipeline(np.ones((8, 4, 4, 1)), np.eye(2)[[0, 1] * 4], batch_size=2,
        ...                             shuffle=True)
        ...     def stop(batch, logs):
        ...         stop.count += 1
        ...         if stop.count == stop_after:
        ...             raise MemoryError
        ...     stop.count = 0
        ...     backup = kd.callbacks.BackupAndRestore(folder, save_freq=3)
        ...     killer = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
        ...     model.fit(data, epochs=3, verbose=0, callbacks=[backup, killer])
        ...     return model.get_weights()[0]
        >>> folder = tempfile.mkdtemp()
        >>> expected = train(stop_after=None)
        >>> try:
        ...     _ = train(stop_after=8)
        ... except MemoryError:
        ...     resumed = train(stop_after=None)
        BackupAndRestore: resuming at batch 3 of epoch 2.
        >>> bool((resumed == expected).all())
        True
    """

    def __init__(
        self,
        backup_dir: str | Path,
        save_freq: int | str = "epoch",
        double_checkpoint: bool = True,
        delete_checkpoint: bool = True,
        also: Sequence[Any] = (),
        on_error: str = "warn",
        verbose: int = 1,
    ) -> None:
        super().__init__()
        check_folder("backup_dir", backup_dir)
        check_save_freq(save_freq)
        check_one_of("on_error", on_error, ON_ERROR)
        for part in also:
            if not has_state(part):
                raise TypeError(
                    "also must contain objects with state_dict() and load_state_dict(). "
                    f"Received: {type(part).__name__}"
                )
        self.backup_dir = user_path(backup_dir)
        self.save_freq = save_freq
        self.double_checkpoint = bool(double_checkpoint)
        self.delete_checkpoint = bool(delete_checkpoint)
        self.also = tuple(also)
        self.on_error = on_error
        self.verbose = verbose
        self._folder = CheckpointFolder(self.backup_dir)
        self._interrupts = self._new_interrupts()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Lock the folder, restore weights and optimizer, and find the other stateful objects."""
        callback_list = callback_list_of(self, sys._getframe())
        if callback_list is None:
            raise RuntimeError("BackupAndRestore must be passed to Model.fit, but found no fit.")
        arguments = arguments_of(self, sys._getframe())
        self._data = arguments.get("x")
        self._parts = self._find_parts(callback_list)
        self._check_data()
        self._validates = arguments.get("validation_data") is not None
        self._before_validation: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None
        self._epoch = self._first = 0
        # Read once: on JAX, each access to `self.model` syncs all weights from the training loop.
        self._at_once = self.model.steps_per_execution
        self._saved: int | None = None
        self._warned = False
        self._folder.unlock()
        self._folder.lock()
        self._interrupts.uninstall()
        self._interrupts = self._new_interrupts()
        self._resumed = self._load()
        # Before all other callbacks: those that end this `fit` may restore the best weights.
        call_before(callback_list, "on_epoch_begin", self._at_epoch)
        call_before(callback_list, "on_train_batch_begin", self._at_batch)
        call_before(callback_list, "on_test_batch_begin", self._at_test_batch)
        call_on_exception(callback_list, self._leave)

    # Deferred signals are raised here, so that other callbacks learn that this `fit` ends.

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Raise a deferred signal."""
        self._interrupts.check()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Raise a deferred signal."""
        self._interrupts.check()

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Raise a deferred signal."""
        self._interrupts.check()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Release the folder: training is complete."""
        self._interrupts.uninstall()
        if self.delete_checkpoint:
            self._folder.remove()
        self._folder.unlock()
        self._interrupts.check()

    def _find_parts(self, callback_list: Any) -> dict[str, Any]:
        """Return all stateful objects, by names that stay the same in the next process."""
        parts: list[Any] = []
        for part in (*self.also, self._data, *callback_list.callbacks):
            if has_state(part) and not any(part is known for known in parts):
                parts.append(part)
        self._has_data = not all(isinstance(part, keras.callbacks.Callback) for part in parts)
        return name_parts(parts)

    def _check_data(self) -> None:
        data, steps = self._data, self.params.get("steps")
        if isinstance(data, TrainerData) and steps != data.num_batches:
            raise ValueError(
                f"steps_per_epoch must be the number of batches in the data, {data.num_batches}, "
                f"with BackupAndRestore. Received: {steps}. Omit steps_per_epoch."
            )
        self._is_exact = self._has_data and steps is not None
        if self.save_freq != "epoch" and not self._is_exact:
            raise ValueError(
                f"save_freq={self.save_freq} needs data that can resume within an epoch, with "
                "state_dict() and load_state_dict(). Received data: "
                f"{type(data).__name__}. Pass kd.data.pipeline(x, y, ...) to fit, pass the "
                "stateful object in also=, or use save_freq='epoch' to resume from whole epochs."
            )

    def _load(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Restore weights and optimizer from the newest intact state; metrics and data follow."""
        newest = next(self._folder.find_intact(), None)
        if newest is None:
            if self._folder.checkpoints():
                raise ValueError(
                    f"all states in {self.backup_dir} are damaged: delete the folder to restart."
                )
            return None
        arrays, facts = read_state(self._folder.path / newest.name)
        if set(facts["states"]) != set(self._parts):
            raise ValueError(
                f"{self.backup_dir} holds the state of a fit with {_names(facts['states'])}; this "
                f"one has {_names(self._parts)}. Pass the same callbacks and data, or a new folder."
            )
        restore(self.model, arrays, "variables", "optimizer")
        # The only way to set the first epoch; `fit` reads it after this hook.
        self.model._initial_epoch = facts["epoch"]
        if self.verbose:
            print(
                f"BackupAndRestore: resuming at batch {facts['batch'] + 1} of epoch "
                f"{facts['epoch'] + 1}."
            )
        return arrays, facts

    def _at_epoch(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Resume within an epoch, or save between two epochs."""
        self._epoch, self._first, self._before_validation = epoch, 0, None
        self._interrupts.install()
        if self._resumed is not None:
            arrays, facts = self._resumed
            self._resumed = None
            self.model._initial_epoch = None  # a later `fit` uses its own `initial_epoch`
            self._first = facts["batch"]
            if self._first:
                self._restore_metrics(arrays)
            for name, state in facts["states"].items():
                load_state(self._parts[name], state)
            self._saved = self._position(self._first)
        elif self._saved is None:
            self._saved = self._position(0)
        elif self._interrupts.received or self.save_freq == "epoch" or self._is_due(0):
            self._save(None)

    def _restore_metrics(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore the running means of the epoch's metrics."""
        if not self.model.metrics_variables or sum(
            key.startswith("metrics/") for key in arrays
        ) != len(self.model.metrics_variables):
            # With TensorFlow, metrics create their variables at the first batch.
            data: Any = self._data
            batch = data[0] if hasattr(data, "__getitem__") else next(iter(data))
            self.model.test_on_batch(*batch)
        restore(self.model, arrays, "metrics")

    def _at_batch(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save if a save is due, or if a signal was received."""
        batch += self._first
        if self._is_exact:
            if self._interrupts.received or (batch and self._is_due(batch)):
                self._save(batch)
            steps = self.params["steps"]
            if self._validates and batch + self._at_once >= steps:
                # `fit` cannot resume within validation.
                self._before_validation = self._state(batch)

    def _at_test_batch(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Before a signal ends validation, save the state from before the epoch's last batch."""
        if self._interrupts.received and self._before_validation is not None:
            self._write(*self._before_validation)
            self._before_validation = None

    def _position(self, batch: int) -> int:
        """Return the batch number counted over all epochs."""
        return self._epoch * (self.params.get("steps") or 0) + batch

    def _is_due(self, batch: int) -> bool:
        if not isinstance(self.save_freq, int) or self._saved is None:
            return False
        return self._position(batch) // self.save_freq > self._saved // self.save_freq

    def _save(self, batch: int | None) -> None:
        self._saved = self._position(batch or 0)
        self._write(*self._state(batch, copy=False))

    def _state(
        self, batch: int | None, copy: bool = True
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        states = {name: state_of(part, batch) for name, part in self._parts.items()}
        return capture(self.model, copy), {
            "epoch": self._epoch,
            "batch": batch or 0,
            "states": states,
        }

    def _write(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
        broken = find_first_nan(arrays)
        if broken is not None:
            self._warn_once(broken, facts)
            return
        with handle_save_errors(
            self.on_error, f"BackupAndRestore could not save to {self.backup_dir}"
        ):
            known = self._folder.checkpoints()
            number = 1 + max((row.facts["number"] for row in known), default=0)
            self._folder.save(
                f"{number:06}.state",
                lambda path: write_state(path, arrays, facts),
                number=number,
                epoch=facts["epoch"],
                batch=facts["batch"],
            )
            self._folder.prune("", lambda rows: rows[-1 - self.double_checkpoint :])

    def _warn_once(self, number: int, facts: dict[str, Any]) -> None:
        if self._warned:
            return
        self._warned = True
        warnings.warn(
            f"BackupAndRestore does not save: before batch {facts['batch'] + 1} of epoch "
            f"{facts['epoch'] + 1}, {self.model.variables[number].path!r} is NaN. "
            "Earlier saves are still there. Use kd.callbacks.TerminateOnNaN to find the cause.",
            stacklevel=4,
        )

    def _leave(self, error: BaseException) -> None:
        self._interrupts.uninstall()
        self._folder.unlock()

    def _new_interrupts(self) -> DeferredInterrupt:
        def is_in_our_fit(frame: FrameType | None) -> bool:
            return callback_list_of(self, frame) is not None

        return DeferredInterrupt(
            wanted=is_in_our_fit,
            notice="\nInterrupted: saving the training state after this batch. "
            "Interrupt again to stop at once.",
            signals=(signal.SIGINT, signal.SIGTERM),
        )


def _names(parts: Any) -> str:
    return ", ".join(sorted(parts)) or "no stateful objects"
