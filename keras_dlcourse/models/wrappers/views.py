"""Test-time augmentation: average a classifier's predictions over several views of an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import check_integer, check_number, check_one_of
from keras_dlcourse.data.multilabel import class_numbers
from keras_dlcourse.data.stream import stream_with_labels
from keras_dlcourse.graph.logits import find_logits
from keras_dlcourse.graph.running import Network
from keras_dlcourse.layers.augmentation.image_views import ImageViews, View, check_views
from keras_dlcourse.models.wrappers._view_results import AugmentationGain, AugmentedPrediction

MEANS = ("arithmetic", "geometric")
_TINY = 1e-30
_NEAR_ONE = 1e-7  # gap between the largest float32 sigmoid and 1; scores are clipped to it at 0 too


class TestTimeAugmentation:
    """Classify several views of an image, and average the predictions.

    Training with augmentation does not make a network fully invariant: it makes different errors
    on an image and on its mirror image, and the mean has fewer errors. Each view costs one run of
    the network, so `predict(data, below=0.8)` reruns only images whose first prediction has a lower
    confidence, and `gain` measures the benefit and the cost.

    Choose transforms that preserve the class: a mirrored shoe is a shoe, but a mirrored letter is
    not a letter.

    Args:
        model: A functional or Sequential classifier of images of a fixed size, with one output that
            ends in softmax or sigmoid. It is shared, not copied.
        transforms: Two or more views, in the form that `kd.layers.ImageViews` accepts.
        mean: `"arithmetic"` averages the scores. `"geometric"` multiplies them and rescales the
            result to a sum of 1, so a view that confidently rules out a class counts more.

    Attributes:
        augmented: A functional model from an image to the mean. All views go through the network in
            one call, stacked along the batch. `kd.export.to_tflite(tta.augmented, ...)` writes the
            views and the network to one file.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If `model` is not such a classifier, or an argument is out of range.

    Example:
        >>> inputs = keras.Input((4, 4, 1))
        >>> x = keras.layers.Flatten()(inputs)
        >>> model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))
        >>> tta = TestTimeAugmentation(model, ["identity", "flip", ("shift", 1, 0)])
        >>> images = np.random.default_rng(0).normal(size=(2, 4, 4, 1))
        >>> print(tta.predict(images))
        2 of 2 images rerun (100%), 3.00 model calls per image

    Reference:
        Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
        Networks", NIPS 2012, section 4.1 (ten patches); Shanmugam et al., "Better Aggregation in
        Test-Time Augmentation", ICCV 2021, https://arxiv.org/abs/2011.11156
    """

    __test__ = False  # because of its name, pytest would collect it as a test

    def __init__(
        self,
        model: keras.Model,
        transforms: Sequence[View] = ("identity", "flip"),
        mean: str = "arithmetic",
    ) -> None:
        self.mean = check_one_of("mean", mean, MEANS)
        self.transforms = check_views(transforms)
        if len(self.transforms) < 2:
            raise ValueError(f"transforms must be at least two views. Received: {transforms!r}")
        self._is_sigmoid = _is_sigmoid(model)
        self.model = model
        self.augmented = self._join_views(self.transforms)
        # The first prediction is for the image itself, so that view is not run again.
        others = [view for view in self.transforms if view != ("identity",)]
        self._others = len(others)
        self._rest = self._join_views(others)

    def predict(
        self, data: Any, below: float | None = None, batch_size: int = 32
    ) -> AugmentedPrediction:
        """Return the scores of each image.

        Args:
            data: Images, in any form that `kd.data.take` accepts; labels are ignored.
            below: Confidence threshold from 0 to 1. Only images whose first prediction has a lower
                confidence are rerun. The confidence of a softmax is its highest score; that of
                sigmoids is the lowest confidence of any of them. None runs all views of all images
                at once.
            batch_size: Number of images per batch; the network receives all views of each.

        Returns:
            An `AugmentedPrediction`.

        Raises:
            TypeError: If `data` has an unsupported type.
            ValueError: If there are no images, or `below` is out of range.
        """
        batches = (inputs for inputs, _, _ in stream_with_labels(data, batch_size))
        if below is None:
            scores = np.concatenate([_run(self.augmented, inputs) for inputs in batches])
            return AugmentedPrediction(scores, np.ones(len(scores), bool), len(self.transforms))
        below = _check_below(below)
        first: list[np.ndarray] = []
        rest = [
            _run(self._rest, unsure)
            for unsure in _rebatch(self._find_unsure(batches, below, first), batch_size)
        ]
        scores = np.concatenate(first)
        asked = self._confidence(scores) < below
        if rest:
            scores[asked] = self._combine(scores[asked], np.concatenate(rest))
        return AugmentedPrediction(scores, asked, 1 + self._others * float(asked.mean()))

    def gain(
        self, data: Any, below: Sequence[float] = (0.5, 0.8, 0.95), batch_size: int = 32
    ) -> AugmentationGain:
        """Measure the benefit and cost of rerunning images.

        Args:
            data: Images and labels, in any form that `kd.data.take` accepts. Labels are class
                indices, one-hot, or 0 and 1 for each sigmoid. Do not use training data.
            below: Confidence thresholds below which images are rerun, in addition to none and all.
            batch_size: As for `predict`.

        Returns:
            An `AugmentationGain`, from no images rerun to all.

        Raises:
            TypeError: If `data` has an unsupported type.
            ValueError: If there are no labels, they do not fit, or `below` is out of range.
        """
        limits = sorted({0.0, 1.0, *map(_check_below, below)})
        first, rest, labels = [], [], []
        for inputs, _, known in stream_with_labels(data, batch_size):
            if known is None:
                raise ValueError("data must have labels, which are needed to measure accuracy.")
            first.append(_run(self.model, inputs))
            rest.append(_run(self._rest, inputs))
            labels.append(known)
        alone, y = np.concatenate(first), np.concatenate(labels)
        joined = self._combine(alone, np.concatenate(rest))
        confidence = self._confidence(alone)
        asked = [confidence < limit if limit < 1 else np.ones(len(y), bool) for limit in limits]
        before, after = self._is_right(alone, y), self._is_right(joined, y)
        chosen = [np.where(some, after, before) for some in asked]
        return AugmentationGain(
            below=tuple(limits),
            accuracies=tuple(float(right.mean()) for right in chosen),
            asked=tuple(float(some.mean()) for some in asked),
            calls=tuple(1 + self._others * float(some.mean()) for some in asked),
            mended=tuple(int((right & ~before).sum()) for right in chosen),
            spoiled=tuple(int((before & ~right).sum()) for right in chosen),
            images=len(y),
        )

    def _join_views(self, views: Sequence[View]) -> keras.Model:
        given = self.model.inputs[0]
        inputs = keras.Input(batch_shape=given.shape, dtype=given.dtype, name="image")
        many = ops.reshape(ImageViews(views, name="views")(inputs), (-1, *given.shape[1:]))
        scores = self.model(many)
        apart = ops.reshape(scores, (-1, len(views), scores.shape[-1]))
        name = f"{self.model.name}_augmented"
        return keras.Model(inputs, self._mean(apart), name=name)

    def _mean(self, scores: Any) -> Any:
        """Return the mean over axis 1."""
        if self.mean == "arithmetic":
            return ops.mean(scores, axis=1)
        if not self._is_sigmoid:
            return ops.softmax(ops.mean(ops.log(ops.maximum(scores, _TINY)), axis=1))
        yes, no = (ops.log(ops.maximum(one, _NEAR_ONE)) for one in (scores, 1 - scores))
        return ops.sigmoid(ops.mean(yes - no, axis=1))

    def _combine(self, first: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """Combine the first prediction with the mean of the others."""
        if ("identity",) not in self.transforms:
            return rest
        if self.mean == "arithmetic":
            return (first + self._others * rest) / (1 + self._others)
        # The factor that rescales a mean to a sum of 1 is the same for all classes, and cancels.
        parts = [first, *[rest] * self._others]
        stacked = ops.convert_to_tensor(np.stack(parts, axis=1))
        return np.asarray(ops.convert_to_numpy(self._mean(stacked)))

    def _find_unsure(
        self, batches: Iterator[np.ndarray], below: float, first: list[np.ndarray]
    ) -> Iterator[np.ndarray]:
        """Yield the images to rerun; append the first predictions of all images to `first`."""
        for inputs in batches:
            first.append(_run(self.model, inputs))
            yield inputs[self._confidence(first[-1]) < below]

    def _confidence(self, scores: np.ndarray) -> np.ndarray:
        if self._is_sigmoid:
            sure: np.ndarray = np.maximum(scores, 1 - scores).min(axis=1)
            return sure
        best: np.ndarray = scores.max(axis=1)
        return best

    def _is_right(self, scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        n, classes = scores.shape
        if self._is_sigmoid:
            if y.size != n * classes:
                raise ValueError(
                    f"labels must be 0 and 1, of shape ({n}, {classes}). Received: {y.shape}"
                )
            right: np.ndarray = ((scores > 0.5) == (y.reshape(n, classes) > 0.5)).all(axis=1)
            return right
        same: np.ndarray = scores.argmax(axis=1) == class_numbers(y, n, classes)
        return same


def _is_sigmoid(model: keras.Model) -> bool:
    """Whether a classifier ends in sigmoids rather than softmax; raise if in neither."""
    network = Network(model)
    shapes = [tuple(one.shape) for one in (*network.model.inputs, *network.model.outputs)]
    if [len(shape) for shape in shapes] != [4, 2]:
        raise ValueError(
            "model must have one input of images and one output (batch, classes). Received: "
            f"{', '.join(map(str, shapes))}"
        )
    found = find_logits(network)
    known = found.activation in ("softmax", "sigmoid") or found.layer is None  # e.g. an ensemble
    if not known:
        raise ValueError(
            "model must end in softmax or sigmoid, because probabilities are averaged. Received: "
            f"{found.activation!r}. Add keras.layers.Softmax() after logits."
        )
    return found.activation == "sigmoid"


def _check_below(below: Any) -> float:
    return check_number("below", below, least=0, most=1)


def _rebatch(parts: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Yield the rows of all parts, `size` at a time, so that full batches need no recompilation."""
    size = check_integer("batch_size", size)
    waiting: np.ndarray | None = None
    for part in parts:
        waiting = part if waiting is None else np.concatenate([waiting, part])
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]
    if waiting is not None and len(waiting):
        yield waiting


def _run(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict_on_batch(inputs), "float32")
