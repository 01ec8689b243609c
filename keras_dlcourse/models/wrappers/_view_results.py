"""Results of test-time augmentation: predictions, benefit and cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_dlcourse._tables import text_table


@dataclass(frozen=True)
class AugmentedPrediction:
    """Result of `TestTimeAugmentation.predict`. It prints as a sentence about the cost.

    Attributes:
        scores: `(n, classes)`.
        asked: `(n,)`, whether more than one view of an image was used.
        calls: Average number of model calls per image.
    """

    scores: np.ndarray
    asked: np.ndarray
    calls: float

    def __str__(self) -> str:
        return (
            f"{self.asked.sum():,} of {len(self.asked):,} images rerun "
            f"({self.asked.mean():.0%}), {self.calls:.2f} model calls per image"
        )


@dataclass(frozen=True)
class AugmentationGain:
    """Result of `TestTimeAugmentation.gain`. It prints as a table.

    Attributes:
        below: Confidence thresholds below which images were rerun: 0 for none, 1 for all.
        accuracies: Accuracy at each threshold.
        asked: Fraction of images that were rerun.
        calls: Model calls per image.
        mended: Number of images that became correct by rerunning.
        spoiled: Number of images that became wrong.
        images: Number of images.
    """

    below: tuple[float, ...]
    accuracies: tuple[float, ...]
    asked: tuple[float, ...]
    calls: tuple[float, ...]
    mended: tuple[int, ...]
    spoiled: tuple[int, ...]
    images: int

    def __str__(self) -> str:
        columns = ["rerun", "accuracy", "mended", "spoiled", "images rerun", "calls per image"]
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
