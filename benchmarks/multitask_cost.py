"""What joining tasks costs a training step, and GIoU beside the bare arithmetic in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from _figures import Figure, in_turn, ratio
from keras import layers as L

import keras_dlcourse as kd

ROWS, PAIRS = 256, 10_000


def measure() -> list[Figure]:
    return [_step(), _giou()]


def _model() -> keras.Model:
    keras.utils.set_random_seed(0)
    given = x = keras.Input((64, 64, 3))
    for filters in (16, 32, 64):
        x = L.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    return kd.models.localizer(keras.Model(given, x), 4)


def _step() -> Figure:
    """Compare with Keras's own sum of losses by constant weights, the same network and batch."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 64, 64, 3)).astype("float32")
    y = {
        "label": rng.integers(0, 4, ROWS),
        "box": rng.uniform(size=(ROWS, 4)).astype("float32"),
    }
    tasks = {"label": "sparse_categorical_crossentropy", "box": kd.losses.SmoothL1Loss()}
    ours = kd.models.MultitaskModel(_model(), kd.losses.MultitaskLoss(tasks, 0.3))
    ours.compile("sgd")
    theirs = _model()
    theirs.compile("sgd", tasks, loss_weights={"label": 0.3, "box": 0.7})

    def steps(model: keras.Model) -> Callable[[], Any]:
        return lambda: [model.train_on_batch(x, y) for _ in range(5)]

    for model in (ours, theirs):
        steps(model)()
    times = in_turn(steps(ours), steps(theirs), rounds=15)
    return ratio("training step by MultitaskLoss / by Keras's loss weights", *times, 1.02)


def _giou() -> Figure:
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 1, (2, PAIRS, 2, 2)).astype("float32"), axis=2)
    true, found = corners.reshape(2, PAIRS, 4)
    loss = kd.losses.GIoULoss("rel_xyxy", reduction="none")
    run = tf.function(loss.call, jit_compile=True)  # as Keras compiles a training step
    tensors = [keras.ops.convert_to_tensor(boxes) for boxes in (true, found)]
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(run(*tensors)), _bare(true, found), atol=1e-5
    )
    times = in_turn(
        lambda: keras.ops.convert_to_numpy(run(*tensors)), lambda: _bare(true, found), rounds=50
    )
    return ratio(f"GIoU of {PAIRS:,} pairs by XLA / the bare arithmetic in NumPy", *times, 2.0)


def _bare(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    left, top, right, bottom = true.T
    l, t, r, b = found.T  # noqa: E741
    across = np.maximum(np.minimum(right, r) - np.maximum(left, l), 0)
    down = np.maximum(np.minimum(bottom, b) - np.maximum(top, t), 0)
    common = across * down
    union = (right - left) * (bottom - top) + (r - l) * (b - t) - common
    hull = (np.maximum(right, r) - np.minimum(left, l)) * (
        np.maximum(bottom, b) - np.minimum(top, t)
    )
    return 1 - common / union + (hull - union) / hull
