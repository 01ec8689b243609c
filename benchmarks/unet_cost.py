"""A training step of a U-Net, beside one written by hand in Keras; checkerboards of upsampling."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from _figures import Figure, in_turn, ratio
from keras import layers as L

import keras_dlcourse as kd

SIDE, CLASSES, BATCH, ALPHA, LIMIT = 64, 4, 8, 0.125, 1.05


def measure() -> list[Figure]:
    random = np.random.default_rng(0)
    images = random.normal(size=(BATCH, SIDE, SIDE, 3)).astype("float32")
    masks = random.integers(0, CLASSES, (BATCH, SIDE, SIDE)).astype("int32")
    masks[:, :4] = 255
    ours = kd.models.UNet((SIDE, SIDE, 3), "plain", CLASSES, alpha=ALPHA)
    peer = _by_hand()
    if ours.count_params() != peer.count_params():
        raise RuntimeError("the two networks differ")
    ours.compile("adam", kd.losses.PixelCrossentropy())
    peer.compile("adam", keras.losses.SparseCategoricalCrossentropy(ignore_class=255))
    for model in (ours, peer):
        model.train_on_batch(images, masks)  # traces
    times = in_turn(
        lambda: ours.train_on_batch(images, masks),
        lambda: peer.train_on_batch(images, masks),
        rounds=25,
        calls=2,
    )
    step = ratio("a training step of UNet, against one written by hand in Keras", *times, LIMIT)
    return [step, _checkerboard()]


def _by_hand() -> keras.Model:
    x = inputs = keras.Input((SIDE, SIDE, 3))
    skips = []
    for channels in (8, 16, 32, 64):
        skips.append(_twice(x, channels))
        x = L.MaxPooling2D(2)(skips[-1])
    x = _twice(x, 128)
    for channels in (64, 32, 16, 8):
        x = L.Conv2DTranspose(channels, 2, 2)(x)
        x = _twice(L.Concatenate()([skips.pop(), x]), channels)
    return keras.Model(inputs, L.Conv2D(CLASSES, 1, activation="softmax")(x))


def _twice(x: Any, channels: int) -> Any:
    for _ in range(2):
        x = L.Conv2D(channels, 3, padding="same", use_bias=False)(x)
        x = L.ReLU()(L.BatchNormalization()(x))
    return x


def _checkerboard() -> Figure:
    """Measure how unlike the outputs of fresh layers are next to each other on constant maps."""
    layers = {
        **{f"transposed {k}x{k}": L.Conv2DTranspose(16, k, 2, padding="same") for k in (2, 3, 4)},
        "transposed 4x4 from Bilinear": L.Conv2DTranspose(
            16, 4, 2, padding="same", kernel_initializer=kd.layers.Bilinear()
        ),
        "ResizeConv2D": kd.layers.ResizeConv2D(16),
    }
    maps = np.broadcast_to(
        np.random.default_rng(0).normal(size=16).astype("float32"), (1, 9, 9, 16)
    )
    unlike = {}
    for name, layer in layers.items():
        keras.utils.set_random_seed(0)
        outputs = keras.ops.convert_to_numpy(layer(maps))[0, 8:10, 8:10].reshape(4, 16)
        unlike[name] = float(outputs.std(axis=0).mean() / np.sqrt(np.mean(outputs**2)))
    detail = ", ".join(f"{name} {value:.2f}" for name, value in unlike.items())
    what = "unevenness of ResizeConv2D on constant maps: deviation of neighbors / size"
    return Figure(what, unlike["ResizeConv2D"], "", 1e-5, detail=detail)
