"""What looking at images in several ways said, won and cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_dlcourse._tables import text_table


@dataclass(frozen=True)
class AugmentedPrediction:
    """What `TestTimeAugmentation.predict` says. It prints as a sentence about the cost.

    Attributes:
        scores: `(n, classes)`.
        asked: `(n,)`, whether an image was looked at in more ways than one.
        calls: How often the network was run for an image, on average.
    """

    scores: np.ndarray
    asked: np.ndarray
    calls: float

    def __str__(self) -> str:
        return (
            f"{self.asked.sum():,} of {len(self.asked):,} images asked again "
            f"({self.asked.mean():.0%}), {self.calls:.2f} calls of the network an image"
        )


@dataclass(frozen=True)
class AugmentationGain:
    """What `TestTimeAugmentation.gain` measured. It prints as a table.

    Attributes:
        below: The confidence below which images were asked again: 0 for none, 1 for all.
        accuracies: The share that was right with each.
        asked: The share of images that was asked again.
        calls: Calls of the network an image.
        mended: How many images became right by asking again.
        spoiled: How many became wrong.
        images: How many there were.
    """

    below: tuple[float, ...]
    accuracies: tuple[float, ...]
    asked: tuple[float, ...]
    calls: tuple[float, ...]
    mended: tuple[int, ...]
    spoiled: tuple[int, ...]
    images: int

    def __str__(self) -> str:
        columns = ["asked again", "right", "mended", "spoiled", "images asked", "calls an image"]
        names = {0.0: "none", 1.0: "all"}
        rows = [
            [
                names.get(below, f"below {below:g}"),
                f"{accuracy:.2%}",
                mended,
                spoiled,
                f"{asked:.0%}",
                f"{calls:.2f}",
            ]
            for below, accuracy, mended, spoiled, asked, calls in zip(
                self.below,
                self.accuracies,
                self.mended,
                self.spoiled,
                self.asked,
                self.calls,
                strict=True,
            )
        ]
        return text_table(columns, rows, title=f"{self.images:,} images")
