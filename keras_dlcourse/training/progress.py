"""Show how far training is: a bar in a terminal, lines in a pipe or a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from keras_dlcourse._durations import format_duration
from keras_dlcourse.training.narration import make_console

SILENCE = 30.0  # seconds after which a log gets a line in the middle of an epoch


class FitProgress(keras.callbacks.Callback):
    """Show the epoch and its steps from the first one on, and the metrics at the end of each epoch.

    It replaces Keras's own bar, which breaks in narrow terminals and is silent in a log until the
    first epoch ends. Each epoch also says how long the others will take. Use it with `verbose=0`,
    and call `stop` after `fit`, which Ctrl-C may end; `fit_with_progress` does both.

    Args:
        console: Where it is shown; standard output by default.
        clock: Returns the time in seconds.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x = keras.ops.zeros((2, 1))
        >>> history = model.fit(x, x, batch_size=1, verbose=0, callbacks=[FitProgress()])
        Epoch 1/1: 2 steps
        Epoch 1/1: loss 0.0000
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._console = console
        self._clock = clock
        self._bar: Progress | None = None
        self._task: Any = None
        self._said = 0.0
        self._epoch = ""
        self._began, self._seen = 0.0, 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Name the epoch, before its first step, which takes long where it compiles the model."""
        if self._console is None:
            self._console = make_console()
        steps = self.params["steps"]
        self._began, self._seen = self._clock(), 0
        self._epoch = f"Epoch {epoch + 1}/{self.params['epochs']}"
        if not self._console.is_terminal:
            self._say(f"{self._epoch}: {'' if steps is None else f'{steps} '}steps")
            return
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[detail]}"),
                TimeRemainingColumn(compact=True),
                console=self._console,
                transient=True,
                expand=True,
            )
            self._task = self._bar.add_task(self._epoch, detail="")
            self._bar.start()
        self._bar.reset(self._task, total=steps, description=self._epoch, detail="starting")

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Advance the bar. A log gets a line if it has not had one for some time."""
        self._seen = batch + 1
        if self._bar is not None:
            loss = "" if not logs or "loss" not in logs else f"loss {logs['loss']:.3f}"
            self._bar.update(self._task, completed=batch + 1, detail=loss)
        elif self._clock() - self._said >= SILENCE:
            steps = self.params["steps"]
            of = "" if steps is None else f" of {steps}"
            self._say(f"{self._epoch}: step {batch + 1}{of}, {_format(logs)}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Print the metrics of the epoch, and how long the remaining ones take if all are run."""
        left = self.params["epochs"] - epoch - 1
        after = f"; at most {format_duration(left * self._epoch_seconds())} left" if left else ""
        self._say(f"{self._epoch}: {_format(logs)}{after}")

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Remove the bar."""
        self.stop()

    def stop(self) -> None:
        """Remove the bar, if there still is one."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _epoch_seconds(self) -> float:
        """Return how long the last epoch took; as a whole, if it was resumed in the middle."""
        whole = (self.params["steps"] or self._seen) / max(1, self._seen)
        return (self._clock() - self._began) * whole

    def _say(self, text: str) -> None:
        """Print a line, which a terminal folds and a log keeps whole."""
        if self._console is not None:
            self._console.print(text, soft_wrap=not self._console.is_terminal)
            self._console.file.flush()
        self._said = self._clock()


def _format(logs: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())


def fit_with_progress(
    model: keras.Model,
    *args: Any,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    **options: Any,
) -> keras.callbacks.History:
    """Call `fit` of a model with `FitProgress` as the last callback.

    Args:
        model: The model.
        *args: For `fit`.
        callbacks: Further callbacks.
        **options: For `fit`, without `verbose`.

    Returns:
        What `fit` returns.
    """
    progress = FitProgress()
    try:
        return model.fit(*args, callbacks=[*callbacks, progress], verbose=0, **options)
    finally:
        progress.stop()
