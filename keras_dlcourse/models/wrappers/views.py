"""A classifier that looks at an image in several ways and takes the mean of its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import is_real, one_of
from keras_dlcourse.data import checks
from keras_dlcourse.data.multilabel import class_numbers
from keras_dlcourse.data.stream import stream_labelled
from keras_dlcourse.graph.logits import find_logits
from keras_dlcourse.graph.running import Network
from keras_dlcourse.layers.augmentation.image_views import ImageViews, View, checked_views
from keras_dlcourse.models.wrappers._view_results import AugmentationGain, AugmentedPrediction

MEANS = ("arithmetic", "geometric")
_TINY = 1e-30
_NEAR_ONE = 1e-7  # how near a float32 sigmoid comes to 1, so it is let no nearer to 0


class TestTimeAugmentation:
    """Ask a classifier about several views of an image, and take the mean of its answers.

    Training with augmentation does not make a network wholly indifferent to it: its errors on an
    image and on its mirror image are different ones, and the mean has fewer. It costs a run of the
    network for each view. So `predict(data, below=0.8)` asks again only where the first answer is
    less sure than that, and `gain` says what is won at what cost.

    Choose transforms that keep the class: a mirrored shoe is a shoe, a mirrored letter is none.

    Args:
        model: A functional or Sequential classifier of images of a fixed size, with one output that
            ends in softmax or sigmoid. It is shared, not copied.
        transforms: Two or more views, as `kd.layers.ImageViews` lists them.
        mean: `"arithmetic"`, of the scores; or `"geometric"`, of scores that are multiplied and
            brought back to a sum of 1, so that a view that is sure of a "no" counts more.

    Attributes:
        augmented: A functional model from an image to the mean. All views go through the network in
            one call, stacked along the batch; `kd.export.to_tflite(tta.augmented, ...)` writes
            both into one file.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If it is no such classifier, or an argument is out of its range.

    Example:
        >>> inputs = keras.Input((4, 4, 1))
        >>> x = keras.layers.Flatten()(inputs)
        >>> model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))
        >>> tta = TestTimeAugmentation(model, ["identity", "flip", ("shift", 1, 0)])
        >>> images = np.random.default_rng(0).normal(size=(2, 4, 4, 1))
        >>> print(tta.predict(images))
        2 of 2 images asked again (100%), 3.00 calls of the network an image

    Reference:
        Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
        Networks", NIPS 2012, section 4.1 (ten patches); Shanmugam et al., "Better Aggregation in
        Test-Time Augmentation", ICCV 2021, https://arxiv.org/abs/2011.11156
    """

    __test__ = False  # pytest takes it for a test by its name

    def __init__(
        self,
        model: keras.Model,
        transforms: Sequence[View] = ("identity", "flip"),
        mean: str = "arithmetic",
    ) -> None:
        self.mean = one_of("mean", mean, MEANS)
        self.transforms = checked_views(transforms)
        if len(self.transforms) < 2:
            raise ValueError(f"transforms must be two or more. Received: {transforms!r}")
        self._is_sigmoid = _is_sigmoid(model)
        self.model = model
        self.augmented = self._joined(self.transforms)
        # The first answer is that of the image itself: it need not be asked twice.
        others = [view for view in self.transforms if view != ("identity",)]
        self._others = len(others)
        self._rest = self._joined(others)

    def predict(
        self, data: Any, below: float | None = None, batch_size: int = 32
    ) -> AugmentedPrediction:
        """Return the scores of each image.

        Args:
            data: Images, as `kd.data.take` reads them; labels are left aside.
            below: From 0 to 1. Only images whose first answer is less confident are asked again;
                of a softmax, that is the highest score, of sigmoids the least of how sure each is.
                None asks all, and all views at once.
            batch_size: Images at a time; the network sees each as often as there are views.

        Returns:
            An `AugmentedPrediction`.

        Raises:
            TypeError: If `data` is nothing of that kind.
            ValueError: If there are no images, or `below` is out of its range.
        """
        batches = (inputs for inputs, _, _ in stream_labelled(data, batch_size))
        if below is None:
            scores = np.concatenate([_run(self.augmented, inputs) for inputs in batches])
            return AugmentedPrediction(scores, np.ones(len(scores), bool), len(self.transforms))
        below = _checked_below(below)
        first: list[np.ndarray] = []
        rest = [
            _run(self._rest, unsure)
            for unsure in _rebatched(self._unsure(batches, below, first), batch_size)
        ]
        scores = np.concatenate(first)
        asked = self._confidence(scores) < below
        if rest:
            scores[asked] = self._combined(scores[asked], np.concatenate(rest))
        return AugmentedPrediction(scores, asked, 1 + self._others * float(asked.mean()))

    def gain(
        self, data: Any, below: Sequence[float] = (0.5, 0.8, 0.95), batch_size: int = 32
    ) -> AugmentationGain:
        """Measure what is won by asking again, and what it costs.

        Args:
            data: Images and labels, as `kd.data.take` reads them: class numbers, one-hot, or 0 and
                1 for each sigmoid. Not those of the training.
            below: Confidences below which images are asked again, besides none and all.
            batch_size: As for `predict`.

        Returns:
            An `AugmentationGain`, from none asked again to all.

        Raises:
            TypeError: If `data` is nothing of that kind.
            ValueError: If there are no labels, they do not fit, or `below` is out of its range.
        """
        limits = sorted({0.0, 1.0, *map(_checked_below, below)})
        first, rest, labels = [], [], []
        for inputs, _, known in stream_labelled(data, batch_size):
            if known is None:
                raise ValueError("data must have labels: what is right is measured by them.")
            first.append(_run(self.model, inputs))
            rest.append(_run(self._rest, inputs))
            labels.append(known)
        alone, y = np.concatenate(first), np.concatenate(labels)
        joined = self._combined(alone, np.concatenate(rest))
        confidence = self._confidence(alone)
        asked = [confidence < limit if limit < 1 else np.ones(len(y), bool) for limit in limits]
        before, after = self._right(alone, y), self._right(joined, y)
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

    def _joined(self, views: Sequence[View]) -> keras.Model:
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

    def _combined(self, first: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """Return the mean of the first answer and the mean of the others."""
        if ("identity",) not in self.transforms:
            return rest
        if self.mean == "arithmetic":
            return (first + self._others * rest) / (1 + self._others)
        # What a mean was divided by to add up to 1 is the same for all classes, and cancels.
        parts = [first, *[rest] * self._others]
        stacked = ops.convert_to_tensor(np.stack(parts, axis=1))
        return np.asarray(ops.convert_to_numpy(self._mean(stacked)))

    def _unsure(
        self, batches: Iterator[np.ndarray], below: float, first: list[np.ndarray]
    ) -> Iterator[np.ndarray]:
        """Yield the images to ask again; put the first answers of all into a list."""
        for inputs in batches:
            first.append(_run(self.model, inputs))
            yield inputs[self._confidence(first[-1]) < below]

    def _confidence(self, scores: np.ndarray) -> np.ndarray:
        if self._is_sigmoid:
            sure: np.ndarray = np.maximum(scores, 1 - scores).min(axis=1)
            return sure
        best: np.ndarray = scores.max(axis=1)
        return best

    def _right(self, scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        n, classes = scores.shape
        if self._is_sigmoid:
            if y.size != n * classes:
                raise ValueError(f"labels must be ({n}, {classes}) of 0 and 1. Received: {y.shape}")
            right: np.ndarray = ((scores > 0.5) == (y.reshape(n, classes) > 0.5)).all(axis=1)
            return right
        same: np.ndarray = scores.argmax(axis=1) == class_numbers(y, n, classes)
        return same


def _is_sigmoid(model: keras.Model) -> bool:
    """Say whether a classifier ends in sigmoids and not in softmax; raise if in neither."""
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
            f"model must end in softmax or sigmoid, this one ends in {found.activation!r}: the "
            "mean is that of probabilities. Put keras.layers.Softmax() behind logits."
        )
    return found.activation == "sigmoid"


def _checked_below(below: Any) -> float:
    if not is_real(below) or not 0 <= below <= 1:
        raise ValueError(f"below must be from 0 to 1. Received: {below!r}")
    return float(below)


def _rebatched(parts: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Yield the rows of all parts, `size` at a time: full batches need not be compiled anew."""
    size = checks.whole_number("batch_size", size, least=1)
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
