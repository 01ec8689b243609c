"""Three points of the course: depth needs shortcuts, width is fast, averages forgive shifts.

Fashion-MNIST, which the Debian package `dataset-fashion-mnist` has; Adam, batches of 64, three
seeds for the shifts and one for the others (`KD_SEEDS`). Tables go to docs/models.md.
"""

from __future__ import annotations

import os
import time
from typing import Any

import keras
import numpy as np
from _figures import Figure
from _page import put
from families import Part, fashion_mnist

import keras_dlcourse as kd

SEEDS = tuple(range(int(os.environ.get("KD_SEEDS", "3"))))
EPOCHS = int(os.environ.get("KD_EPOCHS", "3"))
DEPTHS = (20, 56)
SHIFTS = (0, 2, 4, 6)


def measure() -> list[Figure]:
    train, test = (_normalized(fashion_mnist(part)) for part in ("train", "t10k"))
    depth, width, shifts = _depth(train), _width(train, test), _shifts(train, test)
    put("models.md", "architectures", _page(depth, width, shifts))
    plain, residual = ({d: depth["none", d] for d in DEPTHS}, {d: depth["pad", d] for d in DEPTHS})
    return [
        Figure("training loss of the plain network of 56 layers over that of 20", plain[56] /
               plain[20], "x", 1.0, at_most=False, detail=f"{plain[56]:.3f} and {plain[20]:.3f}"),
        Figure("training loss of the plain network of 56 layers over its residual twin",
               plain[56] / residual[56], "x", 1.0, at_most=False,
               detail=f"{plain[56]:.3f} and {residual[56]:.3f}"),
        Figure("images a second in training, wide over deep", width["wide"][1] / width["deep"][1],
               "x", 1.0, at_most=False, detail=", ".join(f"{k}: {v[1]:.0f}" for k, v in
                                                         width.items())),
        Figure("accuracy under shifts by 6 pixels, averages less Flatten",
               100 * (shifts["average", 6] - shifts["flatten", 6]), "points", 0.0, at_most=False,
               detail=f"{shifts['average', 6]:.1%} and {shifts['flatten', 6]:.1%}"),
    ]  # fmt: skip


def _depth(train: Part) -> dict[tuple[str, int], float]:
    """Return the training loss of plain and residual networks after the same steps."""
    part = tuple(array[:10_000] for array in train)
    found = {}
    for shortcut in ("none", "pad"):
        for depth in DEPTHS:
            keras.utils.set_random_seed(0)
            model = kd.models.build(
                f"resnet{depth}_cifar", input_shape=(28, 28, 1), classes=10, alpha=0.25,
                shortcut=shortcut,
            )  # fmt: skip
            _fit(model, part, EPOCHS)
            # Batch normalization as in training, so that its moving statistics play no part.
            scores = [model(x, training=True) for x in np.split(part[0], 50)]
            found[shortcut, depth] = float(np.mean(keras.losses.sparse_categorical_crossentropy(
                part[1], np.concatenate(scores))))  # fmt: skip
            print(shortcut, depth, found[shortcut, depth], flush=True)
    return found


def _width(train: Part, test: Part) -> dict[str, tuple[int, float, float]]:
    """Return weights, images a second and accuracy of a wide and a deep network."""
    part = tuple(array[:10_000] for array in train)
    found = {}
    for name, depth, width, alpha in (("wide", 10, 2, 1.0), ("deep", 40, 1, 0.73)):
        keras.utils.set_random_seed(0)
        model = kd.models.WideResNet(
            depth, width, input_shape=(28, 28, 1), classes=10, alpha=alpha
        )  # fmt: skip
        seconds = _fit(model, part, EPOCHS)
        right = float(np.mean(model.predict(test[0], 200, verbose=0).argmax(1) == test[1]))
        found[name] = (model.count_params(), len(part[0]) / seconds, right)
        print(name, found[name], flush=True)
    return found


def _shifts(train: Part, test: Part) -> dict[tuple[str, int], float]:
    """Return the accuracy on shifted images of two heads on the same trunk, mean of the seeds."""
    sums: dict[tuple[str, int], list[float]] = {}
    part = tuple(array[:20_000] for array in train)
    for seed in SEEDS:
        for head in ("flatten", "average"):
            keras.utils.set_random_seed(seed)
            model = _with_head(head)
            _fit(model, part, EPOCHS)
            for shift in SHIFTS:
                sums.setdefault((head, shift), []).append(_shifted_accuracy(model, test, shift))
            print(head, [sums[head, shift][-1] for shift in SHIFTS], flush=True)
    return {key: float(np.mean(values)) for key, values in sums.items()}


def _with_head(head: str) -> keras.Model:
    trunk = [keras.Input((28, 28, 1))]
    for filters in (16, 32, 64):
        trunk += [
            keras.layers.Conv2D(filters, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
        ]
    pool = keras.layers.Flatten() if head == "flatten" else keras.layers.GlobalAveragePooling2D()
    return keras.Sequential([*trunk, pool, keras.layers.Dense(10, "softmax")])


def _shifted_accuracy(model: keras.Model, test: Part, shift: int) -> float:
    """Return the mean accuracy of images moved by `shift` pixels in four directions."""
    images, labels = test[0][:5000], test[1][:5000]
    empty = images.min()
    right = []
    for rows, columns in {(shift, 0), (-shift, 0), (0, shift), (0, -shift)}:
        moved = np.full_like(images, empty)
        to, of = (slice(max(rows, 0), 28 + min(rows, 0)), slice(max(-rows, 0), 28 - max(rows, 0)))
        across = slice(max(columns, 0), 28 + min(columns, 0))
        from_ = slice(max(-columns, 0), 28 - max(columns, 0))
        moved[:, to, across] = images[:, of, from_]
        right.append(np.mean(model.predict(moved, 200, verbose=0).argmax(1) == labels))
    return float(np.mean(right))


def _fit(model: keras.Model, part: Part, epochs: int) -> float:
    """Train; return the seconds of the fastest epoch, the first of which also compiles."""
    ends = [time.perf_counter()]
    clock = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter())
    )
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    model.fit(*part, batch_size=64, epochs=epochs, verbose=0, callbacks=[clock])
    return float(np.diff(ends).min())


def _normalized(part: Part) -> Part:
    return (part[0] / 127.5 - 1).astype("float32"), part[1]


def _page(depth: Any, width: Any, shifts: Any) -> list[str]:
    return [
        "| training loss | 20 layers | 56 layers |",
        "|---|---|---|",
        *(
            f"| {name} | {depth[key, 20]:.3f} | {depth[key, 56]:.3f} |"
            for name, key in (('plain (`shortcut="none"`)', "none"), ("residual", "pad"))
        ),
        "",
        "| Wide ResNet | weights | images per second in training | test |",
        "|---|---|---|---|",
        *(
            f"| {name} | {weights:,} | {speed:,.0f} | {right:.1%} |"
            for name, (weights, speed, right) in width.items()
        ),
        "",
        f"| shifted by | {' | '.join(f'{shift} pixels' for shift in SHIFTS)} |",
        f"|---|{'---|' * len(SHIFTS)}",
        *(
            f"| {name} | {' | '.join(f'{shifts[key, shift]:.1%}' for shift in SHIFTS)} |"
            for name, key in (("Flatten and Dense", "flatten"), ("average and Dense", "average"))
        ),
    ]
