"""Weight decay with a gamma that means the same for any number of examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras

from keras_dlcourse._checks import check_integer, check_number, check_one_of

KINDS = ("l2", "l1", "decoupled")
_NORMS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
)


def decay_weights(
    model: keras.Model,
    gamma: float,
    examples: int,
    kind: str = "l2",
    decays: str | Callable[[Any], bool] = "kernels",
) -> list[str]:
    """Add weight decay to a compiled model, with a gamma relative to a sum over examples.

    The course minimizes `sum of losses + gamma * sum of squared weights`. Keras takes the mean of
    the losses, so the penalty is divided by the number of examples, too: gamma means the same on
    a part of the data and on all of it.

    - `"l2"`: the penalty is `gamma / examples * sum(w**2)`, as in ridge regression;
    - `"l1"`: the penalty is `gamma / examples * sum(abs(w))`, as in the lasso;
    - `"decoupled"`: no penalty; each optimizer step shrinks each weight by the fraction
      `2 * gamma / examples` times the learning rate, as in AdamW. With plain gradient descent this
      is equivalent to L2.

    Args:
        model: A compiled model that has not been trained yet.
        gamma: 0 or more; 0 has no effect.
        examples: Number of examples that the model will be trained on.
        kind: One of the kinds above.
        decays: The variables that decay: `"kernels"` for all but biases and the parameters of
            normalization layers, `"all"`, or a function that returns whether a variable decays.

    Returns:
        Paths of the variables that decay.

    Raises:
        TypeError: If `model`, `decays` or `examples` has the wrong type.
        ValueError: If an argument is out of range, no variable is left to decay, or the model
            already has weight decay.

    Example:
        >>> layers = [keras.Input((4,)), keras.layers.Dense(2, name="last")]
        >>> model = keras.Sequential(layers, name="mine")
        >>> model.compile("sgd", "mse")
        >>> decay_weights(model, gamma=0.5, examples=100)
        ['mine/last/kernel']

    Reference:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019,
        https://arxiv.org/abs/1711.05101
    """
    if not isinstance(model, keras.Model) or not model.compiled:
        raise TypeError(f"model must be a compiled Keras model. Received: {model!r}")
    decay = Decay(kind, decays)
    return decay.put_on(model, gamma, check_integer("examples", examples))


@dataclass(frozen=True)
class Decay:
    """A kind of weight decay.

    Attributes:
        kind: One of `KINDS`.
        decays: As in `decay_weights`.
    """

    kind: str = "l2"
    decays: str | Callable[[Any], bool] = "kernels"

    def __post_init__(self) -> None:
        check_one_of("kind", self.kind, KINDS)
        if not callable(self.decays):
            check_one_of("decays", self.decays, ("kernels", "all"))

    def put_on(self, model: keras.Model, gamma: float, examples: int) -> list[str]:
        """Add the decay, from the next fit on; return the paths of the variables that decay."""
        check_gamma(gamma)
        chosen = self.variables(model)
        if self.kind == "decoupled":
            _decouple(model, chosen, 2 * gamma / examples)
        else:
            _check_no_other(model, chosen)
            make = keras.regularizers.L2 if self.kind == "l2" else keras.regularizers.L1
            for variable in chosen:
                variable.regularizer = make(gamma / examples) if gamma else None
        return [variable.path for variable in chosen]

    def take_off(self, model: keras.Model) -> None:
        """Remove the penalty, so that evaluations after a fit do not include it."""
        if self.kind != "decoupled":
            for variable in self.variables(model):
                variable.regularizer = None
            model.train_function = model.test_function = None  # compiled with the penalty

    def variables(self, model: keras.Model) -> list[Any]:
        """Return the trainable variables that decay."""
        if not model.built:
            raise ValueError(
                "model must be built, so that it has weights. Give it an input shape, e.g. "
                "keras.Input as its first layer."
            )
        if callable(self.decays):
            chosen = [one for one in model.trainable_variables if self.decays(one)]
        elif self.decays == "all":
            chosen = list(model.trainable_variables)
        else:
            others = {id(one) for one in _biases_and_norms(model)}
            chosen = [one for one in model.trainable_variables if id(one) not in others]
        if not chosen:
            raise ValueError(
                f"decays={self.decays!r} leaves no variable of {model.name!r} to decay."
            )
        return chosen


def check_gamma(gamma: Any) -> float:
    """Return `gamma` as a float, or raise an error if it is out of range."""
    return check_number("gamma", gamma, least=0)


def _biases_and_norms(model: keras.Model) -> Iterator[Any]:
    for layer in model._flatten_layers():
        if isinstance(layer, _NORMS):
            yield from layer.trainable_variables
    yield from (one for one in model.trainable_variables if "bias" in one.path.rsplit("/", 1)[-1])


def _check_no_other(model: keras.Model, variables: list[Any]) -> None:
    """Raise ValueError if something else already decays the weights."""
    owned = [variable.path for variable in variables if variable.regularizer is not None]
    if owned:
        raise ValueError(
            f"the model already has a regularizer on {owned[0]}. Remove it, so that only gamma "
            "determines the decay."
        )
    rate = getattr(_unwrap(model.optimizer), "weight_decay", None)
    if rate:
        raise ValueError(
            f"the optimizer already has weight_decay={rate}. Set it to 0 or None, or use "
            "kind='decoupled', which sets it."
        )


def _decouple(model: keras.Model, variables: list[Any], rate: float) -> None:
    optimizer = _unwrap(model.optimizer)
    if optimizer.built:
        raise ValueError("the model has already been trained. Set the decay before training.")
    decaying = {id(variable) for variable in variables}
    optimizer.weight_decay = rate
    optimizer.exclude_from_weight_decay(
        var_list=[one for one in model.trainable_variables if id(one) not in decaying]
    )


def _unwrap(optimizer: Any) -> Any:
    """Return the inner optimizer of the one that scales the loss in mixed precision."""
    return getattr(optimizer, "inner_optimizer", optimizer)
