"""Watch the signal on its way through a network, and say in words where it is lost."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from keras_dlcourse._checks import fraction, positive_int
from keras_dlcourse._files import user_path, write_bytes
from keras_dlcourse.callbacks._signals import Probe, Signals
from keras_dlcourse.callbacks._states import Remembers
from keras_dlcourse.callbacks._weights import first_broken
from keras_dlcourse.data import take
from keras_dlcourse.report import draw_signals, png_bytes

_LOST = 1e-6  # of a variance, which is a factor of 1,000 in the numbers themselves


class SignalMonitor(Remembers, keras.callbacks.Callback):
    """Measure at each layer what comes through, forwards and backwards, and how fast weights move.

    A deep network that does not learn has often lost its signal: each layer makes it a little
    smaller, and thirty layers make nothing of it; or ReLU units that answer 0 to everything get no
    gradient and may stay so. The loss shows neither. So some examples that stay the same are sent
    through the network as in training before the first epoch, after every `every` epochs and at the
    end, and for each layer with a kernel, and each activation, this is kept:

    - the variance of its outputs over the examples, mean over its units: what it still tells;
    - the variance of the gradients of an example's own loss by these outputs: what it still hears;
    - of ReLUs, the share of units (channels) that answer 0 to all examples;
    - of kernels, the length of one training step over the length of the kernel, at the first step
      after a measurement. About 0.001 is usual; far below nothing is learned, and above 0.1 it is
      thrown about.

    Where a signal falls, or rises, by more than 1,000 times in size (10^6 in variance) between the
    layers, or many units are dead, it says so once, with what helps. Layers that are made of others
    are one layer here. One measurement takes about as long as training on as many examples, and
    some seconds of compiling the first time.

    Args:
        data: Examples and their labels: whatever `kd.data.take` reads, prepared as for `fit`, with
            as many inputs as the model takes.
        images: Number of examples. A unit that is dead in 64 is silent for all but 5 % of the data
            (with a confidence of 95 %).
        every: Number of epochs between two measurements.
        dead: Share of dead units in a layer from which on it is said. Deep in a network with He's
            numbers about half are silent by chance, because all examples look alike there.
        directory: Folder for the picture, `signals.png`, at the end; None draws none.
        seed: Chooses the examples; None takes the first ones.

    Attributes:
        layers: Names of the layers, in the order of the network.
        epochs: Number of epochs that had passed at each measurement; 0 is the first.
        activations: Of each measurement the variances, one a layer; None for the last layer.
        gradients: Likewise.
        dead_units: Likewise the shares, None where there is no ReLU.
        updates: Likewise the steps, None where there is no kernel, and at the end.
        said: The warnings given, in words, by kind: `"dead"`, `"vanishing"`, `"exploding"`,
            `"faint"`, `"broken"` (a weight that is NaN or infinite).

    Raises:
        ValueError: For arguments that make no sense; at the start of `fit` for a model without a
            graph (a subclassed one), with several outputs, other inputs than data, or inputs of any
            size.

    Example:
        >>> from keras_dlcourse.models import MLP
        >>> x, y = np.random.default_rng(0).normal(size=(64, 8)), np.arange(64) % 2
        >>> model = MLP(8, (16, 16), task="binary", activation="relu")
        >>> model.compile("sgd", "binary_crossentropy")
        >>> monitor = SignalMonitor((x, y))
        >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=[monitor])
        >>> monitor.layers, monitor.epochs
        (['hidden_1', 'hidden_2', 'output'], [0, 1, 2])

    Reference:
        Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural
        networks", AISTATS 2010; He et al., 2015, https://arxiv.org/abs/1502.01852
    """

    _remembered = ("layers", "epochs", "activations", "gradients", "dead_units", "updates", "said")

    def __init__(
        self,
        data: Any,
        images: int = 64,
        every: int = 1,
        dead: float = 0.7,
        directory: str | Path | None = None,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        self.images, self.every = positive_int("images", images), positive_int("every", every)
        self.dead = fraction("dead", dead)
        if directory is not None and not (isinstance(directory, str | Path) and str(directory)):
            raise ValueError(f"directory must be the path of a folder. Received: {directory!r}")
        self.directory = None if directory is None else user_path(directory)
        examples = take(data, self.images, seed, several_inputs=True)
        if examples.labels is None or len(examples) < 2:
            raise ValueError("data must hold 2 examples at least, and labels: pass (x, y).")
        self.layers: list[str] = []
        self._inputs, self._labels = examples.inputs, np.asarray(examples.labels)
        self._begin()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the layers, and measure what the weights are like before the first step."""
        self._begin()
        self._done = 0
        self._probe = Probe(self.model)
        if len(self.model.outputs) > 1:
            raise ValueError("SignalMonitor takes models of one output.")
        self.layers = self._probe.names
        self._before: list[np.ndarray] | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure."""
        if epoch % self.every:
            return
        if self.epochs[-1:] != [epoch]:  # a training that goes on within an epoch has measured
            self._measure(epoch)
        if all(step is None for step in self.updates[-1]):
            self._before = self._weights()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare the weights with those before the first step."""
        if self._before is None:
            return
        taken = max(1, int(getattr(self.model, "steps_per_execution", 1) or 1))
        lengths = [np.linalg.norm(weights) for weights in self._before]
        moved = [np.linalg.norm(b - a) for a, b in zip(self._before, self._weights(), strict=True)]
        with np.errstate(divide="ignore", invalid="ignore"):  # a kernel of zeros
            ratios = iter((np.array(moved) / np.array(lengths) / taken).tolist())
        self.updates[-1] = [next(ratios) if k else None for k in self._probe.kernels]
        self._before = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember how far training has come."""
        self._done = epoch + 1

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Measure once more, and draw."""
        if self._done and (not self.epochs or self.epochs[-1] != self._done):
            self._measure(self._done)
        if self.directory is not None and self.epochs:
            write_bytes(self.directory / "signals.png", png_bytes(self.draw()))

    def draw(self) -> Figure:
        """Draw the first and the last measurement, layer by layer.

        Raises:
            ValueError: If nothing has been measured.
        """
        if not self.epochs:
            raise ValueError("nothing has been measured: call fit with this callback first.")
        shown = {0: "before training", len(self.epochs) - 1: f"after {self.epochs[-1]} epochs"}
        # The last measurement has no step after it, so the one before shows how weights move.
        steps = (0, max(0, len(self.epochs) - 2))
        return draw_signals(
            self.layers,
            {name: self.activations[n] for n, name in shown.items()},
            {name: self.gradients[n] for n, name in shown.items()},
            {name: self.dead_units[n] for n, name in shown.items()},
            {f"epoch {self.epochs[n] + 1}": self.updates[n] for n in steps},
        )

    def _begin(self) -> None:
        self.layers = []
        self.epochs: list[int] = []
        self.activations: list[list[float | None]] = []
        self.gradients: list[list[float | None]] = []
        self.dead_units: list[list[float | None]] = []
        self.updates: list[list[float | None]] = []
        self.said: dict[str, str] = {}

    def _weights(self) -> list[np.ndarray]:
        """Return the kernels of each layer as one vector, for the layers that have any."""
        self.model  # noqa: B018  on JAX this brings the weights back from the training loop
        return [
            np.concatenate([np.ravel(keras.ops.convert_to_numpy(k)) for k in kernels])
            for kernels in self._probe.kernels
            if kernels
        ]

    def _measure(self, epoch: int) -> None:
        self.model  # noqa: B018  as above
        found = self._probe.measure(self._inputs, self._labels)
        self.epochs.append(epoch)
        self.activations.append(found.activations)
        self.gradients.append(found.gradients)
        self.dead_units.append(found.dead)
        self.updates.append([None] * len(self.layers))
        said = findings(self.layers, found, self.dead, epoch)
        broken = first_broken(self.model)
        if broken is not None:
            said["broken"] = (
                f"The weight {broken.path!r} is NaN or infinite {_when(epoch)}, whatever the loss "
                "says. kd.callbacks.TerminateOnNaN names the cause."
            )
        for kind, sentence in said.items():
            if kind not in self.said:
                self.said[kind] = sentence
                warnings.warn(sentence, stacklevel=3)


