"""Stop training when the loss or a weight is NaN or infinite, and report where that began."""

from __future__ import annotations

import itertools
import math
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_dlcourse._checks import check_folder, check_integer
from keras_dlcourse._files import user_path, write_atomically
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.callbacks._fit import arguments_of
from keras_dlcourse.callbacks._monitor import (
    classes_of_cross_entropy,
    classes_of_labels,
    describe_wrong_labels,
)
from keras_dlcourse.callbacks._states import Remembers
from keras_dlcourse.callbacks._weights import find_first_broken
from keras_dlcourse.data.trainer import TrainerData
from keras_dlcourse.graph.running import Network, Place, call_in_training
from keras_dlcourse.saving.state import capture, restore

_KEPT = ("variables", "optimizer")  # metrics restart, and may not have been created yet


@dataclass(frozen=True)
class Finding:
    """The batch at which training broke.

    Attributes:
        batch: Index of the batch in the epoch, from 0.
        data: The batch: inputs, and labels and weights if there are any.
        where: Description of where NaN or infinity appeared first.
        in_data: Whether it appeared in the data.
        before: The result of `capture` before the batch.
    """

    batch: int
    data: tuple[Any, ...]
    where: str
    in_data: bool
    before: dict[str, np.ndarray]


class TerminateOnNaN(Remembers, keras.callbacks.Callback):
    """Stop training when the loss or a weight is NaN, name the first cause, and restore weights.

    `keras.callbacks.TerminateOnNaN` reports the batch at which it saw the loss, when all weights
    are already lost. A weight can also be NaN while the loss is finite, because on TensorFlow, ReLU
    turns NaN into 0. This callback checks the loss and all weights every few batches and keeps a
    copy of the last good training state. Once one of them is NaN or infinite, it goes back to that
    copy, trains on those batches again one by one, and reports the batch and where NaN or infinity
    appeared first: the data, labels outside the classes of the loss, a layer's output, the loss, or
    a weight after the step. The batch is saved to disk, and the weights of the best epoch, or else
    those before the batch, are restored.

    Repeating the batches takes data from `kd.data.pipeline`, or a sampler; with other data only
    the range of batches is known.

    Args:
        folder: Folder to save the batch in, as `nan-epoch-2-batch-17.npz`, both from 1, with
            `inputs/0`, `labels/0` and so on; None saves nothing.
        every: Number of batches between two checks, and copies. A check waits for the accelerator;
            it takes one pass over the weights, in a function that is compiled once.

    Attributes:
        finding: A `Finding` if the last `fit` broke (`batch`, `data`, `where`), else None.
        best: Lowest loss of an epoch so far (the validation loss if there is one), or None.
        best_epoch: Index of that epoch (from 0), or None.
        best_weights: Weights after that epoch, or None.

    Raises:
        TypeError: If `every` is not an integer.
        ValueError: If `every` is below 1; in `fit`, if a weight is NaN or
            infinite before an epoch.

    Example:
        >>> import keras_dlcourse as kd
        >>> x = np.random.default_rng(0).normal(size=(40, 2, 2, 1))
        >>> x[17] = np.nan
        >>> data = kd.data.pipeline(x[:16], np.zeros((16, 1)), batch_size=4)
        >>> data.x = np.concatenate([x[:15], x[17:18]])  # pipeline() would have rejected this
        >>> model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(),
        ...                           keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> guard = TerminateOnNaN()
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     _ = model.fit(data, epochs=2, verbose=0, callbacks=[guard])
        >>> guard.finding.batch, guard.finding.where
        (3, 'the data: 1 of 4 inputs')
    """

    _remembered = ("best", "best_epoch", "best_weights")

    @renamed_arguments(directory="folder")
    def __init__(self, folder: str | Path | None = None, every: int = 20) -> None:
        super().__init__()
        self.folder = None if folder is None else user_path(check_folder("folder", folder))
        self.every = check_integer("every", every)
        self.finding: Finding | None = None
        self.best: float | None = None
        self.best_weights: list[np.ndarray] | None = None
        self.best_epoch: int | None = None
        self._epoch = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the data and reset the state."""
        arguments = arguments_of(self, sys._getframe())
        data, self._labels = arguments.get("x"), arguments.get("y")
        self._data = data if isinstance(data, TrainerData) else None
        self.finding = self.best = self.best_epoch = self.best_weights = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Copy the training state at the start of the epoch."""
        self._epoch, self._broken = epoch, False
        broken = find_first_broken(self.model)
        if broken is not None:
            raise ValueError(
                f"All weights must be finite before epoch {epoch + 1}, but {broken.path!r} holds "
                "NaN or infinity. Rebuild the model, adapt the layer, or load earlier weights."
            )
        self._good_batch, self._good = 0, capture(self.model)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Check the loss and the weights, if a check is due."""
        done = batch + 1
        if self._broken or (done % self.every and done != self.params.get("steps")):
            return
        broken = self._describe_broken(logs)
        if broken is not None:
            self._break(done, broken)
        elif done != self.params.get("steps"):  # the next epoch makes its own copy
            self._good_batch, self._good = done, capture(self.model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the weights of the best epoch."""
        if self._broken:
            return
        broken = self._describe_broken(logs)
        if broken is not None:
            self._break(None, broken)
            return
        value = float((logs or {}).get("val_loss", (logs or {}).get("loss", math.nan)))
        if math.isfinite(value) and (self.best is None or value < self.best):
            self.best, self.best_epoch = value, epoch
            self.best_weights = self.model.get_weights()

    def _describe_broken(self, logs: Any) -> str | None:
        """Return a description of what is NaN or infinite; None if nothing is."""
        if not _is_finite(logs):
            return "the loss"
        variable = find_first_broken(self.model)
        return None if variable is None else f"the weight {variable.path}"

    def _break(self, done: int | None, broken: str) -> None:
        """Find the cause, restore weights and stop training."""
        self._broken = self.model.stop_training = True
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self.finding = None if self._data is None else self._search(self._data)
        restore(self.model, self._good if self.finding is None else self.finding.before, *_KEPT)
        kept = self._keep()
        if self.best_weights is not None and self.best_epoch is not None:
            self.model.set_weights(self.best_weights)
            weights = f"those of epoch {self.best_epoch + 1}, the best"
        else:
            weights = "those before that batch"
        cause = self._cause(done, broken)
        warnings.warn(
            f"Training stopped in epoch {self._epoch + 1}: {cause}. {kept}The restored weights are "
            f"{weights}. {self._advice(rate)}",
            stacklevel=3,
        )

    def _search(self, data: TrainerData) -> Finding | None:
        """Train on the last batches again, one by one, up to the one that breaks training."""
        restore(self.model, self._good, *_KEPT)
        first = self._good_batch + data.first_batch
        batches = itertools.islice(data.one_pass(first), self.every)
        for number, batch in enumerate(batches, first):
            before = capture(self.model)
            logs = self.model.train_on_batch(*batch, return_dict=True)
            broken = find_first_broken(self.model)
            if not _is_finite(logs) or broken is not None:
                restore(self.model, before, *_KEPT)
                where, in_data = self._locate(batch, _is_finite(logs), broken)
                return Finding(number, batch, where, in_data, before)
        return None

    def _locate(
        self, batch: tuple[Any, ...], loss_is_finite: bool, broken: Any
    ) -> tuple[str, bool]:
        for name, part in zip(("inputs", "labels", "sample weights"), batch, strict=False):
            for array in map(np.asarray, tree.flatten(part)):
                bad = ~np.isfinite(array.astype("float64")).reshape(len(array), -1).all(1)
                if bad.any():
                    return f"the data: {bad.sum()} of {len(array)} {name}", True
        wrong = describe_wrong_labels(self.model, batch[1]) if len(batch) > 1 else None
        if wrong is not None:
            return wrong, True
        place = _find_bad_place(self.model, batch[0])
        if place is not None:
            return f"the output of {place.name} ({type(place.node.operation).__name__})", False
        if not loss_is_finite:
            return "the loss, although the outputs are finite", False
        return f"the update step: {broken.path} after it", False

    def _keep(self) -> str:
        if self.folder is None or self.finding is None:
            return ""
        name = f"nan-epoch-{self._epoch + 1}-batch-{self.finding.batch + 1}.npz"
        arrays = {
            f"{part}/{number}": np.asarray(array)
            for part, value in zip(("inputs", "labels", "weights"), self.finding.data, strict=False)
            for number, array in enumerate(tree.flatten(value))
        }
        with write_atomically(self.folder / name) as path, path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        return f"The batch is in {self.folder / name}. "

    def _cause(self, done: int | None, broken: str) -> str:
        if self.finding is not None:
            number = self.finding.batch + 1
            return f"NaN or infinity first appeared in batch {number}, in {self.finding.where}"
        span = f"batches {self._good_batch + 1} to {done}" if done else "its last batches"
        wrong = self._describe_wrong_labels()
        if wrong is not None:
            return f"{broken} became NaN or infinite in {span}. The cause is in {wrong}"
        if self._data is None:
            return (
                f"{broken} became NaN or infinite in {span}; with data from kd.data.pipeline this "
                "callback reports the exact batch and layer"
            )
        return f"{broken} became NaN or infinite in {span}, but not when they were repeated"

    def _describe_wrong_labels(self) -> str | None:
        """Describe labels that are not class numbers, in the batch found or else all of `fit`."""
        if self.finding is not None:
            return self.finding.where if self.finding.where.startswith("the labels:") else None
        return None if self._labels is None else describe_wrong_labels(self.model, self._labels)

    def _advice(self, rate: float) -> str:
        classes = classes_of_labels(self.model)
        if self._describe_wrong_labels() is not None:
            return (
                "Number the classes from 0, y = numpy.unique(y, return_inverse=True)[1], or give "
                f"the model more than {classes} classes."
            )
        if self.finding is not None and self.finding.in_data:
            return "Look for NaN and infinity in the data, and remove those examples."
        advice = [f"a lower learning rate (it was {rate:.3g}; try {rate / 10:.3g})",
                  "a warm-up", "clipnorm=1.0 in the optimizer"]  # fmt: skip
        in_loss = self.finding is not None and self.finding.where.startswith("the loss")
        if in_loss and classes_of_cross_entropy(self.model):
            advice.insert(0, "a loss with from_logits=True and no softmax at the end of the model")
        if classes is not None and self.finding is None and self._labels is None:
            advice.insert(0, f"labels that are all from 0 to {classes - 1}")
        if "float16" in str(self.model.dtype_policy.name):
            advice.insert(0, "bfloat16 instead of float16")
        return f"Try {'; '.join(advice)}."


def _is_finite(logs: Any) -> bool:
    loss = (logs or {}).get("loss")
    return loss is None or bool(np.isfinite(np.asarray(keras.ops.convert_to_numpy(loss))).all())


def _find_bad_place(model: keras.Model, inputs: Any) -> Place | None:
    """Return the first call of a layer whose output is not finite, though its inputs are."""
    try:
        network = Network(model)
    except (TypeError, ValueError):
        return None  # a subclassed model has no graph to inspect
    found: list[Place] = []

    def after(place: Place, outputs: Any) -> Any:
        arrays = map(keras.ops.convert_to_numpy, tree.flatten(outputs))
        if not found and not all(np.isfinite(array.astype("float64")).all() for array in arrays):
            found.append(place)
        return outputs

    given = [keras.ops.convert_to_tensor(array) for array in tree.flatten(inputs)]
    network.run(given, call_in_training, after)
    return found[0] if found else None
