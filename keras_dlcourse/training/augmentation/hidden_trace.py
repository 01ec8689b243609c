"""Test whether augmentation leaves a trace that a network can find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_integer
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse._progress import track
from keras_dlcourse.data import take
from keras_dlcourse.training.augmentation.invariance import Transform, apply_transform

_BATCH = 32
_LEAST = 7  # pixels, needed by the convolutions of the small net


@dataclass(frozen=True)
class HiddenTrace:
    """The result of `hidden_trace`; true if there is a trace.

    Attributes:
        auc: Area under the ROC curve, averaged over folds: 0.5 is chance, 1 is perfect detection.
        by_fold: The area for each fold.
        limit: Chance stays below this value in 999 of 1,000 cases.
    """

    auc: float
    by_fold: tuple[float, ...]
    limit: float

    def __bool__(self) -> bool:
        return self.auc > self.limit

    def __str__(self) -> str:
        if not self:
            return f"No trace: a small net cannot detect augmented images (AUC {self.auc:.2f})."
        return (
            f"A trace: a small net detects augmented images (AUC {self.auc:.2f}, chance stays "
            f"below {self.limit:.2f}). Augment all classes alike, or change the layer, e.g. its "
            "fill_mode: if only one class is augmented, networks learn the trace."
        )


@renamed_arguments(examples="limit")
def hidden_trace(
    data: Any,
    transform: Transform,
    *,
    limit: int = 1000,
    folds: int = 3,
    epochs: int = 20,
    seed: int = 0,
) -> HiddenTrace:
    """Test whether a small net can learn which images were augmented.

    A random half of the images is augmented, and a convolutional net of about 1,300 weights learns
    which half, with cross-validation. If it succeeds, class-specific augmentation is dangerous:
    whatever reveals the augmentation reveals the class. If a small net finds no trace in few
    images, a large net may still find one in many.

    Args:
        data: Images from the training part: anything that `kd.data.take` reads.
        transform: An augmentation layer, called in training mode, or a function of a batch of
            images. It receives the images as the network sees them: after the normalization of a
            pipeline.
        limit: Maximum number of images to take at random.
        folds: Number of folds of the cross-validation.
        epochs: Number of epochs per fold.
        seed: Seed for the choice of images, the folds and the weights.

    Returns:
        A `HiddenTrace`, which can be printed.

    Raises:
        TypeError: If `data` or `transform` has the wrong type.
        ValueError: If `data` does not hold images of at least 7 pixels per side, or `transform`
            changes the shape.

    Example:
        >>> images = np.random.default_rng(0).uniform(size=(60, 8, 8, 1)).astype("float32")
        >>> darker = hidden_trace(images, lambda batch: batch * 0.1, folds=2, epochs=12)
        >>> bool(darker)
        True

    Reference:
        Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017,
        https://arxiv.org/abs/1610.06545
    """
    check_integer("epochs", epochs)
    check_integer("folds", folds, least=2)
    images = take(data, check_integer("limit", limit, least=2 * folds), seed).inputs
    if images.ndim != 4 or min(images.shape[1:3]) < _LEAST:
        raise ValueError(
            f"data must be images of at least {_LEAST} pixels per side, of shape "
            f"(n, height, width, channels). Received: shape {images.shape}"
        )
    is_augmented = np.random.default_rng(seed).permutation(len(images)) < len(images) // 2
    images, chosen = images.copy(), np.flatnonzero(is_augmented)
    for start in range(0, len(chosen), _BATCH):
        here = chosen[start : start + _BATCH]
        images[here] = apply_transform(transform, images[here])
    images = (images - images.mean()) / (images.std() or 1)
    areas = _areas(images, is_augmented, folds, epochs, seed)
    # The standard deviation of the AUC when the two halves do not differ (Mann and Whitney).
    spread = np.sqrt((len(images) + 1) / (12 * len(chosen) * (len(images) - len(chosen))))
    return HiddenTrace(float(np.mean(areas)), tuple(areas), float(0.5 + 3.1 * spread))


def _areas(
    images: np.ndarray, is_augmented: np.ndarray, folds: int, epochs: int, seed: int
) -> list[float]:
    """Return the area under the ROC curve on the held-out part of each fold."""
    from sklearn.metrics import roc_auc_score  # takes a second to import
    from sklearn.model_selection import StratifiedKFold

    net = _small_net(images.shape[1:], seed)
    variables = [*net.weights, *net.optimizer.variables]
    begin = [keras.ops.convert_to_numpy(variable) for variable in variables]
    labels = is_augmented.astype("float32")[:, None]
    areas = []
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(images, is_augmented)
    for fold, (train, left_out) in enumerate(track(splits, folds, "Looking for a trace")):
        # Reset the same net: a new one would be compiled again.
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
    # The mean finds global traces, such as blur; the maximum finds local ones, such as an edge.
    pooled = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
    x = layers.Concatenate()(pooled)
    net = keras.Model(inputs, layers.Dense(1, "sigmoid", kernel_initializer=start(2))(x))
    net.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    net.optimizer.build(net.trainable_variables)
    return net
