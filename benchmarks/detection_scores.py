"""COCO's 12 numbers beside pycocotools: difference, time and memory, up to 5,000 images.

Needs `pip install pycocotools`. Times are of processor time, since both compute in one thread; what
pycocotools takes to index its files is not counted.
"""

from __future__ import annotations

import contextlib
import io
import time
import tracemalloc
from collections.abc import Iterator
from functools import partial

import numpy as np
from _figures import Figure, ratio
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_dlcourse.metrics import MeanAveragePrecision
from keras_dlcourse.metrics._detection_scores import MEASURES

SIDE, CLASSES, BATCH = 400, 8, 100
FEW, MANY = 300, 5000
ROUNDS = 5


def measure() -> list[Figure]:
    true, found = _scene(FEW)
    figures = [
        _apart(true, found),
        _times(true, found, FEW, ROUNDS),
    ]
    true, found = _scene(MANY)
    return [*figures, _times(true, found, MANY, 1), _memory(true, found)]


def _scene(images: int) -> tuple[dict, dict]:
    """Return objects with crowds, and detections near them and elsewhere, with tied scores."""
    random = np.random.default_rng(images)
    true = {name: [] for name in ("boxes", "labels", "iscrowd")}
    found = {name: [] for name in ("boxes", "labels", "scores")}
    for image in range(images):
        count = random.integers(0, 15)
        boxes = np.concatenate(
            [random.uniform(0, SIDE / 2, (count, 2)), random.uniform(4, SIDE / 2, (count, 2))], 1
        )
        labels = random.integers(0, CLASSES, count)
        times = random.integers(0, 4, count)
        near = np.repeat(boxes, times, axis=0) * random.uniform(0.9, 1.1, (times.sum(), 4))
        # In some images there are more than 100 of one class.
        noise = random.uniform(4, SIDE / 2, (200 if image % 50 == 0 else random.integers(0, 30), 4))
        other = random.integers(0, 1 if image % 50 == 0 else CLASSES, len(noise))
        true["boxes"].append(boxes)
        true["labels"].append(labels)
        true["iscrowd"].append((random.random(count) < 0.05).astype(int))
        found["boxes"].append(np.concatenate([near, noise]))
        found["labels"].append(np.concatenate([np.repeat(labels, times), other]))
        found["scores"].append(random.integers(1, 500, len(found["boxes"][-1])) / 500)
    return true, found


def _batches(true: dict, found: dict) -> Iterator[tuple[dict, dict]]:
    for begin in range(0, len(true["boxes"]), BATCH):
        part = slice(begin, begin + BATCH)
        yield tuple({name: values[part] for name, values in each.items()} for each in (true, found))


def _ours(true: dict, found: dict) -> np.ndarray:
    metric = MeanAveragePrecision("xywh")
    for batch in _batches(true, found):
        metric.update_state(*batch)
    scores = metric.scores()
    return np.array([getattr(scores, name) for name in MEASURES])


def _as_coco(true: dict, found: dict) -> tuple[dict, np.ndarray]:
    """Return what pycocotools reads from its files: annotations, and rows of detections."""
    annotations = [
        {"image_id": image, "category_id": int(label), "bbox": box.tolist(),
         "area": float(box[2] * box[3]), "iscrowd": int(crowd)}
        for image, each in enumerate(zip(*true.values(), strict=True))
        for box, label, crowd in zip(*each, strict=True)
    ]  # fmt: skip
    for number, each in enumerate(annotations):
        each["id"] = number + 1
    rows = [
        np.concatenate([np.full((len(box), 1), image), box, score[:, None], label[:, None]], axis=1)
        for image, (box, label, score) in enumerate(zip(*found.values(), strict=True))
    ]
    images = [{"id": image} for image in range(len(rows))]
    classes = [{"id": number} for number in range(CLASSES)]
    data = {"images": images, "categories": classes, "annotations": annotations}
    return data, np.concatenate(rows)


def _read(data: dict, rows: np.ndarray) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = data
        coco.createIndex()
        return COCOeval(coco, coco.loadRes(rows), "bbox")


def _peer(evaluation: COCOeval) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def _apart(true: dict, found: dict) -> Figure:
    ours, peer = _ours(true, found), _peer(_read(*_as_coco(true, found)))
    apart = float(np.abs(np.nan_to_num(ours, nan=-1) - peer).max())
    detail = f"mAP {ours[0]:.4f}"
    return Figure("largest difference of COCO's 12 numbers to pycocotools", apart, "", 1e-12,
                  detail=detail)  # fmt: skip


def _times(true: dict, found: dict, images: int, rounds: int) -> Figure:
    data, rows = _as_coco(true, found)
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        evaluation = _read(data, rows)
        for function, times in zip(
            (partial(_ours, true, found), partial(_peer, evaluation)), spent, strict=True
        ):
            started = time.process_time()
            function()
            times.append(time.process_time() - started)
    ours, peer = map(np.median, spent)
    what = f"COCO's 12 numbers of {images:,} images, {len(rows):,} detections, against pycocotools"
    return ratio(what, float(ours), float(peer), 1.0)


def _memory(true: dict, found: dict) -> Figure:
    """Peak memory, which has to grow with the detections and not with pairs of boxes."""
    tracemalloc.start()
    _ours(true, found)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    count = sum(map(len, found["boxes"]))
    detail = f"{peak / count:.0f} bytes for each of {count:,} detections"
    what = f"peak memory of COCO's 12 numbers of {MANY:,} images"
    return Figure(what, peak / 2**20, "MB", 100, detail=detail)
