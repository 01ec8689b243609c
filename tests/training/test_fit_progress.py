"""What is seen of a training in a terminal and in a log."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from keras_dlcourse.training.progress import SILENCE, FitProgress


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


def progress_on(console, clock=None):
    callback = FitProgress(console, clock or Clock())
    callback.set_params({"epochs": 2, "steps": 4})
    return callback


def terminal(width):
    return Console(file=io.StringIO(), width=width, force_terminal=True)


def shown(console):
    """Return the lines of a terminal, without control sequences."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    return re.split(r"[\r\n]+", text)


def test_a_log_names_the_epoch_before_its_first_step():
    log, clock = Console(file=io.StringIO(), width=40), Clock()
    callback = progress_on(log, clock)
    callback.on_epoch_begin(0)
    assert log.file.getvalue() == "Epoch 1/2: 4 steps\n"
    for batch in range(3):
        callback.on_train_batch_end(batch, {"loss": 0.5})
    assert log.file.getvalue().count("\n") == 1
    clock.time += SILENCE
    callback.on_train_batch_end(3, {"loss": 0.25})
    callback.on_epoch_end(0, {"loss": 0.25, "accuracy": 0.5, "val_loss": 1, "val_accuracy": 0.75})
    assert log.file.getvalue().splitlines()[1:] == [
        "Epoch 1/2: step 4 of 4, loss 0.2500",
        "Epoch 1/2: loss 0.2500, accuracy 0.5000, val_loss 1.0000, val_accuracy 0.7500; "
        "at most 30 s left",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_each_epoch_says_how_long_the_others_take(terminal):
    console, clock = Console(file=io.StringIO(), width=80, force_terminal=terminal), Clock()
    callback = FitProgress(console, clock)
    callback.set_params({"epochs": 4, "steps": 10})
    for epoch, (seconds, steps) in enumerate([(90, 10), (30, 5), (20, 10), (20, 10)]):
        callback.on_epoch_begin(epoch)
        for batch in range(steps):  # the second was resumed in the middle
            callback.on_train_batch_end(batch, {"loss": 0.5})
        clock.time += seconds
        callback.on_epoch_end(epoch, {"loss": 0.5})
    callback.stop()
    told = [line for line in shown(console) if "loss 0.5000" in line]
    assert told == [
        "Epoch 1/4: loss 0.5000; at most 4 min 30 s left",
        "Epoch 2/4: loss 0.5000; at most 2 min left",
        "Epoch 3/4: loss 0.5000; at most 20 s left",
        "Epoch 4/4: loss 0.5000",
    ]


@pytest.mark.parametrize("width", [40, 60, 100])
def test_a_bar_fits_the_terminal(monkeypatch, width):
    monkeypatch.setenv("TERM", "xterm-256color")
    console = terminal(width)
    callback = progress_on(console)
    for epoch in range(2):
        callback.on_epoch_begin(epoch)
        callback._bar.refresh()
        callback.on_train_batch_end(1, {"loss": 0.5})
        callback._bar.refresh()
        callback.on_epoch_end(epoch, dict.fromkeys(("loss", "val_loss", "val_accuracy"), 0.5))
    callback.on_train_end()
    lines = shown(console)
    assert max(map(len, lines)) <= width
    assert any(line.startswith("Epoch 1/2 ━") for line in lines)
    assert any(line.startswith("Epoch 2/2: loss 0.5000,") for line in lines)
    assert callback._bar is None


def test_no_color_has_no_colors(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    color = re.compile(r"\x1b\[(?:\d+;)*(?:3|9)\d")

    def has_color():
        console = terminal(60)
        callback = progress_on(console)
        callback.on_epoch_begin(0)
        callback.on_train_batch_end(1, {"loss": 0.5})
        callback._bar.refresh()
        callback.stop()
        return color.search(console.file.getvalue()) is not None

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert has_color()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_color()


def test_a_bar_that_was_interrupted_is_removed(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    callback = progress_on(terminal(60))
    callback.on_epoch_begin(0)
    callback.stop()
    callback.stop()
    assert callback._bar is None
