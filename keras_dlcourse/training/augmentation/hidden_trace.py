"""Whether augmentation leaves a trace that a network can find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_dlcourse._progress import track
from keras_dlcourse.data import checks, take
from keras_dlcourse.training.augmentation.invariance import Transform, transformed

_BATCH = 32
_LEAST = 7  # pixels: what the convolutions of the small net need


@dataclass(frozen=True)
class HiddenTrace:
    """What `hidden_trace` found; true if there is a trace.

    Attributes:
        auc: The area under the ROC curve, mean over folds: 0.5 is chance, 1 tells each image.
        by_fold: The same for each fold.
        limit: What chance stays below, in 999 of 1,000 cases.
    """

    auc: float
    by_fold: tuple[float, ...]
    limit: float

    def __bool__(self) -> bool:
        return self.auc > self.limit

    def __str__(self) -> str:
        if not self:
            return f"No trace: a small net cannot tell augmented images (AUC {self.auc:.2f})."
        return (
            f"A trace: a small net tells augmented images from others (AUC {self.auc:.2f}, chance "
            f"stays below {self.limit:.2f}). Augment all classes alike, or change the layer, e.g. "
            "its fill_mode: if one class alone is augmented, networks learn the trace."
        )


def hidden_trace(
    data: Any,
    transform: Transform,
    *,
    examples: int = 1000,
    folds: int = 3,
    epochs: int = 20,
    seed: int = 0,
) -> HiddenTrace:
    """Tell whether a small net can learn which images were augmented.

    Half of the images, chosen at random, are augmented, and a convolutional net of 1,300 weights or
    so learns which, by cross-validation. Where it can, class-specific augmentation is dangerous:
    what tells augmented images tells their class. No trace found by a small net in few images is no
    proof that a large one finds none in many.

    Args:
        data: Images in anything that `kd.data.take` takes; of the training part.
        transform: An augmentation layer, which is called as in training, or a function of a batch
            of images. It gets what the network sees: after the normalization of a pipeline.
        examples: How many images to take at random.
        folds: Of the cross-validation.
        epochs: For each fold.
        seed: Of the choice, the folds and the weights.

    Returns:
        A `HiddenTrace`; `print` it.

    Raises:
        TypeError: If data or transform are of another kind.
        ValueError: If the data are no images of 7 pixels or more, or the transform changes the
            shape.

    Example:
        >>> images = np.random.default_rng(0).uniform(size=(60, 8, 8, 1)).astype("float32")
        >>> darker = hidden_trace(images, lambda batch: batch * 0.1, folds=2, epochs=12)
        >>> bool(darker)
        True

    Reference:
        Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017,
        https://arxiv.org/abs/1610.06545
    """
    checks.whole_number("epochs", epochs, least=1)
    checks.whole_number("folds", folds, least=2)
    images = take(data, checks.whole_number("examples", examples, least=2 * folds), seed).inputs
    if images.ndim != 4 or min(images.shape[1:3]) < _LEAST:
        raise ValueError(
            f"data must be images of {_LEAST} pixels or more, (n, height, width, channels). "
            f"Received: shape {images.shape}"
        )
    is_augmented = np.random.default_rng(seed).permutation(len(images)) < len(images) // 2
    images, chosen = images.copy(), np.flatnonzero(is_augmented)
    for start in range(0, len(chosen), _BATCH):
        here = chosen[start : start + _BATCH]
        images[here] = transformed(transform, images[here])
    images = (images - images.mean()) / (images.std() or 1)
    areas = _areas(images, is_augmented, folds, epochs, seed)
    # The spread of the rank sum of two halves that do not differ (Mann and Whitney).
    spread = np.sqrt((len(images) + 1) / (12 * len(chosen) * (len(images) - len(chosen))))
    return HiddenTrace(float(np.mean(areas)), tuple(areas), float(0.5 + 3.1 * spread))


def _areas(
    images: np.ndarray, is_augmented: np.ndarray, folds: int, epochs: int, seed: int
) -> list[float]:
    """Return the area under the ROC curve on what each fold leaves out."""
    from sklearn.metrics import roc_auc_score  # takes a second to import
    from sklearn.model_selection import StratifiedKFold

    net = _small_net(images.shape[1:], seed)
    variables = [*net.weights, *net.optimizer.variables]
    begin = [keras.ops.convert_to_numpy(variable) for variable in variables]
    labels = is_augmented.astype("float32")[:, None]
    areas = []
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(images, is_augmented)
    for fold, (train, left_out) in enumerate(track(splits, folds, "Looking for a trace")):
        # The same net from the same start: another one would be compiled anew.
        for variable, value in zip(variables, begin, strict=True):
            variable.assign(value)
        random = np.random.default_rng((seed, fold))
        size = min(_BATCH, len(train))
        for _ in range(epochs):
            order = random.permutation(train)
            for start in range(0, len(order) - size + 1, size):
                here = order[start : start + size]
                net.train_on_batch(images[here], labels[here])
        scores = net.predict(images[left_out], batch_size=_BATCH, verbose=0)[:, 0]
        areas.append(float(roc_auc_score(is_augmented[left_out], scores)))
    return areas


def _small_net(image_shape: tuple[int, ...], seed: int) -> keras.Model:
    layers = keras.layers

    def start(number: int) -> keras.initializers.Initializer:
        return keras.initializers.GlorotUniform(seed + number)

    inputs = keras.Input(image_shape)
    x = layers.Conv2D(8, 3, activation="relu", kernel_initializer=start(0))(inputs)
    x = layers.Conv2D(16, 3, strides=2, activation="relu", kernel_initializer=start(1))(x)
    # The mean finds what is everywhere, such as blur; the maximum what is somewhere: an edge.
    pooled = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
    x = layers.Concatenate()(pooled)
    net = keras.Model(inputs, layers.Dense(1, "sigmoid", kernel_initializer=start(2))(x))
    net.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    net.optimizer.build(net.trainable_variables)
    return net
