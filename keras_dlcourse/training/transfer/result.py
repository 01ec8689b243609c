"""The result of a transfer: the new model and its training history."""

from __future__ import annotations

from dataclasses import dataclass, field

import keras

History = dict[str, list[float]]


@dataclass(frozen=True)
class Transfer:
    """The result of `transfer`. It prints as a short summary.

    Attributes:
        model: Model from images, in the form of the training data, to probabilities
            `(batch, classes)`.
        head_history: History of the first stage: a list for each measure, one value per epoch.
        fine_history: History of the second stage; empty if there was none.
        trained: Names of the base layers trained in the second stage.
        frozen: Names of the base layers whose weights stayed frozen.
        began: Description of where in the base training starts.
        seconds: Duration of each stage.
        cached: Whether the first stage read cached vectors instead of running the base.
    """

    model: keras.Model
    head_history: History = field(repr=False)
    fine_history: History = field(repr=False)
    trained: tuple[str, ...]
    frozen: tuple[str, ...]
    began: str
    seconds: tuple[float, float]
    cached: bool

    def __str__(self) -> str:
        how = " on features read from disk" if self.cached else ""
        lines = [f"head{how}: {_summarize(self.head_history, self.seconds[0])}"]
        if self.fine_history:
            share = f"{len(self.trained)} of {len(self.trained) + len(self.frozen)} layers"
            lines.append(f"{self.began}, {share}: {_summarize(self.fine_history, self.seconds[1])}")
        else:
            lines.append("the base is unchanged")
        return "\n".join(lines)


def _summarize(history: History, seconds: float) -> str:
    """Summarize how a stage ended."""
    measures = ", ".join(
        f"{name.replace('val_', 'validation ')} {values[-1]:.3g}"
        for name, values in history.items()
    )
    epochs = len(history["loss"])
    return f"{epochs} epoch{'s' if epochs > 1 else ''} in {seconds} s, {measures}"
