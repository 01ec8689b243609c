"""What each default of `keras-dlcourse train` brings, and what EMA, mixup and CutMix would.

100 images per class of CIFAR-10, the default recipe with one setting changed at a time, tested on
2,000 images. Each result is kept in the cache of the benchmarks; remove its file to train again.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from typing import Any

import keras
import numpy as np
from _figures import Figure
from train_command import DATA, FOLDER, write_folder

import keras_dlcourse as kd
from keras_dlcourse.cli.train import ALPHA
from keras_dlcourse.training.run.tasks import find_task
from keras_dlcourse.training.schedules import warmup_cosine

NAME = "cifar10_100_per_class"
SEEDS = range(int(os.environ.get("KD_SEEDS", "3")))
RECIPE: dict[str, dict[str, Any]] = {
    "the default recipe": {},
    "--augment none --no-flip": {"augment": "none", "flip": False},
    "--augment none --flip": {"augment": "none", "flip": True},
    "--augment strong": {"augment": "strong"},
    "label smoothing 0": {"label_smoothing": 0.0},
    "weight decay 0.01": {"weight_decay": 0.01},
    "weight decay 0.3": {"weight_decay": 0.3},
    "half the steps": {"epochs": 35},
    "a third of the rate": {"learning_rate": 7e-4},
    "dropout 0": {"dropout": 0.0},
}
EMA = {"exponential moving average of weights, 0.99": 0.99}
MIXED = {"mixup, alpha 0.2": (0.2, False), "CutMix, alpha 1": (1.0, True)}


def measure() -> list[Figure]:
    data = kd.data.image_folder(write_folder(NAME, DATA[NAME]), image_size=32)
    found = {name: [run(data, name, seed) for seed in SEEDS] for name in [*RECIPE, *EMA, *MIXED]}
    base = statistics.mean(found["the default recipe"])
    return [
        Figure(
            f"accuracy, {name}", 100 * statistics.mean(accuracies), "%", 0, False,
            f"{100 * (statistics.mean(accuracies) - base):+.1f} points; seeds "
            + ", ".join(f"{100 * accuracy:.1f}" for accuracy in accuracies),
        )
        for name, accuracies in found.items()
    ]  # fmt: skip


def run(data: kd.data.Dataset, name: str, seed: int) -> float:
    """Train one variant, unless it was, and return its accuracy on the test part."""
    kept = FOLDER / "ablation" / f"{name.replace(' ', '_')}_{seed}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        began = time.process_time()
        accuracy = train(data, name, seed)
        result = {"accuracy": accuracy, "seconds": time.process_time() - began}
        kept.write_text(json.dumps(result))
        print(f"{name}, seed {seed}: {accuracy:.1%}, {result['seconds']:.0f} s", flush=True)
    return json.loads(kept.read_text())["accuracy"]


def train(data: kd.data.Dataset, name: str, seed: int) -> float:
    """Train as `kd.training.run` does, keep the best epoch, and return the test accuracy."""
    task = find_task("classify")
    wanted = kd.training.Recipe(alpha=ALPHA, seed=seed, weights="none", **RECIPE.get(name, {}))
    recipe, _ = task.choose(data, wanted)
    keras.utils.set_random_seed(seed)
    model = task.build(data, recipe)
    batches = task.fit_data(data, recipe)
    average = {"use_ema": True, "ema_momentum": EMA[name]} if name in EMA else {}
    schedule = warmup_cosine(recipe.epochs * len(batches), recipe.learning_rate, recipe.warmup)
    trained = task.add_augmentation(model, task.augmentation(data, recipe))
    keeper = kd.callbacks.EarlyStopping(
        "val_accuracy", mode="max", patience=recipe.patience, verbose=0, prefer_last=True
    )
    swap = [keras.callbacks.SwapEMAWeights(swap_on_epoch=False)] if average else []
    options = task.compile_options(data, recipe)
    training, validation = batches, data.validation
    if name in MIXED:
        classes = len(data.class_names)
        training = Mixed(batches, classes, *MIXED[name], seed)
        validation = Mixed(data.validation, classes)
        options["loss"] = keras.losses.CategoricalCrossentropy(
            label_smoothing=recipe.label_smoothing
        )
    trained.compile(
        keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, **average), **options
    )
    trained.fit(
        training, validation_data=validation, epochs=recipe.epochs, verbose=0,
        callbacks=[*swap, keeper],
    )  # fmt: skip
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return float(model.evaluate(data.test, verbose=0)[1])


class Mixed(keras.utils.PyDataset):
    """Batches with one-hot labels, each image mixed with another of its batch.

    Zhang et al., "mixup", ICLR 2018: the weighted sum of both. Yun et al., "CutMix", ICCV 2019: a
    rectangle of the other image.
    """

    def __init__(
        self,
        batches: kd.data.Pipeline,
        classes: int,
        alpha: float = 0.0,
        cut: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.batches, self.classes, self.alpha, self.cut = batches, classes, alpha, cut
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.batches)

    def on_epoch_begin(self) -> None:
        self.batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.batches.on_epoch_end()

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = (np.asarray(part) for part in self.batches[index][:2])
        targets = np.eye(self.classes, dtype="float32")[labels]
        if not self.alpha:
            return images, targets
        share, others = self.rng.beta(self.alpha, self.alpha), self.rng.permutation(len(images))
        if self.cut:
            images, share = self._cut(images, images[others], share)
        else:
            images = (share * images + (1 - share) * images[others]).astype("float32")
        return images, (share * targets + (1 - share) * targets[others]).astype("float32")

    def _cut(
        self, images: np.ndarray, others: np.ndarray, share: float
    ) -> tuple[np.ndarray, float]:
        """Return the images with a rectangle of the others, and the share that is left of them."""
        height, width = images.shape[1:3]
        y, x = self.rng.integers(height), self.rng.integers(width)  # its center
        half = np.sqrt(1 - share) / 2
        top, bottom = (int(np.clip(y + sign * half * height, 0, height)) for sign in (-1, 1))
        left, right = (int(np.clip(x + sign * half * width, 0, width)) for sign in (-1, 1))
        images = images.copy()
        images[:, top:bottom, left:right] = others[:, top:bottom, left:right]
        return images, 1 - (bottom - top) * (right - left) / (height * width)
