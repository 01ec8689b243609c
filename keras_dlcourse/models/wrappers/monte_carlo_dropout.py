"""Monte Carlo dropout: use a network trained with dropout as an ensemble."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import check_integer

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
    """Result of `MonteCarloDropout.predict`.

    Attributes:
        mean: Mean over the sampled networks, in the shape of the model's output.
        spread: Standard deviation over the sampled networks, in the same shape.
    """

    mean: np.ndarray
    spread: np.ndarray


class MonteCarloDropout:
    """Predict many times with dropout enabled, and return the mean and spread of the predictions.

    Each training step trains a random subnetwork; the output of `predict`, with scaled weights, is
    an approximation of the mean over all subnetworks. Here, the mean is computed over `samples`
    subnetworks, drawn anew for each input, in one call of the network on a batch `samples` times as
    large. Only dropout is enabled: batch normalization, augmentation and noise behave as in
    inference, and no statistics are updated.

    Args:
        model: Any built Keras model with one output and dropout, which may be that of recurrent
            layers.
        samples: Number of dropout masks per input, at least 2.
        seed: Seed of the masks; the same seed gives the same result. The random state of the model
            is restored afterwards.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If `model` has no dropout, or `samples` or `seed` is out of range.

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
        self.model = model
        self.samples = check_integer("samples", samples, least=2)
        self.seed = check_integer("seed", seed, least=0)
        self._layers = list(_find_dropout(model))
        if not self._layers:
            raise ValueError(
                f"Model {model.name!r} has no dropout (with a rate above 0), so all samples would "
                "be the same. To combine separately trained models, use kd.models.ensemble."
            )
        self._sampler = _Sampler(model, self._layers, self.samples)

    def predict(self, x: Any, batch_size: int = 32) -> MonteCarloPrediction:
        """Return the mean and spread for each input.

        Args:
            x: Inputs, as for `Model.predict`.
            batch_size: Number of inputs per batch; the network receives `samples` times as many.

        Returns:
            Mean and standard deviation over the samples, float arrays shaped like the model's
            output.
        """
        with _seed_generators(self.model, self.seed):
            mean, spread = self._sampler.predict(x, batch_size=batch_size, verbose=0)
        return MonteCarloPrediction(mean, spread)


@keras.saving.register_keras_serializable(package="keras_dlcourse", name="_Sampler")
class _Sampler(keras.Model):
    """Mean and standard deviation over masks, as a model, so Keras batches it and compiles once."""

    def __init__(self, model: keras.Model, layers: list[Any], samples: int) -> None:
        super().__init__(name=f"{model.name}_sampled")
        self.model, self.samples = model, samples
        self._on = layers

    def call(self, inputs: Any, training: bool = False) -> tuple[Any, Any]:
        """Return the mean and standard deviation for a batch."""
        many = keras.tree.map_structure(lambda one: ops.repeat(one, self.samples, axis=0), inputs)
        with _enable_dropout(self._on):
            outputs = self.model(many, training=False)
        if not ops.is_tensor(outputs):
            raise ValueError("model must have one output. Received: a model with several outputs.")
        outputs = ops.cast(outputs, "float32")
        shape = (-1, self.samples, *outputs.shape[1:])
        apart = ops.reshape(outputs, shape)
        return ops.mean(apart, axis=1), ops.std(apart, axis=1)


def _find_dropout(model: keras.Model) -> Iterator[Any]:
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
def _enable_dropout(layers: list[Any]) -> Iterator[None]:
    """Enable dropout while a model is called in inference mode.

    Keras passes `training=False` to each layer of a model individually, so only the layers' own
    `call` can override it.
    """

    def switch_on(call: Any) -> Any:
        def with_dropout(*args: Any, **kwargs: Any) -> Any:
            return call(*args, **{**kwargs, "training": True})

        return with_dropout

    try:
        for layer in layers:
            # Bypass Keras's own __setattr__, which tracks attributes.
            object.__setattr__(layer, "call", switch_on(layer.call))
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("call", None)


@contextmanager
def _seed_generators(model: keras.Model, seed: int) -> Iterator[None]:
    """Seed the random generators of all layers, and restore their states afterwards."""
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
