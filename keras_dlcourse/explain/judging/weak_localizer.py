"""Labels and boxes from a classifier: localization learned from labels alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse.explain.engine.scaling import resize_and_scale
from keras_dlcourse.explain.judging.boxes import boxes_from_map
from keras_dlcourse.explain.methods import MapFunction, mapper_for
from keras_dlcourse.layers import describe


class Location(NamedTuple):
    """A class and its location in an image.

    Attributes:
        index: Index of the class.
        label: Its name, or the index as a string if no names are known.
        score: Its probability, 0 to 1.
        box: (left, top, right, bottom) in pixels, right and bottom exclusive; (0, 0, 0, 0) if the
            map is 0 everywhere.
    """

    index: int  # type: ignore[assignment]  # instead of tuple's method
    label: str
    score: float
    box: tuple[int, int, int, int]


class WeakLocalizer:
    """Localizes objects in images; created by `weak_localizer`.

    Args:
        model: As for `weak_localizer`.
        method: As for `weak_localizer`.
        threshold: As for `weak_localizer`.
        class_names: As for `weak_localizer`.
        batch_size: As for `weak_localizer`.
        **options: As for `weak_localizer`.
    """

    def __init__(
        self,
        model: keras.Model,
        method: str | MapFunction,
        threshold: float,
        class_names: Sequence[str] | None,
        batch_size: int,
        **options: Any,
    ) -> None:
        boxes_from_map(np.ones((1, 1)), threshold)  # reject a bad threshold before the slow part
        self.threshold = threshold
        self._mapper = mapper_for(model, method, batch_size, **options)
        described = describe(model)
        names = class_names or (described and described.class_names)
        self.labels = tuple(map(str, names or range(self._mapper.classes)))
        if len(self.labels) != self._mapper.classes:
            raise ValueError(
                f"class_names must hold a name for each of {self._mapper.classes} classes. "
                f"Received: {len(self.labels)}."
            )

    def __call__(self, images: Any, classes: ArrayLike | None = None) -> list[Location]:
        """Localize one object in each image.

        Args:
            images: `(n, height, width, channels)`, prepared as for `model.predict`.
            classes: Class to look for: one for all images, or one per image `(n,)`. None uses the
                class with the highest score.

        Returns:
            A `Location` for each image.

        Raises:
            ValueError: If images or classes do not match the model.
        """
        scores = self._mapper.scores(images)
        chosen = scores.argmax(-1) if classes is None else np.asarray(classes)
        chosen = np.repeat(chosen, len(scores)) if chosen.ndim == 0 else chosen
        maps, _ = self._mapper.maps(images, chosen)
        shares = self._mapper.probabilities(scores)
        boxes = boxes_from_map(
            resize_and_scale(maps, self._mapper.image_size(images)), self.threshold
        )
        return [
            Location(int(k), self.labels[k], float(row[k]), tuple(map(int, box)))  # type: ignore[arg-type]
            for k, row, box in zip(chosen, shares, boxes, strict=True)
        ]


def weak_localizer(
    model: keras.Model,
    method: str | MapFunction = "cam",
    threshold: float = 0.15,
    class_names: Sequence[str] | None = None,
    batch_size: int = 32,
    **options: Any,
) -> WeakLocalizer:
    """Create a localizer from a classifier that was trained with labels only.

    The box surrounds the largest connected part of the class's map above a fraction of its maximum.
    Feature maps that are not too coarse improve it, as does global average pooling, which makes the
    network look at the whole object. On a device, `ImageClassifier.classify(image, with_map=True)`
    and `edge.box_from_map` do the same in NumPy.

    Args:
        model: A trained classifier that the method accepts.
        method: Method that computes the maps: a name in `kd.explain.METHODS`, or a function like
            those. `"cam"` needs global pooling and one linear layer; `"grad_cam"` accepts any
            network.
        threshold: Fraction of the map's maximum, above 0 and at most 1.
        class_names: Names of the classes; None uses those recorded in the model, else indices.
        batch_size: Number of images per batch.
        **options: Further arguments for the method.

    Returns:
        A function of images and, optionally, classes that returns a `Location` for each image.

    Raises:
        TypeError: As raised by the method.
        ValueError: As raised by the method; also if `threshold` or `class_names` is invalid.

    Example:
        >>> model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=2)
        >>> localize = weak_localizer(model, class_names=["cat", "dog"])
        >>> found = localize(np.random.default_rng(0).random((3, 64, 64, 3)))
        >>> len(found), found[0].label in ("cat", "dog"), len(found[0].box)
        (3, True, 4)

    Reference:
        Zhou et al. (2016), Learning Deep Features for Discriminative Localization,
        https://arxiv.org/abs/1512.04150
    """
    return WeakLocalizer(model, method, threshold, class_names, batch_size, **options)
