"""Choose the weights of several tasks by a measure of the trained network."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse.data.examples import check_end
from keras_dlcourse.training.search.untrained import TrainedVariables, digest, variables_of


@dataclass(frozen=True)
class AlphaChoice:
    """The result of `select_alpha`.

    Attributes:
        alpha: The chosen alpha.
        monitor: The measure used to choose.
        alphas: All alphas tried.
        scores: For each alpha, the measure on the validation data, one value per seed.
        trainer: The result of `train` for the chosen alpha and the first seed.
    """

    alpha: Any
    monitor: str
    alphas: tuple[Any, ...]
    scores: tuple[tuple[float, ...], ...]
    trainer: keras.Model

    @property
    def means(self) -> tuple[float, ...]:
        """The mean over seeds for each alpha."""
        return tuple(map(statistics.mean, self.scores))

    def __str__(self) -> str:
        rows = zip(self.alphas, self.means, self.scores, strict=True)
        return "\n".join(
            f"alpha {alpha}: {self.monitor} {mean:.4g}"
            + f" ({min(values):.4g} to {max(values):.4g})" * (len(values) > 1)
            + ", chosen" * (alpha is self.alpha)
            for alpha, mean, values in rows
        )


def select_alpha(
    train: Callable[[Any], keras.Model],
    alphas: Sequence[Any],
    validation: Any,
    monitor: str,
    *,
    mode: str = "max",
    seeds: Sequence[int] = (0,),
    batch_size: int = 32,
) -> AlphaChoice:
    """Train once for each alpha, and choose the best by a measure of the goal.

    The multitask loss itself cannot be used to choose alpha: its value changes with alpha even if
    the network stays the same, and an alpha of 0 makes the contribution of the first task vanish.
    So `monitor` is a measure, such as accuracy or intersection over union, on validation data.

    Args:
        train: Called with an alpha; builds a network, trains it with a `kd.losses.MultitaskLoss`
            for that alpha and returns the compiled `kd.models.MultitaskModel`. Keras's seed is set
            before each call, so that all start from the same weights.
        alphas: Alphas to try: anything that `MultitaskLoss` takes.
        validation: Data as `Model.evaluate` takes it: `(x, y)`, or a data set.
        monitor: Name of the measure in the results of `evaluate`.
        mode: Whether its `"max"` or `"min"` is best.
        seeds: Train with each of these seeds and choose by the mean.
        batch_size: Batch size of the evaluation, for data without batches.

    Returns:
        An `AlphaChoice`. In case of a tie the first alpha is chosen; one whose measure is NaN never
        is.

    Raises:
        ValueError: If `monitor` is the loss or is not measured, `alphas` or `seeds` is empty, the
            measure is NaN for all, or `train` continues to train what an earlier call has trained.
        TypeError: If `train` does not return a Keras model.

    Example:
        >>> import numpy as np
        >>> from keras_dlcourse.losses import MultitaskLoss
        >>> from keras_dlcourse.models import MultitaskModel
        >>> x = np.random.default_rng(0).normal(size=(32, 4))
        >>> y = {"label": (x[:, 0] > 0).astype("int32"), "size": x[:, 1:2]}
        >>> def train(alpha):
        ...     inputs = keras.Input((4,))
        ...     model = keras.Model(inputs, {"label": keras.layers.Dense(2, "softmax")(inputs),
        ...                                  "size": keras.layers.Dense(1)(inputs)})
        ...     tasks = {"label": "sparse_categorical_crossentropy", "size": "mse"}
        ...     trainer = MultitaskModel(model, MultitaskLoss(tasks, alpha))
        ...     trainer.compile("adam", metrics={"label": "accuracy"})
        ...     trainer.fit(x, y, epochs=2, verbose=0)
        ...     return trainer
        >>> select_alpha(train, [0.2, 0.8], (x, y), "label_accuracy").alpha in (0.2, 0.8)
        True
    """
    if monitor in ("loss", "val_loss"):
        raise ValueError(
            f"monitor must not be the loss, which changes with alpha even for the same network. "
            f"Received: {monitor!r}. Use a measure of the goal, such as accuracy or IoU."
        )
    check_one_of("mode", mode, ("max", "min"))
    check_end(validation, "validation")
    alphas, seeds = tuple(alphas), tuple(seeds)
    if not alphas or not seeds:
        raise ValueError("alphas and seeds must not be empty.")
    for seed in seeds:
        check_integer("seeds", seed, least=0)
    sign = 1 if mode == "max" else -1
    trained = TrainedVariables()
    scores: list[tuple[float, ...]] = []
    best, chosen = -math.inf, None
    for alpha in alphas:
        values, trainer = _try_alpha(
            train,
            alpha,
            seeds,
            lambda trainer: _measure(trainer, validation, monitor, batch_size),
            trained,
        )
        scores.append(values)
        if sign * statistics.mean(values) > best:
            best, chosen = sign * statistics.mean(values), (alpha, trainer)
    if chosen is None:
        raise ValueError(f"{monitor} is NaN for every alpha: training has diverged.")
    return AlphaChoice(chosen[0], monitor, alphas, tuple(scores), chosen[1])


def _try_alpha(
    train: Callable[[Any], keras.Model],
    alpha: Any,
    seeds: Sequence[int],
    measure: Callable[[Any], float],
    trained: TrainedVariables,
) -> tuple[tuple[float, ...], Any]:
    """Return the measure for each seed, and the model trained with the first one."""
    values, first = [], None
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        trainer = train(alpha)
        values.append(measure(trainer))
        _check_apart(trainer, trained)
        first = trainer if first is None else first
    return tuple(values), first


def _check_apart(trainer: keras.Model, trained: TrainedVariables) -> None:
    """Raise ValueError if this training has changed variables that an earlier one trained."""
    for variable in variables_of(trainer):
        left, now = trained.find_digest(variable), digest(variable)
        if left is not None and left != now:
            raise ValueError(
                f"train must build a new network each time. Received: one with {variable.path!r}, "
                "which was already trained for an earlier alpha or seed. Create the layers and the "
                "optimizer inside train. A shared base must be frozen: base.trainable = False."
            )
        trained.note(variable, now)


def _measure(trainer: Any, validation: Any, monitor: str, batch_size: int) -> float:
    if not isinstance(trainer, keras.Model):
        raise TypeError(f"train must return a compiled Keras model. Received: {trainer!r}")
    if isinstance(validation, tuple):
        found = trainer.evaluate(*validation, batch_size=batch_size, verbose=0, return_dict=True)
    else:
        found = trainer.evaluate(validation, verbose=0, return_dict=True)
    name = monitor.removeprefix("val_")
    return float(found[check_one_of("monitor", name, tuple(found))])
