"""Measure embeddings after each epoch, in the logs of `fit`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_integer
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.callbacks._states import Remembers
from keras_dlcourse.data import take
from keras_dlcourse.data.examples import check_end
from keras_dlcourse.edge.search.nearest import check_metric
from keras_dlcourse.retrieval.evaluation import (
    DEFAULT,
    check_measures,
    evaluate,
)
from keras_dlcourse.retrieval.features import Extractor


class RetrievalMetrics(Remembers, keras.callbacks.Callback):
    """After each epoch, embed validation images and measure how well they find their class.

    These measures compare all pairs of images and are not sums over batches, so they cannot be
    Keras metrics. They are added to the logs, and so reach the history, TensorBoard, and later
    callbacks in the list: put `EarlyStopping(monitor="val_recall@1", mode="max")` after this one.

    Args:
        data: Images with their labels: a `kd.data.Pipeline`, `(images, labels)` arrays, or anything
            else that `kd.data.take` reads, prepared as for `fit`. It is iterated once per epoch.
        measures: Names as for `kd.retrieval.evaluate`.
        metric: `"cosine"`, `"euclidean"` or `"dot"`.
        layer: Name of the layer whose output is the embedding, as in `kd.retrieval.features`; None
            as there.
        limit: Maximum number of images to take from `data`; None for all, in which case `data`
            must be finite.
        seed: Seed for choosing images, pairs and triplets.
        prefix: Prefix of each name in the logs.
        batch_size: Number of images embedded at a time.

    Attributes:
        before: The measures before the first epoch.

    Raises:
        ValueError: In `__init__` if an argument is out of range; before the first epoch if the
            model has no such layer, or `data` has no labels.

    Example:
        >>> model = keras.Sequential([
        ...     keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.random.default_rng(0).random((12, 8, 8, 1)), np.arange(12) % 3
        >>> measured = RetrievalMetrics((x, y), ["recall@1", "map@r"])
        >>> history = model.fit(x, np.zeros((12, 4)), verbose=0, callbacks=[measured])
        >>> sorted(history.history)
        ['loss', 'val_map@r', 'val_recall@1']
    """

    _remembered = ("before",)

    @renamed_arguments(images="limit")
    def __init__(
        self,
        data: Any,
        measures: Sequence[str] = DEFAULT,
        metric: str = "cosine",
        layer: str | None = None,
        limit: int | None = None,
        seed: int = 0,
        prefix: str = "val_",
        batch_size: int = 32,
    ) -> None:
        super().__init__()
        self.measures, self.metric = check_measures(measures), check_metric(metric)
        if layer is not None and not isinstance(layer, str):
            raise TypeError(f"layer must be the name of a layer. Received: {type(layer).__name__}")
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be a string. Received: {prefix!r}")
        self.batch_size = check_integer("batch_size", batch_size)
        if limit is not None:
            examples = take(data, check_integer("limit", limit), seed)
            data = (examples.inputs, examples.labels)
        elif isinstance(data, Iterator):
            raise TypeError(
                "data must be something that can be iterated in each epoch. Received: "
                f"{type(data).__name__}. Pass limit= to take some images from it once."
            )
        else:
            check_end(data)
        self.layer, self.prefix, self.seed = layer, prefix, seed
        self.before: dict[str, float] = {}
        self._data = data
        self._extractor: Extractor | None = None
        self._extracted: keras.Model | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check the model before the first epoch, compile, and measure once."""
        if self._extractor is None or self._extracted is not self.model:
            self._extractor = Extractor(self.model, self.layer, self.batch_size)
            self._extracted = self.model
        self.before = self.measure()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the measures to the logs."""
        found = self.measure()
        if logs is not None:
            logs.update({self.prefix + name: value for name, value in found.items()})

    def measure(self) -> dict[str, float]:
        """Measure the model with its current weights.

        Returns:
            A float for each measure; NaN, with a warning, if the network outputs NaN or infinity.

        Raises:
            ValueError: Before the first `fit`, or if `data` has no labels.
        """
        if self._extractor is None:
            raise ValueError("measure() needs a model. Pass this callback to fit first.")
        embeddings, labels = self._extractor(self._data)
        if labels is None:
            raise ValueError(
                "data must have labels, which define the correct matches. Pass (images, labels)."
            )
        if not np.isfinite(embeddings).all():
            # Stopping is left to other callbacks, such as keras.callbacks.TerminateOnNaN.
            warnings.warn(
                "RetrievalMetrics: the network outputs NaN or infinity for some images, so its "
                "measures are NaN.",
                stacklevel=2,
            )
            return dict.fromkeys(self.measures, float("nan"))
        return evaluate(embeddings, labels, self.measures, metric=self.metric, seed=self.seed)
