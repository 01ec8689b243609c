"""Monitor the signal on its way through a network, and warn where it is lost."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from keras_dlcourse._checks import check_folder, check_fraction, check_integer
from keras_dlcourse._files import user_path, write_bytes
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.callbacks._signals import Probe, Signals
from keras_dlcourse.callbacks._states import Remembers
from keras_dlcourse.callbacks._weights import find_first_broken
from keras_dlcourse.data import take
from keras_dlcourse.report import draw_signals, png_bytes

_LOST = 1e-6  # ratio of variances, i.e. a factor of 1,000 in the values themselves


class SignalMonitor(Remembers, keras.callbacks.Callback):
    """Measure the forward and backward signal and the update size at each layer during training.

    A deep network that does not learn has often lost its signal: each layer makes it a little
    smaller, and nothing is left after thirty layers; or ReLU units that output 0 for every input
    get no gradient and may never recover. The loss shows neither. So a fixed set of examples is
    passed through the network in training mode before the first epoch, after every `every` epochs
    and at the end. For each layer with a kernel and each activation, this is recorded:

    - the variance of its outputs over the examples, averaged over its units: how much its outputs
      still differ;
    - the variance of the gradients of each example's loss w.r.t. these outputs: how much feedback
      still reaches it;
    - for ReLUs, the fraction of units (channels) that output 0 for all examples;
    - for kernels, the norm of one training step divided by the norm of the kernel, at the first
      step after a measurement. About 0.001 is typical; far below that nothing is learned, and above
      0.1 the kernel is thrown around.

    If the signal shrinks or grows by more than a factor of 1,000 (10^6 in variance) between the
    layers, or many units are dead, a warning says so once, with remedies. Layers composed of other
    layers count as one. One measurement takes about as long as training on the same number of
    examples, plus a few seconds of compilation the first time.

    Args:
        data: Examples and their labels: anything that `kd.data.take` reads, prepared as for `fit`,
            with as many inputs as the model takes.
        limit: Maximum number of examples. A unit that is dead for 64 examples is silent for all
            but 5% of the data (with 95% confidence).
        every: Number of epochs between two measurements.
        dead: Fraction of dead units in a layer from which to warn. Deep in a network with He
            initialization, about half are silent by chance, because all examples look alike there.
        folder: Folder for the figure `signals.png`, drawn at the end; None draws no figure.
        seed: Seed for choosing the examples; None takes the first ones.

    Attributes:
        layers: Names of the layers, in the order of the network.
        epochs: Number of epochs completed at each measurement; the first is 0.
        activations: For each measurement, the output variances, one per layer; None for the last
            layer.
        gradients: Likewise, the gradient variances.
        dead_units: Likewise, the fractions of dead units; None where there is no ReLU.
        updates: Likewise, the relative step sizes; None where there is no kernel, and at the end.
        said: The text of the warnings issued, by kind: `"dead"`, `"vanishing"`, `"exploding"`,
            `"faint"`, `"broken"` (a weight is NaN or infinite).

    Raises:
        ValueError: If an argument is out of range; at the start of `fit` if the model has no graph
            (a subclassed model), several outputs, inputs that do not match `data`, or inputs of
            variable size.

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

    @renamed_arguments(images="limit", directory="folder")
    def __init__(
        self,
        data: Any,
        limit: int = 64,
        every: int = 1,
        dead: float = 0.7,
        folder: str | Path | None = None,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        self.limit, self.every = (
            check_integer("limit", limit),
            check_integer("every", every),
        )
        self.dead = check_fraction("dead", dead)
        self.folder = None if folder is None else user_path(check_folder("folder", folder))
        examples = take(data, self.limit, seed, several_inputs=True)
        if examples.labels is None or len(examples) < 2:
            raise ValueError("data must contain at least 2 examples, with labels. Pass (x, y).")
        self.layers: list[str] = []
        self._inputs, self._labels = examples.inputs, np.asarray(examples.labels)
        self._begin()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the layers and prepare the measurements."""
        self._begin()
        self._done = 0
        self._probe = Probe(self.model)
        if len(self.model.outputs) > 1:
            raise ValueError("SignalMonitor only supports models with one output.")
        self.layers = self._probe.names
        self._before: list[np.ndarray] | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure, every `every` epochs."""
        if epoch % self.every:
            return
        if self.epochs[-1:] != [epoch]:  # if resumed within an epoch, it was measured before
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
        """Record the number of completed epochs."""
        self._done = epoch + 1

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Measure once more, and draw the figure."""
        if self._done and (not self.epochs or self.epochs[-1] != self._done):
            self._measure(self._done)
        if self.folder is not None and self.epochs:
            write_bytes(self.folder / "signals.png", png_bytes(self.draw()))

    def draw(self) -> Figure:
        """Draw the first and the last measurement, layer by layer.

        Raises:
            ValueError: If nothing has been measured.
        """
        if not self.epochs:
            raise ValueError("nothing has been measured. Call fit with this callback first.")
        shown = {0: "before training", len(self.epochs) - 1: f"after {self.epochs[-1]} epochs"}
        # The last measurement has no step after it, so the one before shows the updates.
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
        """Return the kernels of each layer as one vector, for layers with kernels."""
        self.model  # noqa: B018  on JAX this syncs the weights from the training loop
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
        broken = find_first_broken(self.model)
        if broken is not None:
            said["broken"] = (
                f"The weight {broken.path!r} is NaN or infinite {_describe_time(epoch)}, even if "
                "the loss is finite. Use kd.callbacks.TerminateOnNaN to find the cause."
            )
        for kind, sentence in said.items():
            if kind not in self.said:
                self.said[kind] = sentence
                warnings.warn(sentence, stacklevel=3)


def findings(names: list[str], found: Signals, dead: float, epoch: int) -> dict[str, str]:
    """Return descriptions of problems in the signals, by kind; empty if there are none."""
    when = _describe_time(epoch)
    said = {}
    share, layer = max((share or 0.0, name) for share, name in zip(found.dead, names, strict=True))
    if share >= max(dead, 1e-9):
        said["dead"] = (
            f"{share:.0%} of the ReLU units of {layer} are dead {when}: they "
            "output 0 for all examples and get no gradient. Lower the learning rate, or "
            "use leaky ReLU or ELU instead of ReLU."
        )
    ends = _ends(found.gradients)
    if ends is not None and ends[0] < _LOST * ends[1]:
        said["vanishing"] = (
            f"The gradient vanishes {when}: from the last layers to the first it shrinks "
            f"{_describe_factor(ends[1], ends[0])}, and the first layers learn nothing. Use ReLU "
            "instead of sigmoid and tanh, kernel_initializer='he_normal' with ReLU "
            "('glorot_uniform' with tanh), batch normalization, or residual connections."
        )
    elif ends is not None and ends[1] < _LOST * ends[0]:
        said["exploding"] = (
            f"The gradient explodes {when}: from the last layers to the first it grows "
            f"{_describe_factor(ends[0], ends[1])}. Use kernel_initializer='he_normal' with ReLU "
            "('glorot_uniform' with tanh), batch normalization, or clipnorm=1.0 in the optimizer."
        )
    ends = _ends(found.activations)
    if ends is not None and ends[1] < _LOST * ends[0] and "vanishing" not in said:
        said["faint"] = (
            f"The last layers give almost the same output for all examples {when}: differences "
            f"shrink {_describe_factor(ends[0], ends[1])} on the way. Use "
            "kernel_initializer='he_normal' with ReLU ('glorot_uniform' with tanh), or batch "
            "normalization."
        )
    return said


def _describe_time(epoch: int) -> str:
    return f"after epoch {epoch}" if epoch else "before training"


def _ends(variances: list[float | None]) -> tuple[float, float] | None:
    """Return the variances of the first and the last layer that have one."""
    known = [value for value in variances if value is not None and math.isfinite(value)]
    return (known[0], known[-1]) if len(known) > 1 else None


def _describe_factor(large: float, small: float) -> str:
    return f"by a factor of {math.sqrt(large / small):.1g}" if small else "to 0"
