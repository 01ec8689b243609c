"""FCN-32s, 16s and 8s on the embedded scenes, trained in stages as in the paper.

The FCN-32s is trained first. The FCN-16s starts from it and the FCN-8s from that, at a lower rate.
So that the finer ones do not win by longer training alone, the FCN-32s is then trained for as many
further steps, at the same rate.
"""

from __future__ import annotations

import time

import keras
import numpy as np
from _figures import Figure

import keras_dlcourse as kd

COARSE_EPOCHS, FINE_EPOCHS = 8, 3
COARSE_RATE, FINE_RATE = 2e-3, 5e-4


def measure() -> list[Figure]:
    keras.utils.set_random_seed(0)
    data, began = kd.data.load("fashion_scenes"), time.process_time()
    classifier = kd.models.MobileNetV2(data.image_shape, alpha=0.35, output_stride=32)
    options = {
        "backbone": classifier,
        "classes": data.class_names,
        "preprocessing": data.normalization,
        "dropout": 0.0,
    }
    coarse = kd.models.FCN32s(**options)
    train(coarse, data, COARSE_EPOCHS, COARSE_RATE)
    middle, fine = kd.models.FCN16s(**options), kd.models.FCN8s(**options)
    kd.models.start_from(middle, coarse)
    train(middle, data, FINE_EPOCHS, FINE_RATE)
    kd.models.start_from(fine, middle)
    train(fine, data, FINE_EPOCHS, FINE_RATE)
    train(coarse, data, 2 * FINE_EPOCHS, FINE_RATE)
    seconds = time.process_time() - began
    (c, c_object), (m, m_object), (f, f_object) = (
        scores(model, data.test, len(data.class_names)) for model in (coarse, middle, fine)
    )
    detail = f"{m:.3f} and {c:.3f}; garments of any class {m_object:.3f} and {c_object:.3f}"
    return [
        Figure("mean IoU of FCN-16s over that of FCN-32s", m - c, "", 0, False, detail),
        Figure("mean IoU of FCN-8s over that of FCN-16s", f - m, "", 0, False,
               f"{f:.3f} and {m:.3f}; garments of any class {f_object:.3f} and {m_object:.3f}"),
        Figure("processor time of all stages", seconds, "s", float("inf")),
    ]  # fmt: skip


def train(model: keras.Model, data: kd.data.Dataset, epochs: int, rate: float) -> None:
    """Train with Dice and cross-entropy; the rate falls to 0 along a cosine."""
    steps = epochs * len(data.train)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=0.01), kd.losses.DiceCrossentropy())
    model.fit(data.train, epochs=epochs, verbose=0)


def scores(model: keras.Model, part: kd.data.Pipeline, classes: int) -> tuple[float, float]:
    """Return the mean IoU, and the IoU of everything that is not background."""
    metric = kd.metrics.SegmentationMetric(classes)
    for images, masks, *_ in part:
        metric.update_state(masks, model.predict_on_batch(images))
    counts = np.asarray(metric.scores().confusion)
    return float(metric.result()), counts[1:, 1:].sum() / (counts.sum() - counts[0, 0])
