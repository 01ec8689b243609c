"""Warn when training has plateaued, and explain what the loss means."""

from __future__ import annotations

import math
import warnings
from typing import Any

import keras

from keras_dlcourse._checks import check_fraction, check_integer
from keras_dlcourse.callbacks._monitor import classes_of_cross_entropy
from keras_dlcourse.callbacks._states import Remembers


class PlateauMonitor(Remembers, keras.callbacks.Callback):
    """Check after each epoch whether the loss still falls; warn once per plateau if not.

    What a plateau means depends on the value of the loss. At ln(classes), or ln 2 for a single
    sigmoid, a classifier gives the same scores to all examples: it has collapsed, or has not
    started to learn. Above that value, it diverges. Below it, training has finished, or the
    learning rate is too high or too low. If the validation loss rises meanwhile, the network is
    overfitting.

    The callback only reads the logs of `fit`, and costs nothing. For embeddings see
    `CollapseMonitor`.

    Args:
        patience: Number of epochs without a decrease of the loss that count as a plateau.
        min_delta: The loss must fall below its minimum so far by more than this fraction of it.

    Attributes:
        losses: The loss of each epoch so far.
        validation_losses: The validation loss of each epoch, if there is one.
        said: The warnings issued so far, one per plateau.
        waited: Number of epochs since the loss last fell.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np
        >>> dead = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4, "softmax")])
        >>> dead.set_weights([np.zeros((2, 4)), np.zeros(4)])
        >>> dead.compile("sgd", "sparse_categorical_crossentropy")
        >>> monitor = PlateauMonitor(patience=2)
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     _ = dead.fit(np.zeros((8, 2)), np.arange(8) % 4, epochs=4, verbose=0,
        ...                  callbacks=[monitor])
        >>> print(monitor.said[0][:91])
        The loss has not fallen for 2 epochs. At 1.386 it is ln 4: all 4 classes get the same score
    """

    _remembered = ("losses", "validation_losses", "said", "waited")

    def __init__(self, patience: int = 5, min_delta: float = 0.01) -> None:
        super().__init__()
        self.patience = check_integer("patience", patience)
        self.min_delta = check_fraction("min_delta", min_delta)
        self.on_train_begin()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Reset the history."""
        self.losses: list[float] = []
        self.validation_losses: list[float] = []
        self.said: list[str] = []
        self.waited = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare the loss with earlier epochs, and warn once per plateau."""
        loss = float((logs or {}).get("loss", math.nan))
        if "val_loss" in (logs or {}):
            self.validation_losses.append(float((logs or {})["val_loss"]))
        least = min(self.losses, default=math.inf)
        self.losses.append(loss)
        self.waited = 0 if loss < least * (1 - self.min_delta) else self.waited + 1
        if self.waited == self.patience:
            self.said.append(
                f"The loss has not fallen for {self.waited} epochs. {self._meaning(loss)}"
            )
            warnings.warn(self.said[-1], stacklevel=2)

    def _meaning(self, loss: float) -> str:
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        chance = classes_of_cross_entropy(self.model)
        if chance is not None and abs(loss - math.log(chance)) <= 0.02 * math.log(chance):
            return (
                f"At {loss:.4g} it is ln {chance}: all {chance} classes get the same score, as "
                "from a network that ignores its input. Check that each label belongs to its input "
                "and that inputs are normalized (mean 0, not 0 to 255); then try another "
                f"learning rate (it is {rate:.3g}), a lower one first."
            )
        if chance is not None and loss > math.log(chance):
            return (
                f"At {loss:.4g} it is above ln {chance} = {math.log(chance):.4g}, the loss of a "
                "network that ignores its input: training diverges. Lower the learning rate (it is "
                f"{rate:.3g})."
            )
        validation = self.validation_losses
        if len(validation) > 1 and validation[-1] > 1.05 * min(validation):
            return (
                f"The validation loss has risen from {min(validation):.4g} to "
                f"{validation[-1]:.4g}: the network is overfitting. Stop at the best epoch "
                "(kd.callbacks.EarlyStopping), or add data, augmentation or weight decay."
            )
        return (
            f"At {loss:.4g} training may be complete. If not, the learning rate (it is {rate:.3g}) "
            "may be too high to go further: lower it (keras.callbacks.ReduceLROnPlateau). Or "
            "the network may be too small for the task."
        )
