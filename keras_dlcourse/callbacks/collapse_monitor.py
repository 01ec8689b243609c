"""Say in words when all embeddings have become the same."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np

from keras_dlcourse.callbacks._states import Remembers
from keras_dlcourse.data import take
from keras_dlcourse.losses.embedding._pairs import PairLoss


class CollapseMonitor(Remembers, keras.callbacks.Callback):
    """After each epoch, look whether the network still tells images apart; warn once if not.

    A triplet loss that stays near its margin has one well-known cause: the network gives one
    embedding to all images, where every triplet costs the margin (in the soft form ln 2, or
    ln(1 + e^margin)) and no gradient leads away. The same loss may also come from embeddings that
    differ and are in bad order, which only needs time. So two figures are taken on some images that
    stay the same: the loss beside what it would be if all their embeddings were equal, and the
    variance of the embeddings (their mean squared distance from their mean; of embeddings scaled to
    length 1 where the loss compares angles).

    Args:
        data: Images and their labels: whatever `kd.data.take` reads, prepared as for `fit`, with
            as many inputs as the model takes. Several images of each class are needed.
        images: Number of images to look at.
        loss: A loss of labels and embeddings, such as `kd.losses.TripletLoss`. None takes the one
            that the model is compiled with.
        tolerance: How near the loss has to be to that of equal embeddings, as a share of it.
        variance: How small the variance has to be.
        seed: Chooses the images; None takes the first ones.

    Attributes:
        losses: The loss after each epoch of the last `fit`.
        variances: The variance after each epoch; it also goes to the logs, as
            `embedding_variance`.
        collapsed: Whether the embeddings have collapsed in the last epoch.
        told: Whether the warning has been given.

    Raises:
        ValueError: For arguments that make no sense; before the first epoch if there are no
            labels, no pairs of one class, or no loss of embeddings.

    Example:
        >>> import keras, numpy as np, warnings
        >>> from keras_dlcourse.losses import TripletLoss
        >>> dead = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> dead.set_weights([np.zeros((4, 2)), np.ones(2)])
        >>> dead.compile("sgd", TripletLoss(margin=0.5))
        >>> x, y = np.random.default_rng(0).random((8, 4)), np.arange(8) % 2
        >>> monitor = CollapseMonitor((x, y), images=8)
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     history = dead.fit(x, y, epochs=2, verbose=0, callbacks=[monitor])
        >>> [str(warning.message)[:30] for warning in caught if "collapsed" in str(warning.message)]
        ['The embeddings have collapsed:']
    """

    _remembered = ("losses", "variances", "collapsed", "told")

    def __init__(
        self,
        data: Any,
        images: int = 256,
        loss: PairLoss | None = None,
        tolerance: float = 0.05,
        variance: float = 1e-3,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        if isinstance(images, bool) or not isinstance(images, int) or images < 3:
            raise ValueError(f"images must be a whole number of at least 3. Received: {images!r}")
        for name, number in (("tolerance", tolerance), ("variance", variance)):
            real = isinstance(number, int | float) and not isinstance(number, bool)
            if not (real and 0 < number < 1):
                raise ValueError(f"{name} must be above 0 and below 1. Received: {number!r}")
        if loss is not None and not isinstance(loss, PairLoss):
            raise ValueError(
                "loss must be a loss of labels and embeddings, such as kd.losses.TripletLoss. "
                f"Received: {loss!r}"
            )
        self.tolerance, self.variance, self.loss = tolerance, variance, loss
        examples = take(data, images, seed, several_inputs=True)
        if examples.labels is None:
            raise ValueError("data must hold labels beside the images: pass (images, labels).")
        self._inputs = examples.inputs
        self._labels = np.unique(np.asarray(examples.labels).reshape(-1), return_inverse=True)[1]
        if not 1 < len(np.unique(self._labels)) < len(self._labels):
            raise ValueError(
                "data must hold several classes, and several images of one at least. Received: "
                f"{len(self._labels)} images of {len(np.unique(self._labels))} classes. Take more "
                "images, or another seed."
            )
        self.losses: list[float] = []
        self.variances: list[float] = []
        self.collapsed = False
        self.told = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the loss, and refuse a model that has none of embeddings."""
        found = self.loss if self.loss is not None else getattr(self.model, "loss", None)
        if not isinstance(found, PairLoss) or getattr(found, "mining", "any") is None:
            raise ValueError(
                f"CollapseMonitor needs a loss of labels and embeddings; the model has {found!r}. "
                "Pass one as loss=, such as kd.losses.TripletLoss()."
            )
        # Alone on one device, whatever the strategy that trains.
        self._watched = type(found).from_config(
            {**found.get_config(), "gather": False, "reduction": "sum_over_batch_size"}
        )
        self.losses, self.variances, self.collapsed, self.told = [], [], False, False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Take both figures, and warn the first time that they mean collapse."""
        embeddings = self.model.predict(self._inputs, verbose=0).astype("float32")
        if not np.isfinite(embeddings).all():
            return  # training has diverged, which shows in the logs
        compared = keras.ops.convert_to_numpy(self._watched.compared(embeddings))
        loss = float(self._watched(self._labels, embeddings))
        alike = np.broadcast_to(embeddings.mean(0), embeddings.shape)
        if_alike = float(self._watched(self._labels, np.array(alike)))
        variance = float(((compared - compared.mean(0)) ** 2).sum(1).mean())
        self.losses.append(loss)
        self.variances.append(variance)
        if logs is not None:
            logs["embedding_variance"] = variance
        near = abs(loss - if_alike) <= self.tolerance * if_alike
        self.collapsed = near and variance < self.variance
        if self.collapsed and not self.told:
            self.told = True
            warnings.warn(self._message(epoch, loss, if_alike, variance), stacklevel=2)

    def _message(self, epoch: int, loss: float, if_alike: float, variance: float) -> str:
        advice = ["lower the learning rate", "take more images of each class into a batch"]
        if getattr(self._watched, "mining", None) == "hard":
            advice.insert(0, "begin with mining='semi_hard' or 'all' and come to 'hard' later")
        if getattr(self._watched, "distance", None) in ("euclidean", "squared"):
            advice.append("end the model in kd.layers.L2Normalization, so that no length shrinks")
        return (
            f"The embeddings have collapsed: after epoch {epoch + 1} the loss of "
            f"{len(self._labels)} images is {loss:.4g}, where all alike would have {if_alike:.4g}, "
            f"and their variance is {variance:.2g}. The network gives one answer to all images and "
            f"gets no gradient out of it. Start anew and {'; '.join(advice)}."
        )