def findings(names: list[str], found: Signals, dead: float, epoch: int) -> dict[str, str]:
    """Say in words what is wrong with signals, by kind; empty if nothing is."""
    when = _when(epoch)
    said = {}
    share, layer = max((share or 0.0, name) for share, name in zip(found.dead, names, strict=True))
    if share >= max(dead, 1e-9):
        said["dead"] = (
            f"{share:.0%} of the ReLU units of {layer} are dead {when}: they "
            "answer 0 to all examples and get no gradient. Lower the learning rate, or "
            "take leaky ReLU or ELU in place of ReLU."
        )
    ends = _ends(found.gradients)
    if ends is not None and ends[0] < _LOST * ends[1]:
        said["vanishing"] = (
            f"The gradient vanishes {when}: from the last layers to the first it falls "
            f"{_times(ends[1], ends[0])} in size, and the first layers learn nothing. Take ReLU in "
            "place of sigmoid and tanh, kernel_initializer='he_normal' with ReLU ('glorot_uniform' "
            "with tanh), batch normalization, or residual connections."
        )
    elif ends is not None and ends[1] < _LOST * ends[0]:
        said["exploding"] = (
            f"The gradient explodes {when}: from the last layers to the first it grows "
            f"{_times(ends[0], ends[1])} in size. Take kernel_initializer='he_normal' with ReLU "
            "('glorot_uniform' with tanh), batch normalization, or clipnorm=1.0 in the optimizer."
        )
    ends = _ends(found.activations)
    if ends is not None and ends[1] < _LOST * ends[0] and "vanishing" not in said:
        said["faint"] = (
            f"The last layers answer almost the same to all examples {when}: differences fall "
            f"{_times(ends[0], ends[1])} in size on the way. Take kernel_initializer='he_normal' "
            "with ReLU ('glorot_uniform' with tanh), or batch normalization."
        )
    return said


def _when(epoch: int) -> str:
    return f"after epoch {epoch}" if epoch else "before training"


def _ends(variances: list[float | None]) -> tuple[float, float] | None:
    """Return the variances of the first and the last layer that have one."""
    known = [value for value in variances if value is not None and math.isfinite(value)]
    return (known[0], known[-1]) if len(known) > 1 else None


def _times(large: float, small: float) -> str:
    return f"{math.sqrt(large / small):.1g} times" if small else "to 0"
