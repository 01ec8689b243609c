"""A network with dropout as the ensemble that it was trained as."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import is_whole

_DROPOUTS = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
)
_RECURRENT = (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)


class MonteCarloPrediction(NamedTuple):
    """What `MonteCarloDropout.predict` says.

    Attributes:
        mean: The mean over the sampled networks, in the shape of the model's output.
        spread: Their standard deviation, likewise.
    """

    mean: np.ndarray
    spread: np.ndarray


class MonteCarloDropout:
    """Predict with dropout switched on, many times, and say how much the answers differ.

    Each training step trains a part of the network; what `predict` gives, with weights scaled, is
    a guess at the mean of all parts. Here that mean is taken over `samples` of them, for each input
    others, in one call of the network on a batch `samples` times as large. Only dropout is switched
    on: batch normalization, augmentation and noise are as in inference, and no statistic moves.

    Args:
        model: Any built Keras model with dropout and one output; recurrent layers' own counts.
        samples: How many masks for each input, 2 or more.
        seed: Of the masks; the same seed gives the same answer. The model's own random numbers are
            as they were afterwards.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If it has no dropout, or `samples` or `seed` is out of range.

    Example:
        >>> inputs = keras.Input((4,))
        >>> x = keras.layers.Dropout(0.5)(inputs)
        >>> model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))
        >>> found = MonteCarloDropout(model, samples=20).predict(np.ones((2, 4)))
        >>> found.mean.shape, bool((found.spread > 0).all())
        ((2, 3), True)

    Reference:
        Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016,
        https://arxiv.org/abs/1506.02142
    """

    def __init__(self, model: keras.Model, samples: int = 30, seed: int = 0) -> None:
        if not isinstance(model, keras.Model):
            raise TypeError(f"model must be a keras.Model. Received: {model!r}")
        if not is_whole(samples) or samples < 2:
            raise ValueError(f"samples must be a whole number of at least 2. Received: {samples!r}")
        if not is_whole(seed) or seed < 0:
            raise ValueError(f"seed must be a whole number of at least 0. Received: {seed!r}")
        self.model, self.samples, self.seed = model, int(samples), int(seed)
        self._layers = list(_with_dropout(model))
        if not self._layers:
            raise ValueError(
                f"{model.name!r} has no dropout (with a rate above 0), so that all samples would "
                "be the same. An ensemble of several trainings is kd.models.ensemble."
            )
        self._sampler = _Sampler(model, self._layers, self.samples)

    def predict(self, x: Any, batch_size: int = 32) -> MonteCarloPrediction:
        """Return mean and spread for each input.

        Args:
            x: What `Model.predict` takes.
            batch_size: Inputs at a time; the network sees `samples` times as many.

        Returns:
            Mean and standard deviation over the samples, float arrays like the model's output.
        """
        with _seeded(self.model, self.seed):
            mean, spread = self._sampler.predict(x, batch_size=batch_size, verbose=0)
        return MonteCarloPrediction(mean, spread)


@keras.saving.register_keras_serializable(package="keras_dlcourse", name="_Sampler")
class _Sampler(keras.Model):
    """Mean and standard deviation over masks, as a model: Keras batches it and compiles it once."""

    def __init__(self, model: keras.Model, layers: list[Any], samples: int) -> None:
        super().__init__(name=f"{model.name}_sampled")
        self.model, self.samples = model, samples
        self._on = layers

    def call(self, inputs: Any, training: bool = False) -> tuple[Any, Any]:
        """Return both for a batch."""
        many = keras.tree.map_structure(lambda one: ops.repeat(one, self.samples, axis=0), inputs)
        with _dropping(self._on):
            outputs = self.model(many, training=False)
        if not ops.is_tensor(outputs):
            raise ValueError("model must have one output; this one has several.")
        outputs = ops.cast(outputs, "float32")
        shape = (-1, self.samples, *outputs.shape[1:])
        apart = ops.reshape(outputs, shape)
        return ops.mean(apart, axis=1), ops.std(apart, axis=1)


def _with_dropout(model: keras.Model) -> Iterator[Any]:
    for layer in model._flatten_layers():
        if isinstance(layer, _DROPOUTS):
            rate = layer.rate
        elif isinstance(layer, _RECURRENT):
            rate = max(layer.dropout, layer.recurrent_dropout)
        else:
            rate = 0
        if rate > 0:
            yield layer


@contextmanager
def _dropping(layers: list[Any]) -> Iterator[None]:
    """Switch dropout on while a model is called in inference mode.

    Keras tells the layers of a model one by one that it is inference, whatever they were built
    with; only the layers' own `call` comes after that.
    """

    def switched_on(call: Any) -> Any:
        def with_dropout(*args: Any, **kwargs: Any) -> Any:
            return call(*args, **{**kwargs, "training": True})

        return with_dropout

    try:
        for layer in layers:
            # Past Keras's own __setattr__, which is for what a layer keeps.
            object.__setattr__(layer, "call", switched_on(layer.call))
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("call", None)


@contextmanager
def _seeded(model: keras.Model, seed: int) -> Iterator[None]:
    """Set the random numbers of all layers, and set them back afterwards."""
    states = [one for one in model.variables if one.path.endswith("seed_generator_state")]
    before = [ops.convert_to_numpy(state) for state in states]
    random = np.random.default_rng(seed)
    try:
        for state in states:
            state.assign(random.integers(0, 2**31, state.shape).astype("uint32"))
        yield
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)
