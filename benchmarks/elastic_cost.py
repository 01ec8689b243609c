"""Elastic deformation of 16 images of 256x256x3, compiled, in processor time per image.

Beside `scipy.ndimage.map_coordinates` with linear interpolation on one image, a call per channel,
and Keras's own layer.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from _figures import Figure, ratio
from scipy import ndimage

import keras_dlcourse as kd

COUNT, SIDE, ROUNDS = 16, 256, 5


def measure() -> list[Figure]:
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (COUNT, SIDE, SIDE, 3)).astype("float32")
    masks = rng.integers(0, 5, (COUNT, SIDE, SIDE)).astype("uint8")
    places = np.mgrid[:SIDE, :SIDE] + rng.normal(0, 5, (2, SIDE, SIDE))
    bend = kd.layers.ElasticDeformation(10.0, masks={"mask": 255}, seed=0)
    alone = tf.function(lambda x: bend(x, training=True))
    both = tf.function(lambda x, y: bend({"images": x, "mask": y}, training=True))
    other = keras.layers.RandomElasticTransform((1.0, 1.0), (1.0, 1.0), seed=0)
    kerass = tf.function(lambda x: other(x, training=True))

    def scipys() -> None:
        for channel in range(3):
            ndimage.map_coordinates(images[0, ..., channel], places, order=1)

    def scipys_mask() -> None:
        ndimage.map_coordinates(masks[0], places, order=0)

    image, mask = _seconds(scipys), _seconds(scipys_mask)
    ours = _seconds(lambda: alone(images)) / COUNT
    ours_both = _seconds(lambda: both(images, masks)) / COUNT
    keras_time = _seconds(lambda: kerass(images[:2]), rounds=1) / 2
    return [
        ratio("Elastic deformation of an image, against SciPy", ours, image, 3.0),
        ratio("The same with its mask", ours_both, image + mask, 3.0),
        ratio("An image, against Keras's RandomElasticTransform", ours, keras_time, 0.1),
    ]


def _seconds(run: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the least processor time of a call."""
    run()
    times = []
    for _ in range(rounds):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return min(times)
