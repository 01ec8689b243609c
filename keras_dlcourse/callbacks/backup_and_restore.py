"""A training that goes on after a kill as if nothing had happened."""

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

from keras_dlcourse._checks import one_of
from keras_dlcourse._files import user_path
from keras_dlcourse.callbacks._fit import arguments_of, before, callback_list_of, on_exception
from keras_dlcourse.callbacks._interrupts import DeferredInterrupt
from keras_dlcourse.callbacks._saving import ON_ERROR, check_save_freq, or_warn
from keras_dlcourse.callbacks._states import has_state, load_state, named, state_of
from keras_dlcourse.callbacks._weights import first_nan
from keras_dlcourse.data.trainer import TrainerData
from keras_dlcourse.saving.checkpoints import CheckpointFolder
from keras_dlcourse.saving.state import capture, read_state, restore, write_state


class BackupAndRestore(keras.callbacks.Callback):
    """Save the state of a training, and let the next `fit` go on from it, exactly.

    The interface is that of `keras.callbacks.BackupAndRestore`. What differs:

    - A training that was killed and started again ends with the very weights, and the very history,
      of one that was not. Saved are weights, optimizer, the seeds of dropout and augmentation, the
      metrics of the epoch so far, the history, all callbacks of this `fit` that remember something
      (those with `state_dict`, and Keras's own), and the data. Batches after the last save run
      again, from the same state.
    - With `save_freq` in batches the epoch goes on at the batch that was next. That takes data that
      can do it: what `kd.data.pipeline` makes, or a sampler.
    - A kill while it saves, a full disk or a damaged file loses no more than the time since the
      save before: files are written beside, flushed and renamed, with SHA-256 in a manifest, and
      the one before stays until the new one is whole.
    - A state with weights of NaN is not saved, with a warning; the one before stays.
    - Ctrl-C and SIGTERM (how a scheduler takes a machine away) save before they end the training.
    - Two runs cannot use one folder at the same time.

    The model has to be built and compiled in the same way as before. What is computed on several
    threads or on a GPU may differ in the last bits from one run to the next, killed or not.

    Args:
        backup_dir: Folder for this training alone.
        save_freq: `"epoch"`, or a number of batches.
        double_checkpoint: Whether the save before the last one stays, for the day on which a file
            is damaged on the disk.
        delete_checkpoint: Whether the folder is deleted when `fit` has ended well.
        also: What else remembers something: objects with `state_dict()` and
            `load_state_dict(state)`, such as data that `fit` gets wrapped in something else. The
            data and callbacks of this `fit` need not be named.
        on_error: What to do if a save fails, e.g. on a full disk: `"warn"` and go on, or `"raise"`.
        verbose: 1 says in one line where it goes on, 0 nothing.

    Raises:
        ValueError: For arguments that make no sense; in `fit`, for data that cannot go on within an
            epoch, and for a state of another model or other data.
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
        BackupAndRestore: going on at batch 3 of epoch 2.
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
        if not isinstance(backup_dir, str | Path) or not str(backup_dir):
            raise ValueError(f"backup_dir must be the path of a folder. Received: {backup_dir!r}")
        check_save_freq(save_freq)
        one_of("on_error", on_error, ON_ERROR)
        for part in also:
            if not has_state(part):
                raise TypeError(
                    "also must hold objects with state_dict() and load_state_dict(). "
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
        """Take the folder, put weights and optimizer back, and find out what else remembers."""
        callback_list = callback_list_of(self, sys._getframe())
        if callback_list is None:
            raise RuntimeError("BackupAndRestore works in Model.fit, and found none that runs it.")
        arguments = arguments_of(self, sys._getframe())
        self._data = arguments.get("x")
        self._parts = self._find_parts(callback_list)
        self._check_data()
        self._validates = arguments.get("validation_data") is not None
        self._before_validation: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None
        self._epoch = self._first = 0
        # Not at each batch: on JAX `self.model` brings all weights back from the training loop.
        self._at_once = self.model.steps_per_execution
        self._saved: int | None = None
        self._warned = False
        self._folder.unlock()
        self._folder.lock()
        self._interrupts.uninstall()
        self._interrupts = self._new_interrupts()
        self._resumed = self._load()
        # Before all other callbacks: those that end this `fit` put the best weights back.
        before(callback_list, "on_epoch_begin", self._at_epoch)
        before(callback_list, "on_train_batch_begin", self._at_batch)
        before(callback_list, "on_test_batch_begin", self._at_test_batch)
        on_exception(callback_list, self._leave)

    # What was held back goes on here, where other callbacks are told that this `fit` ends.

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Let a signal that was held back go on."""
        self._interrupts.check()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Let a signal that was held back go on."""
        self._interrupts.check()

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Let a signal that was held back go on."""
        self._interrupts.check()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Let the folder go: the training is through."""
        self._interrupts.uninstall()
        if self.delete_checkpoint:
            self._folder.remove()
        self._folder.unlock()
        self._interrupts.check()

    def _find_parts(self, callback_list: Any) -> dict[str, Any]:
        """Return all that remembers something, by names that the next process finds as well."""
        parts: list[Any] = []
        for part in (*self.also, self._data, *callback_list.callbacks):
            if has_state(part) and not any(part is known for known in parts):
                parts.append(part)
        self._has_data = not all(isinstance(part, keras.callbacks.Callback) for part in parts)
        return named(parts)

    def _check_data(self) -> None:
        data, steps = self._data, self.params.get("steps")
        if isinstance(data, TrainerData) and steps != data.num_batches:
            raise ValueError(
                f"BackupAndRestore needs epochs that go through the data once: it has "
                f"{data.num_batches} batches, steps_per_epoch is {steps}. Leave it away."
            )
        self._is_exact = self._has_data and steps is not None
        if self.save_freq != "epoch" and not self._is_exact:
            raise ValueError(
                f"save_freq={self.save_freq} needs data that can go on within an epoch, with "
                "state_dict() and load_state_dict(): pass what kd.data.pipeline(x, y, ...) makes "
                f"to fit, or name it in also=. Received data: {type(data).__name__}. Without it, "
                "save_freq='epoch' goes on from whole epochs."
            )

    def _load(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Put the newest whole state into the model, as far as that is good before the epoch."""
        newest = next(self._folder.whole(), None)
        if newest is None:
            if self._folder.checkpoints():
                raise ValueError(
                    f"no state in {self.backup_dir} is whole: delete the folder to begin anew."
                )
            return None
        arrays, facts = read_state(self._folder.path / newest.name)
        if set(facts["states"]) != set(self._parts):
            raise ValueError(
                f"{self.backup_dir} holds the state of a fit with {_names(facts['states'])}; this "
                f"one has {_names(self._parts)}. Pass the same callbacks and data, or a new folder."
            )
        restore(self.model, arrays, "variables", "optimizer")
        # The one handle that Keras has for it; `fit` reads it after this hook.
        self.model._initial_epoch = facts["epoch"]
        if self.verbose:
            print(
                f"BackupAndRestore: going on at batch {facts['batch'] + 1} of epoch "
                f"{facts['epoch'] + 1}."
            )
        return arrays, facts

    def _at_epoch(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Go on within a resumed epoch, or save between two."""
        self._epoch, self._first, self._before_validation = epoch, 0, None
        self._interrupts.install()
        if self._resumed is not None:
            arrays, facts = self._resumed
            self._resumed = None
            self.model._initial_epoch = None  # a later `fit` begins where it says
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
        """Let the means of the epoch go on from what they had."""
        if not self.model.metrics_variables or sum(
            key.startswith("metrics/") for key in arrays
        ) != len(self.model.metrics_variables):
            # TensorFlow makes the variables of metrics when it first sees a batch.
            data: Any = self._data
            batch = data[0] if hasattr(data, "__getitem__") else next(iter(data))
            self.model.test_on_batch(*batch)
        restore(self.model, arrays, "metrics")

    def _at_batch(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save if it is time to, or if a signal has come."""
        batch += self._first
        if self._is_exact:
            if self._interrupts.received or (batch and self._is_due(batch)):
                self._save(batch)
            steps = self.params["steps"]
            if self._validates and batch + self._at_once >= steps:
                # Within the validation there is no state that `fit` could begin with.
                self._before_validation = self._state(batch)

    def _at_test_batch(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Before a signal ends the validation, save what was before the epoch's last batch."""
        if self._interrupts.received and self._before_validation is not None:
            self._write(*self._before_validation)
            self._before_validation = None

    def _position(self, batch: int) -> int:
        """Count the batches of the whole training."""
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
        broken = first_nan(arrays)
        if broken is not None:
            self._warn_once(broken, facts)
            return
        with or_warn(self.on_error, f"BackupAndRestore could not save to {self.backup_dir}"):
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
            "What was saved before is still there. kd.callbacks.TerminateOnNaN names the cause.",
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
            notice="\nInterrupted: saving the state of the training after this batch. "
            "Interrupt again to stop at once.",
            signals=(signal.SIGINT, signal.SIGTERM),
        )


def _names(parts: Any) -> str:
    return ", ".join(sorted(parts)) or "nothing that remembers"
