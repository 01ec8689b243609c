"""Say in words that a training stands still, and what its loss means."""

from __future__ import annotations

import math
import warnings
from typing import Any

import keras

from keras_dlcourse._checks import fraction, positive_int
from keras_dlcourse.callbacks._monitor import classes_of_cross_entropy
from keras_dlcourse.callbacks._states import Remembers


class PlateauMonitor(Remembers, keras.callbacks.Callback):
    """After each epoch, look whether the loss still falls; warn once per plateau if not.

    A loss that stands still has a meaning that depends on where. At ln(classes), or ln 2 for one
    sigmoid, a classifier gives the same scores to all examples: it has collapsed, or not begun to
    learn. Above that it diverges. Below it, training has come to its end, or to a rate that is too
    high or too low. Where the loss of the validation rises meanwhile, the network learns its
    examples by heart.

    It reads the logs of `fit` only, and costs nothing. For embeddings see `CollapseMonitor`.

    Args:
        patience: Number of epochs without a fall of the loss after which it is a plateau.
        min_delta: What share of the loss a fall has to be.

    Attributes:
        losses: The loss of each epoch so far.
        validation_losses: The same of the validation, if there is one.
        said: What was said so far, once a plateau.
        waited: Number of epochs since the loss last fell.

    Raises:
        ValueError: For arguments that make no sense.

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
        self.patience = positive_int("patience", patience)
        self.min_delta = fraction("min_delta", min_delta)
        self.on_train_begin()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin anew."""
        self.losses: list[float] = []
        self.validation_losses: list[float] = []
        self.said: list[str] = []
        self.waited = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare, and say so once if the loss stands still."""
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
                "from a network that sees nothing. Look whether each label belongs to its input "
                "and whether inputs are normalized (mean 0, not 0 to 255); then try another "
                f"learning rate (it is {rate:.3g}), lower first."
            )
        if chance is not None and loss > math.log(chance):
            return (
                f"At {loss:.4g} it is above ln {chance} = {math.log(chance):.4g}, that of a "
                f"network that sees nothing: it diverges. Lower the learning rate, {rate:.3g}."
            )
        validation = self.validation_losses
        if len(validation) > 1 and validation[-1] > 1.05 * min(validation):
            return (
                f"That of the validation has risen from {min(validation):.4g} to "
                f"{validation[-1]:.4g}: the network learns its examples by heart. Stop at the best "
                "epoch (kd.callbacks.EarlyStopping), or add data, augmentation or weight decay."
            )
        return (
            f"At {loss:.4g} training may be through. If not, the learning rate (it is {rate:.3g}) "
            "may be too high for what is left: lower it (keras.callbacks.ReduceLROnPlateau), or "
            "the network is too small for the task."
        )
