"""From a detector's outputs to boxes: decoding and NMS in NumPy, beside TensorFlow's graph.

Ours is `choose_boxes`, all that `ObjectDetector` does behind the network. TensorFlow's is a
`tf.function` of the same steps, which ends in the C++ kernel of `NonMaxSuppressionV4`, on one
thread. Times are processor time. A tenth of the anchors lies on one of 30 objects and has scores
from 0.1 to 1 for its class; all others have scores below the threshold.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from _figures import Figure, ratio

from keras_dlcourse.edge import NonMaxSuppression
from keras_dlcourse.edge.description.layouts import SCALES, DetectionLayout
from keras_dlcourse.edge.vision.detection_reader import choose_boxes

SIZES = ((540, 10), (1917, 90), (8400, 80))
NMS = NonMaxSuppression()
LIMIT = 1.5
ROUNDS, CALLS = 31, 20


def measure() -> list[Figure]:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    figures = []
    for anchors, classes in SIZES:
        layout, values, scores = _make_outputs(anchors, classes)
        graph = _make_graph(layout)
        tensors = tf.constant(values), tf.constant(scores)

        def ours(values=values, scores=scores, layout=layout) -> object:
            return choose_boxes(values, scores, layout, NMS)

        def peer(graph=graph, tensors=tensors) -> object:
            return [one.numpy() for one in graph(*tensors)]

        found, (edges, numbers, best) = ours(), peer()
        what = f"decode and NMS, {anchors:,} anchors, {classes} classes"
        same = len(found.classes) == len(numbers) and (found.classes == numbers).all()
        error = (
            max(np.abs(found.edges - edges).max(), np.abs(found.scores - best).max())
            if same
            else math.inf
        )
        figures += [
            ratio(f"{what}, {len(numbers)} boxes found / TensorFlow", *_time(ours, peer), LIMIT),
            Figure(f"largest difference of these boxes and scores, {anchors:,} anchors",
                   float(error), "", 1e-5),
        ]  # fmt: skip
    return figures


def _time(*functions: Callable[[], object]) -> list[float]:
    """Return the median processor seconds of one call of each, timed in turn."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, seconds in zip(functions, times, strict=True):
            started = time.process_time()
            for _ in range(CALLS):
                function()
            seconds.append((time.process_time() - started) / CALLS)
    return [statistics.median(seconds) for seconds in times]


def _make_outputs(anchors: int, classes: int) -> tuple[DetectionLayout, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    objects = rng.uniform(0.1, 0.9, (30, 2))
    numbers = rng.integers(classes, size=30)
    near = np.arange(anchors) < anchors // 10
    of = rng.integers(30, size=anchors)
    centers = np.where(
        near[:, None], objects[of] + rng.normal(0, 0.02, (anchors, 2)),
        rng.uniform(0, 1, (anchors, 2)),
    )  # fmt: skip
    sizes = rng.uniform(0.1, 0.2, (anchors, 2))
    layout = DetectionLayout(tuple(map(tuple, np.hstack([centers, sizes]).tolist())))
    scores = rng.uniform(0, 0.04, (anchors, classes))
    scores[near, numbers[of[near]]] = rng.uniform(0.1, 1, near.sum())
    values = rng.normal(0, 0.5, (anchors, 4))
    return layout, values.astype("float32"), scores.astype("float32")


def _make_graph(layout: DetectionLayout) -> Callable[..., list[tf.Tensor]]:
    anchors = np.array(layout.anchors, "float32")[:, [1, 0, 3, 2]]

    @tf.function
    def run(values: tf.Tensor, scores: tf.Tensor) -> list[tf.Tensor]:
        classes = tf.argmax(scores, axis=1, output_type=tf.int32)
        best = tf.reduce_max(scores, axis=1)
        values = values / np.array(SCALES, "float32")
        centers = values[:, :2] * anchors[:, 2:] + anchors[:, :2]
        halves = tf.exp(values[:, 2:]) * anchors[:, 2:] / 2
        edges = tf.clip_by_value(tf.concat([centers - halves, centers + halves], axis=1), -1, 2)
        apart = edges + 4 * tf.cast(classes, "float32")[:, None]
        chosen, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=apart, scores=best, max_output_size=NMS.max_results,
            iou_threshold=NMS.iou_threshold, score_threshold=NMS.score_threshold,
        )  # fmt: skip
        chosen = chosen[:count]
        edges = tf.gather(tf.gather(edges, [1, 0, 3, 2], axis=1), chosen)
        return [edges, tf.gather(classes, chosen), tf.gather(best, chosen)]

    return run
