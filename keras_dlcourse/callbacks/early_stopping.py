"""Early stopping that keeps the best weights, however training ends."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping
from types import FrameType
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_integer, check_number
from keras_dlcourse.callbacks._fit import (
    call_on_exception,
    callback_list_of,
    check_averages,
    is_validating,
)
from keras_dlcourse.callbacks._interrupts import DeferredInterrupt
from keras_dlcourse.callbacks._monitor import Monitor
from keras_dlcourse.callbacks._weights import find_first_broken

_STATE = ("monitor", "direction", "best", "best_epoch", "wait", "best_weights")


class EarlyStopping(keras.callbacks.Callback):
    """Stop training when a quantity no longer improves, and keep the best weights.

    The interface is that of `keras.callbacks.EarlyStopping`, with these differences:

    - The best weights are restored by default, however `fit` ends: stopped early, after all epochs,
      or by Ctrl-C. Ctrl-C takes effect at the next batch: the best weights are restored, then
      KeyboardInterrupt is raised; a second Ctrl-C takes effect at once. If the data raises
      KeyboardInterrupt, or `fit` runs outside the main thread, call `restore_best()` yourself.
    - An epoch is never the best one if its value, or a weight after it, is NaN or infinite.
    - With `SwapEMAWeights`, it keeps the averages that were validated, or an error says what to
      pass.
    - If a quantity is not in the logs, an error lists the ones that are.
    - The better direction comes from the loss or metric, or from `mode`; it is never guessed.
    - A run that never reaches `baseline` stops after `patience` epochs, as Keras documents.
    - `state_dict()` and `load_state_dict()` carry the state across a save and a resume. Another
      `fit` without `load_state_dict()` starts from scratch.
    - At the end, one line says what was kept and why.

    Args:
        monitor: Name in the logs, e.g. `"val_loss"` or `"val_accuracy"`.
        min_delta: An improvement must be larger than this, in the unit of the monitored quantity.
        patience: Number of epochs without improvement after which training stops (0 and 1 both
            stop at the first such epoch). Epochs in which the quantity is not measured, because of
            `validation_freq`, do not count.
        verbose: 1 prints one line at the end, 0 prints nothing.
        mode: `"min"` if lower is better, `"max"` if higher is better; `"auto"` infers it from the
            loss or metric.
        baseline: Value to beat. Only epochs that also beat the baseline reset the patience; the
            best epoch is kept in either case.
        restore_best_weights: Whether to keep a copy of the best weights in memory and restore it.
        start_from_epoch: Index of the first epoch (from 0) that counts; earlier ones are ignored.
        prefer_last: Whether to keep the last of several epochs with the best value, instead of the
            first. For quantities that take few values, such as the accuracy on a small validation
            set: when the learning rate falls, later weights are usually better. Such an epoch does
            not reset the patience.

    Attributes:
        best: Best value so far, or None.
        best_epoch: Index of the best epoch (from 0), or None.
        best_weights: Weights of the best epoch, as returned by `model.get_weights()`, or None.
        wait: Number of epochs since the patience was last reset.
        stopped_epoch: Index of the epoch (from 0) after which this callback stopped training, or 0.

    Raises:
        ValueError: In `__init__` if an argument is out of range; in `fit` if `monitor` is not in
            the logs, or if `mode="auto"` and the better direction cannot be inferred.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.zeros((8, 2)), np.zeros((8, 1))
        >>> stop = EarlyStopping(monitor="loss", patience=2)
        >>> history = model.fit(x, y, epochs=9, verbose=0, callbacks=[stop])
        EarlyStopping: kept the weights of epoch 1, the best loss (0); stopped after epoch 3: \
