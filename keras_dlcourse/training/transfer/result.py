"""What a transfer has made, and how it went."""

from __future__ import annotations

from dataclasses import dataclass, field

import keras

History = dict[str, list[float]]


@dataclass(frozen=True)
class Transfer:
    """What `transfer` made. It prints as a few sentences.

    Attributes:
        model: From images, as the training data gave them, to probabilities `(batch, classes)`.
        head_history: Of the first stage: a list for each measure, one number an epoch.
        fine_history: Of the second stage; empty if there was none.
        trained: Names of the layers of the base that the second stage trained.
        frozen: Names of its layers with weights that kept them.
        began: In words, from where on the base was trained.
        seconds: What each stage took.
        cached: Whether the first stage read vectors in place of running the base.
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
        how = " on features read from the disk" if self.cached else ""
        lines = [f"head{how}: {_said(self.head_history, self.seconds[0])}"]
        if self.fine_history:
            share = f"{len(self.trained)} of {len(self.trained) + len(self.frozen)} layers"
            lines.append(f"{self.began}, {share}: {_said(self.fine_history, self.seconds[1])}")
        else:
            lines.append("the base is as it was")
        return "\n".join(lines)


def _said(history: History, seconds: float) -> str:
    """Say how a stage ended."""
    measures = ", ".join(
        f"{name.replace('val_', 'validation ')} {values[-1]:.3g}"
        for name, values in history.items()
    )
    epochs = len(history["loss"])
    return f"{epochs} epoch{'s' if epochs > 1 else ''} in {seconds} s, {measures}"
