"""Class, box and keypoints of one object: alpha, joint against separate, float against integers.

Photographed birds, flowers, fruits and mammals cut out and put on photographs (`data.cutouts`,
`data.photographs`): composed scenes, 64 x 64, whose boxes are exact. Training, validation and test
share neither a cut-out nor a photograph. Keypoints are the outermost points of the cut-outs: left,
top, right, bottom before they are turned. One small network from scratch, one budget for all.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from _figures import Figure
from data import cutouts, photographs
from keras import layers as L

import keras_dlcourse as kd

SEEDS = tuple(range(int(os.environ.get("KD_SEEDS", "3"))))
EPOCHS = int(os.environ.get("KD_EPOCHS", "8"))
SIDE, COUNTS, FORMAT = 64, (6000, 1000, 1000), "rel_center_xywh"
ALPHAS = (0.02, 0.1, 0.3, 0.7, "learned")
NAMES = ("left", "top", "right", "bottom")


@dataclass
class Part:
    """Scenes and what is true of them, as a network takes it."""

    x: np.ndarray
    y: dict[str, np.ndarray]
    pixels: np.ndarray


def measure() -> list[Figure]:
    parts, normalization = scenes()
    figures, chosen = [], {}
    for alpha in ALPHAS:
        rows = [_joint(parts, alpha, seed)[1] for seed in SEEDS]
        chosen[alpha] = statistics.mean(row["validation"] for row in rows)
        figures += _spread(f"alpha {alpha}", [row["test"] for row in rows])
        print(alpha, chosen[alpha], rows[0]["test"], flush=True)
    best = max(chosen, key=lambda alpha: chosen[alpha])
    figures.append(
        Figure("alpha chosen on validation", 0.0 if best == "learned" else best, "", -math.inf,
               False, f"{best}: by the share of images with class and box right")
    )  # fmt: skip
    separate = [_separate(parts, seed) for seed in SEEDS]
    figures += _spread("two separate networks, twice the parameters", separate)
    apart, tuned = zip(*(_transfer(parts, best, seed) for seed in SEEDS), strict=True)
    figures += _spread("frozen classifier, heads trained apart", apart)
    figures += _spread("then both tuned together", tuned)
    return figures + _in_integers(parts, normalization)


def scenes() -> tuple[list[Part], kd.data.Normalization]:
    """Return training, validation and test, and the normalization of the first."""
    objects, labels, _ = cutouts()
    photos = photographs()
    sources = kd.data.split_sources(labels, len(photos), (0.2, 0.2))
    composed = [
        kd.data.compose_scenes(
            [objects[k] for k in some], labels[some], [photos[k] for k in behind], count,
            (SIDE, SIDE), scale=(0.4, 0.9), seed=number,
            keypoints=[_outermost(objects[k]) for k in some], flip_pairs=[(0, 2)],
        )
        for number, (count, (some, behind)) in enumerate(zip(COUNTS, sources, strict=True))
    ]  # fmt: skip
    normalization = kd.data.Normalization.fit(composed[0].images)
    return [_part(each, normalization) for each in composed], normalization


def _outermost(cutout: np.ndarray) -> list[tuple[float, float]]:
    rows, columns = np.nonzero(cutout[..., 3] >= 128)
    found = columns.argmin(), rows.argmin(), columns.argmax(), rows.argmax()
    return [(columns[k] + 0.5, rows[k] + 0.5) for k in found]


def _part(composed: kd.data.Scenes, normalization: kd.data.Normalization) -> Part:
    boxes = composed.boxes[:, 0]
    y = {
        "label": composed.labels[:, 0],
        "box": kd.data.convert_boxes(boxes, "xyxy", FORMAT, SIDE, SIDE),
        "keypoints": kd.data.keypoints_to_box(composed.keypoints[:, 0], boxes),
    }
    return Part(np.asarray(normalization(composed.images), "float32"), y, composed.images)


def network(seed: int) -> keras.Model:
    """Return a small backbone that ends in maps of 8 x 8."""
    keras.utils.set_random_seed(seed)
    given = x = keras.Input((SIDE, SIDE, 3))
    for filters, strides in ((16, 2), (32, 2), (64, 2), (96, 1)):
        x = L.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        x = L.ReLU(6.0)(L.BatchNormalization(momentum=0.9)(x))
    return keras.Model(given, x)


LOSSES: dict[str, Any] = {
    "label": "sparse_categorical_crossentropy",
    "box": kd.losses.SmoothL1Loss(),
    "keypoints": kd.losses.KeypointLoss(),
}


def fitted(model: keras.Model, train: Part, alpha: Any, epochs: int = EPOCHS) -> keras.Model:
    """Train a model in place on the tasks that it has outputs for."""
    tasks = {task: LOSSES[task] for task in LOSSES if task in model.output}
    if len(tasks) == 1:
        alpha = dict.fromkeys(tasks, 1.0)
    trainer = kd.models.MultitaskModel(model, kd.losses.MultitaskLoss(tasks, alpha))
    steps = epochs * math.ceil(len(train.x) / 64)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    trainer.compile(keras.optimizers.Adam(rate))
    y = {task: train.y[task] for task in tasks}
    trainer.fit(train.x, y, batch_size=64, epochs=epochs, verbose=0)
    return model


def judged(found: dict[str, np.ndarray], part: Part) -> dict[str, float]:
    """Return what is right of a model's answers, by name."""
    measures = {
        "class": keras.metrics.SparseCategoricalAccuracy(),
        "mean IoU": kd.metrics.BoxIoU(FORMAT),
        "class and box right": kd.metrics.LocalizationAccuracy(FORMAT),
        "PCK@0.2": kd.metrics.PCK(0.2),
    }
    given = {"class": "label", "mean IoU": "box", "PCK@0.2": "keypoints"}
    result = {}
    for name, metric in measures.items():
        task = given.get(name)
        if task is None:
            metric.update_state(part.y, found)
        elif task in found:
            metric.update_state(part.y[task], found[task])
        else:
            continue
        result[name] = float(metric.result())
    return result