no improvement in 2 epochs.

    Reference:
        Prechelt (1998), Early Stopping - But When? In: Neural Networks: Tricks of the Trade.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 1,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = True,
        start_from_epoch: int = 0,
        prefer_last: bool = False,
    ) -> None:
        super().__init__()
        # No negative min_delta: the mode sets the direction.
        self.min_delta = check_number("min_delta", min_delta, least=0)
        self.patience = check_integer("patience", patience, least=0)
        self._quantity = Monitor(monitor, mode, self.min_delta, "EarlyStopping")
        self.monitor = monitor
        self.verbose = verbose
        self.mode = mode
        self.baseline = None if baseline is None else check_number("baseline", baseline)
        self.restore_best_weights = bool(restore_best_weights)
        self.start_from_epoch = check_integer("start_from_epoch", start_from_epoch, least=0)
        self.prefer_last = bool(prefer_last)
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.best_weights: list[np.ndarray] | None = None
        self.wait = 0
        self.stopped_epoch = 0
        self._stopped = False
        self._broken: str | None = None
        self._loaded = False
        self._finished = True
        self._epoch = 0
        self._last_epoch: int | None = None
        self._interrupts = self._new_interrupts()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start from scratch, or from a loaded state."""
        if not self._loaded:
            self._start_afresh()
        self._check_loaded_weights()
        self._loaded = False
        self._quantity.seen = False
        self._epoch = 0
        self._last_epoch = None
        self._finished = False
        self._quantity.resolve(self.model, required=False)
        if self.restore_best_weights:
            check_averages(self, self.monitor, sys._getframe())
        self._interrupts.uninstall()
        self._interrupts = self._new_interrupts()
        if self.restore_best_weights:
            callback_list = callback_list_of(self, sys._getframe())
            if callback_list is not None:
                call_on_exception(callback_list, self._leave)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Raise a deferred Ctrl-C, and start to defer further ones."""
        self._let_interrupt_go_on()
        self._epoch = epoch
        self._loaded = False  # a state loaded after `on_train_begin` also belongs to this run
        # Not earlier: another callback's `on_train_begin` may still raise, unnoticed here.
        if self.restore_best_weights:
            self._interrupts.install()

    # Checking at the start of a batch lets Keras write its progress bar in another thread, which a
    # hook at the end of a batch would prevent.
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Raise a deferred Ctrl-C."""
        self._let_interrupt_go_on()

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Raise a deferred Ctrl-C."""
        self._let_interrupt_go_on()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the weights if the epoch is the best so far, and stop when patience runs out."""
        self._last_epoch = epoch
        value = self._quantity.read(logs or {}, lambda: is_validating(self))
        if value is None or epoch < self.start_from_epoch:
            return
        self._quantity.resolve(self.model, required=True)
        better = math.isfinite(value) and self._quantity.is_better(value, self.best)
        is_equal = self.prefer_last and value == self.best
        keep = (better or is_equal) and self._has_weights(epoch)
        improved = better and keep
        if keep:
            self.best = value
            self.best_epoch = epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
        if improved and self._quantity.is_better(value, self.baseline):
            self.wait = 0
            return
        self.wait += 1
        if self.wait >= max(1, self.patience):
            self.stopped_epoch = epoch
            self._stopped = True
            self.model.stop_training = True

    def _has_weights(self, epoch: int) -> bool:
        """Return whether all weights are finite, and warn the first time they are not."""
        broken = find_first_broken(self.model)
        if broken is not None and self._broken is None:
            self._broken = broken.path
            warnings.warn(
                f"EarlyStopping: after epoch {epoch + 1} the weight {broken.path!r} is NaN or "
                f"infinite, although {self.monitor!r} is finite, so this is not the best epoch. "
                "Use kd.callbacks.TerminateOnNaN to find the cause.",
                stacklevel=3,
            )
        return broken is None

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Restore the best weights, and print what was kept and why."""
        if not self._quantity.seen and self._last_epoch is not None:
            self._interrupts.uninstall()
            raise ValueError(
                f"EarlyStopping never saw {self.monitor!r}: fit ended before validation ran. "
                "Lower validation_freq, or monitor a training quantity."
            )
        if self._stopped:
            epochs = _count(self.wait, "epoch")
            delta = f" by more than {self.min_delta:g}" if self.min_delta else ""
            reason = f"stopped after epoch {self.stopped_epoch + 1}: no improvement{delta} in "
            self._finish(reason + epochs)
        else:
            self._finish("fit ran all epochs")
        self._interrupts.check()

    def restore_best(self) -> None:
        """Restore the best weights of the model now.

        To be called if you catch exceptions from `fit` yourself, or stop it in another way.

        Raises:
            ValueError: If no weights were kept.

        Example:
            >>> import keras, numpy as np
            >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
            >>> model.compile("sgd", "mse")
            >>> stop = EarlyStopping(monitor="loss", patience=3, verbose=0)
            >>> try:
            ...     _ = model.fit(np.zeros((8, 2)), np.zeros(8), verbose=0, callbacks=[stop])
            ... finally:
            ...     stop.restore_best()
        """
        if self.best_weights is None:
            raise ValueError(
                "EarlyStopping has no best weights to restore: restore_best_weights="
                f"{self.restore_best_weights}, and {self.monitor!r} was finite in "
                f"{'no epoch so far' if self.best_epoch is None else 'some epochs'}."
            )
        self.model.set_weights(self.best_weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a later process needs to continue where this one stopped.

        Save it together with the model's current weights and optimizer state, e.g. after each
        epoch; at its end, `fit` leaves the best weights in the model, not the last ones.

        Returns:
            A dictionary of JSON-serializable values, except `"best_weights"`: a list of arrays (for
            `numpy.savez(path, *weights)`), or None.

        Example:
            >>> sorted(EarlyStopping().state_dict())
            ['best', 'best_epoch', 'best_weights', 'direction', 'monitor', 'wait']
        """
        weights = self.best_weights
        return {
            "monitor": self.monitor,
            "direction": self._quantity.direction,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "wait": self.wait,
            "best_weights": None if weights is None else [np.array(weight) for weight in weights],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next `fit` continue from a state returned by `state_dict()`.

        Args:
            state: The result of `state_dict()`. Pass `initial_epoch` to `fit` as well, so that
                epochs keep their numbers.

        Raises:
            ValueError: If the state is incomplete or has another `monitor` or direction, or, in
                `fit`, if it comes from a model with other weights.
        """
        missing = [key for key in _STATE if key not in state]
        if missing:
            raise ValueError(
                f"state must have the keys {', '.join(missing)}. Received keys: "
                f"{', '.join(map(str, state)) or 'none'}. Pass the result of "
                "EarlyStopping.state_dict()."
            )
        for name, ours in (("monitor", self.monitor), ("direction", self._quantity.chosen)):
            if None not in (ours, state[name]) and state[name] != ours:
                raise ValueError(
                    f"state has {name}={state[name]!r}, but this callback has {ours!r}. Create the "
                    "callback with the same arguments as the saved one."
                )
        if self.restore_best_weights and state["best"] is not None and not state["best_weights"]:
            raise ValueError(
                "state has a best epoch but no best_weights, and restore_best_weights=True. "
                "Include them, or create this callback with restore_best_weights=False."
            )
        self._start_afresh()
        self.best = None if state["best"] is None else float(state["best"])
        self.best_epoch = None if state["best_epoch"] is None else int(state["best_epoch"])
        self.wait = int(state["wait"])
        self._quantity.direction = state["direction"] or self._quantity.chosen
        if self.restore_best_weights and state["best_weights"] is not None:
            self.best_weights = [np.array(weight) for weight in state["best_weights"]]
        self._loaded = True

    def _start_afresh(self) -> None:
        self.best = self.best_epoch = self.best_weights = None
        self.wait = 0
        self.stopped_epoch = 0
        self._stopped = False
        self._broken = None
        self._quantity.start()

    def _check_loaded_weights(self) -> None:
        if not self._loaded or self.best_weights is None:
            return
        expected = [tuple(weight.shape) for weight in self.model.weights]
        received = [weight.shape for weight in self.best_weights]
        if expected != received:
            raise ValueError(
                f"The loaded best_weights are of another model: {len(received)} arrays, while this "
                f"model has {len(expected)} weights, or the shapes differ. Load the state into the "
                "model it was saved with."
            )

    def _new_interrupts(self) -> DeferredInterrupt:
        def is_in_our_fit(frame: FrameType | None) -> bool:
            return self.best_weights is not None and callback_list_of(self, frame) is not None

        return DeferredInterrupt(
            wanted=is_in_our_fit,
            notice="\nInterrupted: restoring the best weights after this batch. "
            "Interrupt again to stop at once.",
        )

    def _let_interrupt_go_on(self) -> None:
        try:
            self._interrupts.check()
        except KeyboardInterrupt as interrupt:
            self._leave(interrupt)
            raise

    def _leave(self, error: BaseException) -> None:
        """Clean up when an exception is about to leave `fit`."""
        self._interrupts.uninstall()
        if isinstance(error, KeyboardInterrupt) and not self._finished:
            if self.verbose:
                print()  # the progress bar has not ended its line
            self._finish(f"interrupted in epoch {self._epoch + 1}")

    def _finish(self, reason: str) -> None:
        self._finished = True
        self._interrupts.uninstall()
        if self.best_weights is not None:
            self.restore_best()
        if self.verbose:
            print(f"EarlyStopping: {self._describe_kept()}; {reason}.")

    def _describe_kept(self) -> str:
        if self.best is None or self.best_epoch is None:
            if self._last_epoch is not None and self._last_epoch < self.start_from_epoch:
                why = f"epoch {self.start_from_epoch + 1}, the first that counts, was not reached"
            elif self._broken is not None:
                why = f"the weight {self._broken} is NaN or infinite"
            else:
                why = f"{self.monitor} was never finite"
            return f"kept the last weights, because {why}"
        best = f"epoch {self.best_epoch + 1}, the best {self.monitor} ({self.best:.6g})"
        if self.baseline is not None and not self._quantity.is_better(self.best, self.baseline):
            best += f", although it does not beat the baseline {self.baseline:g}"
        if self.best_weights is None:
            return f"kept the last weights, not those of {best}"
        return f"kept the weights of {best}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
