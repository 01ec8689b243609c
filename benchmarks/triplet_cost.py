"""Semi-hard triplet loss, forward and backward, dimension 128, on the processor.

Beside the masked cube, as TensorFlow Addons computes it, written here from its definition (the
package itself needs Keras 2). And beside pytorch-metric-learning, which runs in the environment
whose interpreter `KD_PML_PYTHON` names (`pip install torch pytorch-metric-learning`); without it
only our own figures are measured. It has no such semi-hard mining, so all triplets are compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from _figures import Figure, in_turn, ratio

import keras_dlcourse as kd
from keras_dlcourse.losses.embedding._distances import pairwise_distances

DIMENSIONS, PER_CLASS, ROUNDS = 128, 4, 5
MEMORY_ROWS, GIB = 4096, 2**30


def batch(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, four rows of each, and embeddings of length 1."""
    x = np.random.default_rng(0).normal(size=(rows, DIMENSIONS)).astype("float32")
    return np.arange(rows) // PER_CLASS, x / np.linalg.norm(x, axis=1, keepdims=True)


def measure() -> list[Figure]:
    figures = [_beside_the_cube(512, 1 / 50, rounds=3), _beside_the_cube(256, 1 / 20, ROUNDS)]
    return [*figures, _memory(), *_distances(), *_beside_pytorch_metric_learning()]


