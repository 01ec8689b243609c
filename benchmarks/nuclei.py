"""Nuclei that touch, in one image: the objects that are found, with U-Net's weights and without.

The example image of stardist (512x512, 125 nuclei outlined by hand, of the Data Science Bowl 2018).
A network is trained on the left part and tested on the right one; 16 columns between them are left
out. It is one image of one microscope: the figures say which method is better here, and not how
well other images of nuclei are segmented.
"""

from __future__ import annotations

import io
import time
import zipfile

import keras
import numpy as np
from _figures import Figure
from data import pip_package
from PIL import Image

import keras_dlcourse as kd

TRAIN, TEST = np.s_[:, :248], np.s_[:, 264:]
SIDE, CROPS, EPOCHS, BATCH = 96, 320, 8, 16
SPACING, SMALLEST = 5, 20
RATE = 2e-3


def measure() -> list[Figure]:
    image, nuclei = read()
    weights = kd.losses.boundary_weights(gaps(nuclei[TRAIN]))
    plain = np.ones_like(weights)
    began = time.process_time()
    weighted, unweighted = (score(train(image, nuclei, one), image, nuclei)
                            for one in (weights, plain))  # fmt: skip
    seconds = time.process_time() - began
    threshold = best_threshold(image, nuclei)
    rule = count(image >= threshold, nuclei)
    ideal = count(nuclei > 0, nuclei)
    return [
        Figure("F1 at IoU 0.5 of nuclei in the other part of the image", weighted.f1, "",
               float("inf"), detail=f"one image; {_say(weighted)}"),
        Figure("the same without weights of borders", unweighted.f1, "", float("inf"),
               detail=_say(unweighted)),
        Figure("the same of a threshold of brightness", rule.f1, "", float("inf"),
               detail=f"the best one for the pixels of the training part; {_say(rule)}"),
        Figure("the same of the true mask of all nuclei", ideal.f1, "", float("inf"),
               detail=f"what splitting alone loses; {_say(ideal)}"),
        Figure("processor time of training both", seconds, "s", float("inf")),
    ]  # fmt: skip


def read() -> tuple[np.ndarray, np.ndarray]:
    """Return the image, scaled to about 0 to 1, and the number of the nucleus at each pixel."""
    with zipfile.ZipFile(pip_package("stardist==0.9.2")) as wheel:
        image, nuclei = (
            np.asarray(Image.open(io.BytesIO(wheel.read(f"stardist/data/images/{name}2d.tif"))))
            for name in ("img", "mask")
        )
    low, high = np.percentile(image[TRAIN], [1, 99.8])
    return ((image - low) / (high - low)).astype("float32"), nuclei.astype("int32")


def gaps(nuclei: np.ndarray) -> np.ndarray:
    """Return the numbers without the pixels that touch another nucleus."""
    touching = np.zeros(nuclei.shape, bool)
    for axis in (0, 1):
        for shift in (1, -1):
            beside = np.roll(nuclei, shift, axis)
            touching |= (beside > 0) & (beside != nuclei)
    return np.where(touching, 0, nuclei)


def train(image: np.ndarray, nuclei: np.ndarray, weights: np.ndarray) -> keras.Model:
    """Return a network trained on turned and mirrored crops of the left part."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    whole = np.stack([image[TRAIN], gaps(nuclei[TRAIN]) > 0, weights], axis=-1)
    model = network((SIDE, SIDE, 1))
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(RATE, EPOCHS * CROPS // BATCH)
        ),
        kd.losses.PixelCrossentropy(),
    )
    for _ in range(EPOCHS):
        crops = []
        for _ in range(CROPS):
            top, left = (rng.integers(0, size - SIDE + 1) for size in whole.shape[:2])
            crop = np.rot90(whole[top : top + SIDE, left : left + SIDE], rng.integers(4))
            crop = crop[:, ::-1] if rng.random() < 0.5 else crop
            crops.append(crop * [rng.uniform(0.6, 1.4), 1, 1])
        x, y, w = np.moveaxis(np.array(crops, "float32"), -1, 0)
        model.fit(x[..., None], y.astype("int32"), BATCH, sample_weight=w, verbose=0)
    return model


def network(shape: tuple[int | None, int | None, int]) -> keras.Model:
    return kd.models.UNet(shape, "plain", 1, alpha=0.125)


def score(model: keras.Model, image: np.ndarray, nuclei: np.ndarray) -> kd.metrics.InstanceScores:
    whole = network((None, None, 1))
    whole.set_weights(model.get_weights())
    probabilities = np.asarray(whole(image[None, ..., None], training=False))[0, ..., 0]
    return count(probabilities, nuclei)


def count(interior: np.ndarray, nuclei: np.ndarray) -> kd.metrics.InstanceScores:
    """Return how many nuclei of the right part are found."""
    found = kd.data.separate_instances(interior[TEST], spacing=SPACING, smallest=SMALLEST)
    return kd.metrics.instance_scores(nuclei[TEST][None], found[None])


def best_threshold(image: np.ndarray, nuclei: np.ndarray) -> float:
    """Return the brightness that separates nuclei from background best in the left part."""
    true = nuclei[TRAIN] > 0

    def iou(threshold: float) -> float:
        found = image[TRAIN] >= threshold
        return (found & true).sum() / (found | true).sum()

    return max(np.linspace(0, 1, 101).tolist(), key=iou)


def _say(scores: kd.metrics.InstanceScores) -> str:
    return (
        f"{scores.found} found, {scores.missed} missed, {scores.invented} that are none; mean IoU "
        f"of those found {scores.mean_iou:.2f}"
    )
