"""Maps of one trained network by several methods: do they hold what the answer came from?

The network and the scenes are those of `localization`: one piece of clothing on a canvas of shreds,
trained with labels only, last maps of 8 x 8. Deletion and insertion are areas under the curve of
the class's probability (Petsiuk et al., 2018); the maximum on the object is the pointing game.
Nothing here has a limit: it says which method to take for what.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from _figures import Figure
from localization import TRAIN, _scenes, _trained

import keras_dlcourse as kd
from keras_dlcourse.explain import METHODS

SCENES = 60
COMPARED = {
    "grad_cam": {},
    "augmented_grad_cam": {},
    "augmented_grad_cam, mean": {"fusion": "mean"},
    "augmented_grad_cam, max": {"fusion": "max"},
    "score_cam": {},
    "occlusion": {},
}


def measure() -> list[Figure]:
    warnings.simplefilter("ignore", UserWarning)
    data = kd.data.load("fashion_mnist_small")
    x, y, _ = _scenes(data.train, TRAIN, seed=0)
    test_x, test_y, boxes = _scenes(data.test, 3 * SCENES, seed=1)
    model = _trained(x, y, 8, "average")
    # Of a wrong answer's map nothing is expected.
    right = np.flatnonzero(model.predict(test_x, verbose=0).argmax(1) == test_y)[:SCENES]
    x, y, boxes = test_x[right], test_y[right], boxes[right].astype("float32")
    found = {}
    for name, options in COMPARED.items():
        maps = METHODS[name.split(",")[0]](model, x, y, **options)
        pointing, on_box = kd.metrics.PointingGame(tolerance=0), kd.metrics.MaxBoxAccuracy()
        pointing.update_state(boxes, maps)
        on_box.update_state(boxes, maps)
        found[name] = {
            "deletion": (kd.explain.deletion(model, x, maps, y).mean, True),
            "insertion": (kd.explain.insertion(model, x, maps, y).mean, False),
            "maximum on the object": (float(pointing.result()), False),
            "MaxBoxAcc at IoU 0.5": (float(on_box.result()), False),
        }
    return [
        Figure(f"{name}: {what}", value, "", math.inf if low else -math.inf, low, f"n = {len(x)}")
        for name, values in found.items()
        for what, (value, low) in values.items()
    ]
