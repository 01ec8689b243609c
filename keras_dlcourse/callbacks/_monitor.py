"""The quantity that a callback monitors: its value in the logs, and its better direction."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.losses.embedding.margin_softmax import MarginSoftmax
from keras_dlcourse.losses.embedding.proxy_anchor import ProxyAnchor

Direction = Literal["min", "max"]

_KERAS_DIRECTIONS: dict[str, Direction] = {"up": "max", "down": "min"}
_CHOSEN: dict[str, Direction] = {"min": "min", "max": "max"}  # "auto" chooses neither


class Monitor:
    """A quantity in the logs of `fit`.

    Args:
        name: Its name in the logs, e.g. `"val_loss"`.
        mode: `"min"`, `"max"` or `"auto"`.
        min_delta: A change must be larger than this to count as an improvement.
        owner: Name of the callback, used in messages.
    """

    def __init__(self, name: str, mode: str, min_delta: float, owner: str) -> None:
        if not isinstance(name, str) or not name:
            error = ValueError if isinstance(name, str) else TypeError
            raise error(
                f"monitor must be a name in the logs, such as 'val_loss'. Received: {name!r}"
            )
        check_one_of("mode", mode, ("auto", "min", "max"))
        self.name = name
        self.min_delta = min_delta
        self.owner = owner
        self.chosen = _CHOSEN.get(mode)
        self.start()

    def start(self) -> None:
        """Reset what was learned in an earlier `fit`."""
        self.direction = self.chosen
        self.seen = False

    def resolve(self, model: Any, required: bool) -> None:
        """Infer the better direction, if it is not known yet."""
        self.direction = self.direction or infer_direction(model, self.name)
        if self.direction is None and required:
            raise ValueError(
                f"{self.owner} cannot tell whether higher or lower {self.name!r} is better from "
                "the model's loss and metrics. Pass mode='max' or mode='min'."
            )

    def is_better(self, value: float, reference: float | None) -> bool:
        """Return whether `value` improves on `reference`; any value improves on None."""
        if reference is None:
            return True
        if self.direction == "min":
            return value < reference - self.min_delta
        return value > reference + self.min_delta

    def read(self, logs: Mapping[str, Any], validation_comes: Callable[[], bool]) -> float | None:
        """Read the quantity from the logs of an epoch.

        Args:
            logs: The logs.
            validation_comes: Returns whether `fit` will validate in a later epoch
                (`validation_freq`).

        Returns:
            The value, or None in an epoch that has no validation.

        Raises:
            ValueError: If the quantity is missing.
        """
        value = logs.get(self.name)
        if value is not None:
            self.seen = True
            return float(value)
        unvalidated = self.name.startswith("val_") and not any(
            name.startswith("val_") for name in logs
        )
        if unvalidated and (self.seen or validation_comes()):
            return None
        raise ValueError(self._describe_missing(list(logs), unvalidated))

    def _describe_missing(self, names: list[str], unvalidated: bool) -> str:
        message = (
            f"{self.owner} monitors {self.name!r}, which is not in the logs. "
            f"The logs have: {', '.join(names) or 'nothing'}. "
        )
        if unvalidated:
            return message + (
                "There is no validation: pass validation_data (or validation_split) to fit, or "
                "monitor a training quantity, such as 'loss'."
            )
        similar = difflib.get_close_matches(self.name, names, n=1)
        if similar:
            return message + f"Did you mean monitor={similar[0]!r}?"
        return message + "Choose one of them, or add the metric in compile."


def infer_direction(model: Any, monitor: str) -> Direction | None:
    """Infer from the loss or the model's metrics whether higher or lower is better.

    A lower loss is better. For a metric, its Keras class decides: the metric is found by its name
    in the logs, which is `name`, or `output_name` for a model with several outputs. Nothing is
    guessed from how a name sounds.

    Args:
        model: A compiled Keras model.
        monitor: The name in the logs, e.g. `"val_loss"` or `"val_accuracy"`.

    Returns:
        `"min"`, `"max"`, or None if it cannot be inferred (yet: Keras builds the metrics during
        the first epoch).
    """
    name = monitor.removeprefix("val_")
    directions = {
        _KERAS_DIRECTIONS.get(getattr(metric, "_direction", None) or "")
        for metric in _metrics(model)
        if name == metric.name or name.endswith(f"_{metric.name}")
    }
    if len(directions) == 1 and None not in directions:
        return directions.pop()
    if directions <= {None} and (name == "loss" or name.endswith("_loss")):
        return "min"
    return None


def _metrics(holder: Any) -> Iterator[Any]:
    """Yield the metrics of a model, including those that Keras nests in other metrics."""
    for metric in getattr(holder, "metrics", ()):
        inner = getattr(metric, "metrics", None)
        if inner is not None:
            yield from _metrics(metric)
        elif getattr(metric, "name", None) not in (None, "loss"):
            yield metric


def classes_of_cross_entropy(model: Any) -> int | None:
    """Return the number of classes of a single-output cross-entropy, or None for other losses."""
    name = _loss_name(model)
    if "crossentropy" not in name or len(_outputs(model)) != 1:
        return None
    return 2 if "binary" in name else int(model.outputs[0].shape[-1])


def classes_of_labels(model: Any) -> int | None:
    """Return the number of classes if the single-output loss takes class numbers, else None."""
    loss, name = getattr(model, "loss", None), _loss_name(model)
    takes_numbers = isinstance(loss, MarginSoftmax | ProxyAnchor) or "sparsecategorical" in name
    return int(model.outputs[0].shape[-1]) if takes_numbers and len(_outputs(model)) == 1 else None


def describe_wrong_labels(model: Any, y: Any) -> str | None:
    """Describe labels that are not valid class numbers for the loss; None if all are valid."""
    classes = classes_of_labels(model)
    y = np.asarray(y)
    if classes is None or y.dtype.kind not in "biuf":
        return None
    ignored = getattr(model.loss, "ignore_class", None)
    wrong = y[((y < 0) | (y >= classes)) & (y != ignored)]
    if not wrong.size:
        return None
    return (
        f"the labels: {wrong.size} of {y.size} are not class numbers from 0 to {classes - 1}, the "
        f"first is {wrong.flat[0]:g}"
    )


def _loss_name(model: Any) -> str:
    loss = getattr(model, "loss", None)
    name = str(getattr(loss, "name", getattr(loss, "__name__", loss)))
    return name.lower().replace("_", "")


def _outputs(model: Any) -> Any:
    return getattr(model, "outputs", None) or ()
