"""Base class of the losses of cosines divided by a temperature."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_dlcourse._checks import check_number
from keras_dlcourse.losses.embedding import _distances
from keras_dlcourse.losses.embedding._pairs import PairLoss, Pairs

_NEVER = -1e30  # its exponential is 0; unlike infinity, it keeps gradients finite


class ScaledCosineLoss(PairLoss):
    """A loss of labels and of cosines divided by a temperature."""

    def __init__(self, temperature: float, gather: bool, **kwargs: Any) -> None:
        super().__init__(gather=gather, **kwargs)
        self.temperature = check_number("temperature", temperature, above=0)

    def prepare_embeddings(self, embeddings: Any) -> Any:
        """Return embeddings as the cosines use them: scaled to length 1."""
        return _distances.scale_to_unit(embeddings)

    def _scale_cosines(self, pairs: Pairs) -> Any:
        """Return the cosines of anchors and other rows, divided by the temperature, `(n, m)`."""
        return _distances.cosines(pairs.anchors, pairs.others) / self.temperature

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        return {**super().get_config(), "temperature": self.temperature}


def log_sum_exp(values: Any, where: Any) -> Any:
    """Return log(sum(exp(values))) over the entries of each row selected by `where`, `(n, 1)`."""
    return ops.logsumexp(ops.where(where, values, _NEVER), axis=1, keepdims=True)


def has_any(pairs: Any) -> Any:
    """Return whether each row has at least one of the pairs, `(n, 1)`."""
    return ops.any(pairs, axis=1, keepdims=True)
