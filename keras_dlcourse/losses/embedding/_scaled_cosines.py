"""What the losses of cosines over a temperature have in common."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_dlcourse._checks import positive_float
from keras_dlcourse.losses.embedding import _distances
from keras_dlcourse.losses.embedding._pairs import PairLoss, Pairs

_NEVER = -1e30  # its exponential is 0; unlike infinity it leaves gradients finite


class ScaledCosineLoss(PairLoss):
    """A loss of labels and of cosines divided by a temperature."""

    def __init__(self, temperature: float, gather: bool, **kwargs: Any) -> None:
        super().__init__(gather=gather, **kwargs)
        self.temperature = positive_float("temperature", temperature)

    def compared(self, embeddings: Any) -> Any:
        """Return embeddings as cosines see them: scaled to length 1."""
        return _distances.unit(embeddings)

    def _scaled(self, pairs: Pairs) -> Any:
        """Return the cosine of each anchor and other row, over the temperature, `(n, m)`."""
        return _distances.cosines(pairs.anchors, pairs.others) / self.temperature

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        return {**super().get_config(), "temperature": self.temperature}


def log_sum_exp(values: Any, where: Any) -> Any:
    """Return log(sum(exp(values))) over the places of each row that count, `(n, 1)`."""
    return ops.logsumexp(ops.where(where, values, _NEVER), axis=1, keepdims=True)


def any_of(pairs: Any) -> Any:
    """Return whether each row has such a pair, `(n, 1)`."""
    return ops.any(pairs, axis=1, keepdims=True)