def _answers(model: keras.Model, part: Part) -> dict[str, np.ndarray]:
    return model.predict(part.x, batch_size=250, verbose=0)


def _joint(parts: list[Part], alpha: Any, seed: int) -> tuple[keras.Model, dict[str, Any]]:
    train, validation, test = parts
    model = fitted(kd.models.localizer(network(seed), 4), train, alpha)
    right = judged(_answers(model, validation), validation)["class and box right"]
    return model, {"validation": right, "test": judged(_answers(model, test), test)}


def _separate(parts: list[Part], seed: int) -> dict[str, float]:
    """One network for the class, another for the box."""
    train, _, test = parts
    found = {}
    for task in ("label", "box"):
        whole = kd.models.localizer(network(seed), 4)
        alone = keras.Model(whole.inputs, {task: whole.output[task]})
        found |= _answers(fitted(alone, train, None), test)
    return judged(found, test)


def _transfer(
    parts: list[Part], alpha: Any, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """A classifier first, its backbone frozen under both heads; then all trained together."""
    train, _, test = parts
    backbone = network(seed)
    whole = kd.models.localizer(backbone, 4)
    fitted(keras.Model(whole.inputs, {"label": whole.output["label"]}), train, None, EPOCHS // 2)
    backbone.trainable = False
    for task in ("label", "box"):
        alone = keras.Model(whole.inputs, {task: whole.output[task]})
        fitted(alone, train, None, EPOCHS // 4)
    apart = judged(_answers(whole, test), test)
    backbone.trainable = True
    return apart, judged(_answers(fitted(whole, train, alpha, EPOCHS // 4), test), test)


def _in_integers(parts: list[Part], normalization: kd.data.Normalization) -> list[Figure]:
    """The same measures of the device files, each output with a scale of its own, and with one."""
    train, _, test = parts
    pipeline = kd.data.pipeline(train.pixels, normalization=normalization)
    rows: dict[str, list[dict[str, float]]] = {"float32": [], "int8": []}
    together = []
    for seed in SEEDS:
        model = kd.models.localizer(network(seed), 4, keypoints=NAMES)
        fitted(model, train, {"label": 0.3, "box": 1.0, "keypoints": 0.3})
        with tempfile.TemporaryDirectory() as folder:
            for name in rows:
                path = Path(folder) / f"{name}.tflite"
                kd.export.to_tflite(model, path, quantization=name, calibration=pipeline)
                found = kd.edge.ImageClassifier(path).run(test.pixels)
                names = ("label", "box", "keypoints")
                rows[name].append(judged(dict(zip(names, found, strict=True)), test))
            together.append(_one_scale(model, pipeline, test, Path(folder) / "one.tflite"))
    figures = [figure for name in rows for figure in _spread(f"{name} file", rows[name])]
    right, iou = (
        statistics.mean(row[what] for row in rows["float32"])
        - statistics.mean(row[what] for row in rows["int8"])
        for what in ("class and box right", "mean IoU")
    )
    return [
        *figures,
        Figure("int8 loses of class and box right", 100 * right, "points", 1.0),
        Figure("int8 loses of mean IoU", iou, "", 0.01),
        *_spread("int8 with one scale for logits and box", together),
    ]


def _one_scale(
    model: keras.Model, pipeline: kd.data.Pipeline, test: Part, path: Path
) -> dict[str, float]:
    """Measure a file whose logits and box are one output, as people stick them together."""
    dense = model.get_layer("label")
    logits = L.Dense(dense.units, name="logits")
    stuck = L.Concatenate()([logits(dense.input), model.output["box"]])
    one = keras.Model(model.inputs, stuck)
    logits.set_weights(dense.get_weights())
    kd.export.to_tflite(one, path, quantization="int8", calibration=pipeline)
    found = kd.edge.ImageClassifier(path).run(test.pixels)[0]
    measured = judged({"label": found[:, :4], "box": found[:, 4:]}, test)
    return {"mean IoU": measured["mean IoU"]}


def _spread(name: str, rows: Any) -> list[Figure]:
    figures = []
    for what in rows[0]:
        values = [row[what] for row in rows]
        detail = f"{min(values):.3f} to {max(values):.3f}, {len(values)} seeds"
        figures.append(
            Figure(f"{name}: {what}", statistics.mean(values), "", -math.inf, False, detail)
        )
    return figures
