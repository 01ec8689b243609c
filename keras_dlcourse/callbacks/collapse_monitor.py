"""Warn when all embeddings have become the same."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_integer, check_number
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.callbacks._states import Remembers
from keras_dlcourse.data import take
from keras_dlcourse.losses.embedding._pairs import PairLoss


class CollapseMonitor(Remembers, keras.callbacks.Callback):
    """Check after each epoch whether the network still tells images apart; warn once if not.

    A triplet loss that stays near its margin has one well-known cause: the network gives all images
    the same embedding. Then every triplet costs the margin (ln 2 or ln(1 + e^margin) in the soft
    form), and there is no gradient to escape. The same loss can also come from embeddings that
    differ but are badly ordered, which only needs time. So two values are measured on a fixed set
    of images: the loss, compared with its value if all embeddings were equal, and the variance of
    the embeddings (their mean squared distance from their mean; the embeddings are scaled to length
    1 first if the loss compares angles).

    Args:
        data: Images and their labels: anything that `kd.data.take` reads, prepared as for `fit`,
            with as many inputs as the model takes. Several images per class are needed.
        limit: Maximum number of images to use.
        loss: A loss of labels and embeddings, such as `kd.losses.TripletLoss`. None uses the one
            the model is compiled with.
        tolerance: How close the loss must be to that of equal embeddings, as a fraction of the
            latter.
        variance: The embeddings count as collapsed only below this variance.
        seed: Seed for choosing the images; None takes the first ones.

    Attributes:
        losses: The loss after each epoch of the last `fit`.
        variances: The variance after each epoch; also added to the logs, as `embedding_variance`.
        collapsed: Whether the embeddings were collapsed in the last epoch.
        told: Whether the warning has been issued.

    Raises:
        ValueError: If an argument is out of range or `data` has no labels or no pairs of one class;
            before the first epoch if there is no loss of embeddings.

    Example:
        >>> import keras, numpy as np, warnings
        >>> from keras_dlcourse.losses import TripletLoss
        >>> dead = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> dead.set_weights([np.zeros((4, 2)), np.ones(2)])
        >>> dead.compile("sgd", TripletLoss(margin=0.5))
        >>> x, y = np.random.default_rng(0).random((8, 4)), np.arange(8) % 2
        >>> monitor = CollapseMonitor((x, y), limit=8)
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     history = dead.fit(x, y, epochs=2, verbose=0, callbacks=[monitor])
        >>> [str(warning.message)[:30] for warning in caught if "collapsed" in str(warning.message)]
        ['The embeddings have collapsed:']
    """

    _remembered = ("losses", "variances", "collapsed", "told")

    @renamed_arguments(images="limit")
    def __init__(
        self,
        data: Any,
        limit: int = 256,
        loss: PairLoss | None = None,
        tolerance: float = 0.05,
        variance: float = 1e-3,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        check_integer("limit", limit, least=3)
        check_number("tolerance", tolerance, above=0, below=1)
        check_number("variance", variance, above=0, below=1)
        if loss is not None and not isinstance(loss, PairLoss):
            raise TypeError(
                "loss must be a loss of labels and embeddings, such as kd.losses.TripletLoss. "
                f"Received: {loss!r}"
            )
        self.tolerance, self.variance, self.loss = tolerance, variance, loss
        examples = take(data, limit, seed, several_inputs=True)
        if examples.labels is None:
            raise ValueError("data must contain images and labels. Pass (images, labels).")
        self._inputs = examples.inputs
        self._labels = np.unique(np.asarray(examples.labels).reshape(-1), return_inverse=True)[1]
        if not 1 < len(np.unique(self._labels)) < len(self._labels):
            raise ValueError(
                "data must contain several classes, and several images of at least one class. "
                f"Received: {len(self._labels)} images of {len(np.unique(self._labels))} classes. "
                "Use more images or another seed."
            )
        self.losses: list[float] = []
        self.variances: list[float] = []
        self.collapsed = False
        self.told = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the loss, and reject a model without a loss of embeddings."""
        found = self.loss if self.loss is not None else getattr(self.model, "loss", None)
        if not isinstance(found, PairLoss) or getattr(found, "mining", "any") is None:
            raise ValueError(
                f"CollapseMonitor needs a loss of labels and embeddings, but the model has "
                f"{found!r}. Pass one as loss=, such as kd.losses.TripletLoss()."
            )
        # On a single device, whatever the distribution strategy of training.
        self._watched = type(found).from_config(
            {**found.get_config(), "gather": False, "reduction": "sum_over_batch_size"}
        )
        self.losses, self.variances, self.collapsed, self.told = [], [], False, False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure both values, and warn the first time they indicate collapse."""
        embeddings = self.model.predict(self._inputs, verbose=0).astype("float32")
        if not np.isfinite(embeddings).all():
            return  # training has diverged, which shows in the logs
        compared = keras.ops.convert_to_numpy(self._watched.prepare_embeddings(embeddings))
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
        advice = ["lower the learning rate", "put more images of each class into a batch"]
        if getattr(self._watched, "mining", None) == "hard":
            advice.insert(0, "start with mining='semi_hard' or 'all' and switch to 'hard' later")
        if getattr(self._watched, "distance", None) in ("euclidean", "squared"):
            advice.append("end the model in kd.layers.L2Normalization, so that no length shrinks")
        return (
            f"The embeddings have collapsed: after epoch {epoch + 1} the loss on "
            f"{len(self._labels)} images is {loss:.4g}, while equal embeddings would have "
            f"{if_alike:.4g}, and their variance is {variance:.2g}. The network gives all images "
            f"the same embedding and gets no gradient to escape. Restart and {'; '.join(advice)}."
        )
