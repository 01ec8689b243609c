"""Noisy, covered or masked variants of each image, computed in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse._progress import track
from keras_dlcourse.explain.engine.inputs import check_inputs
from keras_dlcourse.explain.engine.probe import Found, Probe

# Takes the index of an image, the image, and the indices of variants; returns those variants.
Maker = Callable[[int, np.ndarray, range], np.ndarray]


class Variants:
    """The images of one call, and a probe's results for variants of them.

    Memory is bounded by the probe's batch size, regardless of the number of variants.

    Args:
        probe: The probe to compute with.
        images: As for the probe.
        classes: As for the probe. None fixes the class with the highest score for the unmodified
            image, so that all of its variants use the same class.
    """

    def __init__(self, probe: Probe, images: Any, classes: ArrayLike | None) -> None:
        self.probe = probe
        self.inputs = check_inputs(probe.network.model, images)
        self.plain = probe.forward(images, classes)
        self._classes = classes
        if classes is None and self.plain.scores is not None:
            self._classes = self.plain.scores.argmax(-1)
        if self._classes is not None and np.ndim(self._classes) == 0:
            self._classes = np.repeat(self._classes, len(self.images))

    @property
    def images(self) -> np.ndarray:
        """The images, `(n, height, width, channels)`."""
        return self.inputs[self.probe.image_input]

    def compute(
        self, count: int, make: Maker, description: str, gradients: bool = False
    ) -> Iterator[tuple[int, range, Found]]:
        """Compute `count` variants of each image.

        Args:
            count: Number of variants per image.
            make: Function that makes some of them.
            description: Text for the progress bar.
            gradients: Whether to compute gradients.

        Yields:
            The index of the image, the indices of the variants, and the results for those.
        """
        size = self.probe.batch_size
        parts = [
            (index, range(start, min(start + size, count)))
            for index in range(len(self.images))
            for start in range(0, count, size)
        ]
        compute = self.probe if gradients else self.probe.forward
        for index, numbers in track(iter(parts), len(parts), description):
            variants = [np.repeat(a[index : index + 1], len(numbers), 0) for a in self.inputs]
            variants[self.probe.image_input] = make(index, self.images[index], numbers)
            classes = None
            if self._classes is not None:
                classes = np.repeat(np.asarray(self._classes)[index], len(numbers))
            given = variants if len(variants) > 1 else variants[0]
            yield index, numbers, compute(given, classes)