def _step(loss: Callable[..., Any], labels: np.ndarray) -> Callable[[np.ndarray], Any]:
    """Return a compiled function that gives a loss and its gradient."""
    fixed = tf.constant(labels)

    @tf.function
    def run(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(fixed, x)
        return value, tape.gradient(value, x)

    return lambda x: [part.numpy() for part in run(tf.constant(x))]


def _beside_the_cube(rows: int, limit: float, rounds: int) -> Figure:
    labels, x = batch(rows)
    ours, cube = _step(kd.losses.TripletLoss(), labels), _step(masked_cube, labels)
    (value, gradient), (expected, expected_gradient) = ours(x), cube(x)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    # In float32 a few pairs have two negatives equally near, and either may be taken.
    alike = np.abs(gradient - expected_gradient).max(1) < 1e-3 * np.abs(gradient).max()
    if alike.mean() < 0.95:
        raise RuntimeError(f"only {alike.mean():.0%} of the rows have the gradient of the cube")
    times = in_turn(lambda: ours(x), lambda: cube(x), rounds=rounds)
    return ratio(f"semi-hard triplet step, batch {rows} / masked cube", *times, limit)


def masked_cube(labels: Any, x: Any, margin: float = 1.0) -> Any:
    """Semi-hard triplet loss by comparing each pair with each other row, tiled `(B * B, B)`.

    The algorithm of tensorflow_addons.losses.triplet_semihard_loss, distance "L2".
    """
    squares = tf.reduce_sum(x**2, 1)
    squares = squares[:, None] + squares[None] - 2 * tf.matmul(x, x, transpose_b=True)
    squares = tf.maximum(squares, 0.0)
    empty = tf.cast(squares <= 0, x.dtype)
    distances = tf.sqrt(squares + empty * 1e-16) * (1 - empty)
    adjacent = labels[:, None] == labels[None]
    rows = tf.size(labels)
    distances *= 1 - tf.eye(rows)
    tiled = tf.tile(distances, [rows, 1])
    mask = tf.tile(~adjacent, [rows, 1]) & (tiled > tf.reshape(tf.transpose(distances), [-1, 1]))
    found = tf.reduce_sum(tf.cast(mask, x.dtype), 1, keepdims=True) > 0
    found = tf.transpose(tf.reshape(found, [rows, rows]))
    outside = tf.transpose(tf.reshape(_masked_minimum(tiled, tf.cast(mask, x.dtype)), [rows, rows]))
    inside = tf.tile(_masked_maximum(distances, tf.cast(~adjacent, x.dtype)), [1, rows])
    excess = margin + distances - tf.where(found, outside, inside)
    positives = tf.cast(adjacent, x.dtype) - tf.eye(rows)
    return tf.reduce_sum(tf.maximum(excess * positives, 0.0)) / tf.reduce_sum(positives)


def _masked_minimum(data: Any, mask: Any) -> Any:
    most = tf.reduce_max(data, 1, keepdims=True)
    return tf.reduce_min((data - most) * mask, 1, keepdims=True) + most


def _masked_maximum(data: Any, mask: Any) -> Any:
    least = tf.reduce_min(data, 1, keepdims=True)
    return tf.reduce_max((data - least) * mask, 1, keepdims=True) + least


def _memory() -> Figure:
    """Measure the peak of a fresh process that takes one step."""
    code = f"""
import re, sys
from pathlib import Path

def peak():
    # Not getrusage: its peak is that of the process that started this one, if that was larger.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

sys.path.insert(0, {str(Path(__file__).parent)!r})
import triplet_cost
labels, x = triplet_cost.batch({MEMORY_ROWS})
before = peak()
triplet_cost._step(triplet_cost.kd.losses.TripletLoss(), labels)(x)
print(before, peak())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, peak = (int(kib) * 1024 for kib in done.stdout.split())
    return Figure(
        f"semi-hard triplet step, batch {MEMORY_ROWS}: peak memory beyond the loaded libraries",
        (peak - before) / GIB, "GiB", 1.0, detail=f"{before / GIB:.2f} GiB before the step",
    )  # fmt: skip


def _distances() -> list[Figure]:
    """Compare with bare products of matrices, in turn, all compiled by XLA."""
    compiled = tf.function(lambda x: pairwise_distances("euclidean", x, x), jit_compile=True)
    product = tf.function(lambda a, b: tf.matmul(a, b, transpose_b=True), jit_compile=True)
    large = tf.random.normal((3000, 3000))
    wide, small = (tf.constant(batch(rows)[1]) for rows in (4096, 512))

    def seconds(ours: Any, bare: Any, calls: int) -> tuple[float, float]:
        for function in (ours, bare):
            function()
        return in_turn(lambda: _wait(ours()), lambda: _wait(bare()), rounds=9, calls=calls)

    ours, bare = seconds(lambda: compiled(wide), lambda: product(large, large), 1)
    rates = 2 * 4096**2 * DIMENSIONS / ours / 1e9, 2 * 3000**3 / bare / 1e9
    figures = [
        Figure(
            "pairwise distances, 4096 x 128: rate / that of a product 3000^3",
            rates[0] / rates[1], "x", 0.4, at_most=False,
            detail=f"{rates[0]:.0f} against {rates[1]:.0f} GFLOP/s",
        )
    ]  # fmt: skip
    times = seconds(lambda: compiled(small), lambda: product(small, small), 20)
    return [*figures, ratio("pairwise distances, 512 x 128 / the bare product", *times, 2.0)]


def _wait(x: Any) -> Any:
    return x.numpy()


def _beside_pytorch_metric_learning() -> list[Figure]:
    python = os.environ.get("KD_PML_PYTHON")
    if not python:
        print("KD_PML_PYTHON is not set: the peer is not measured", file=sys.stderr)
        return []
    labels, x = batch(256)
    cosines = np.tanh(np.random.default_rng(1).normal(size=(DIMENSIONS, 64))).astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "batch.npz"
        np.savez(path, labels=labels, x=x, kernel=cosines)
        script = Path(__file__).parent / "peers" / "metric_learning.py"
        done = subprocess.run(
            [python, str(script), str(path), str(ROUNDS)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    peer = json.loads(done.stdout.splitlines()[-1])
    return _beside(peer, labels, x, cosines)


def _beside(peer: dict[str, Any], labels: Any, x: Any, kernel: Any) -> list[Figure]:
    head = kd.layers.CosineDense(kernel.shape[1])
    head.build((None, DIMENSIONS))
    head.set_weights([kernel])
    cosines = keras.ops.convert_to_numpy(head(x))
    ours = {
        "all triplets": (kd.losses.TripletLoss(0.2, "all", over="active"), x),
        "hard triplets": (kd.losses.TripletLoss(0.2, "hard", over="valid"), x),
        "NTXent": (kd.losses.NTXent(0.1), x),
        "SupervisedContrastive": (kd.losses.SupervisedContrastive(0.1), x),
        "ArcFace": (kd.losses.ArcFace(0.5, 64.0), cosines),
        "CosFace": (kd.losses.CosFace(0.35, 64.0), cosines),
        "ProxyAnchor": (kd.losses.ProxyAnchor(0.1, 32.0), cosines),
    }
    values = {name: float(loss(labels, given)) for name, (loss, given) in ours.items()}
    errors = {name: abs(values[name] / peer["values"][name] - 1) for name in ours}
    worst = max(errors, key=lambda name: errors[name])
    figures = [
        Figure(
            "values / those of pytorch-metric-learning: largest difference of 7 losses",
            errors[worst], "", 1e-5, detail=f"{worst}; batch {len(x)}",
        )
    ]  # fmt: skip
    for name in ("all triplets", "NTXent"):
        step = _step(ours[name][0], labels)
        step(x)
        seconds, _ = in_turn(lambda step=step: step(x), lambda: None, rounds=ROUNDS)
        what = f"{name}, forward and backward, batch {len(x)} / pytorch-metric-learning"
        figures.append(ratio(what, seconds, peer["seconds"][name], 1.0))
    return figures
