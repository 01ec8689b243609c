"""Repair an int8 file that is clearly worse than its Keras model, one step after another."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_dlcourse import export, quantize
from keras_dlcourse._files import write_atomically, write_bytes
from keras_dlcourse.callbacks import EarlyStopping
from keras_dlcourse.data import Pipeline
from keras_dlcourse.data.pipeline import rebuild
from keras_dlcourse.layers.compression.fake_quantize import is_quantized
from keras_dlcourse.training.progress import fit_with_progress
from keras_dlcourse.training.run.recipe import Recipe, chosen
from keras_dlcourse.training.run.run_folder import RunFolder
from keras_dlcourse.training.run.task import Task
from keras_dlcourse.training.run.verdict import LARGEST_LOSS, LEAST_AGREEMENT, LOSSES, find_loss
from keras_dlcourse.training.schedules import warmup_cosine

QUANTIZATION = "int8"
FEWEST, MOST = 500, 1_000  # images that decide whether a step is kept
SHARE, LEAST_STEPS = 0.1, 200  # of the steps of training, and at least so many
RATE = 0.1  # of the learning rate of training


@dataclass(frozen=True)
class _Job:
    """What is repaired, and with what."""

    model: keras.Model
    data: Any
    task: Task
    recipe: Recipe
    calibration: Any
    options: Mapping[str, Any]


@dataclass(frozen=True)
class _File:
    """A file that was tried.

    Attributes:
        content: Its bytes.
        chosen: The comparison with Keras on the images that decide.
        test: The same on the test part.
    """

    content: bytes
    chosen: export.Verification
    test: export.Verification


def repair_file(
    model: keras.Model,
    data: Any,
    recipe: Recipe,
    task: Task,
    calibration: Any,
    options: Mapping[str, Any],
    folder: RunFolder,
    before: export.Verification,
    say: Callable[[str], None],
) -> tuple[export.Verification, list[dict[str, Any]]]:
    """Repair the int8 file of a run if it loses too much; else do nothing.

    The steps are bias correction, cross-layer equalization, and quantization-aware training. What
    is repaired, and which step is kept because it brings the file closer to Keras, is decided on
    validation images, filled up with training images if these are few. The test part decides
    nothing; it shows what each step brought. The Keras model is not changed; a copy trained in
    integers that is kept is written beside the file, to `folder.trained_in_integers`.

    Args:
        model: The trained Keras model, compiled.
        data: The data of the run.
        recipe: How it was trained.
        task: What the run trained for.
        calibration: What the file was calibrated on.
        options: The other arguments of `to_tflite` that it was made with.
        folder: The folder of the run, with the file.
        before: The comparison of the file with Keras on the test part.
        say: Called with one line of text for each step.

    Returns:
        The comparison of the file that is in the folder now, and for each step its name (`"step"`),
        whether it was kept (`"kept"`), and the agreement and accuracy, and of masks the mean IoU,
        on the test part `"before"` and `"after"` it, or why it is not possible (`"problem"`).
    """
    job = _Job(model, data, task, recipe, calibration, options)
    path = folder.tflite(QUANTIZATION)
    images = _choose_images(data)
    best = _File(path.read_bytes(), _verify(job, path, images), before)
    if not find_shortfall(best.chosen):
        return before, []
    say(f"Repairing {path.name}: {_describe_loss(best.chosen)} on validation images")
    kept: list[str] = []
    steps: list[dict[str, Any]] = []
    for name, change in STEPS.items():
        say(f"Trying {name[0].lower()}{name[1:]}")
        step: dict[str, Any] = {"step": name, "kept": False, "before": _figures(best.test)}
        try:
            changed = change(job, kept)
            tried = _write_file(job, changed, images, path.name)
        except (TypeError, ValueError, export.ExportError) as error:  # not for every network
            steps.append(step | {"problem": str(error)})
            say(f"{name} is not possible: {error}")
            continue
        step["kept"] = _rank(tried.chosen) < _rank(best.chosen)
        steps.append(step | {"after": _figures(tried.test)})
        outcome = "kept" if step["kept"] else "not kept"
        say(f"{name}: {_describe_change(best.chosen, tried.chosen)}; {outcome}")
        if step["kept"]:
            best = tried
            kept.append(name)
            write_bytes(path, best.content)
            if is_quantized(changed):
                with write_atomically(folder.trained_in_integers) as temporary:
                    changed.save(temporary)
        if not find_shortfall(best.chosen):
            break
    return replace(best.test, path=path), steps


def find_shortfall(verification: export.Verification) -> float:
    """Return by how much a file loses more, and agrees less, than is allowed."""
    agreement = verification.agreement
    losses = [getattr(verification, name) for name in LOSSES]
    too_much = sum(max(0.0, loss - LARGEST_LOSS) for loss in losses if loss is not None)
    too_little = 0.0 if agreement is None else max(0.0, LEAST_AGREEMENT - agreement)
    return too_much + too_little


# What is said of a file: figures of `verify`, and their names.
_NAMED = (("agreement", "agreement with Keras"), ("accuracy", "accuracy"), ("iou", "mean IoU"))


def _rank(verification: export.Verification) -> tuple[float, float]:
    """Return what is smaller for a better file: first what is judged, then the finer measure."""
    error = verification.mean_error
    return find_shortfall(verification), math.inf if error is None else error


def _figures(verification: export.Verification) -> dict[str, float | None]:
    known = {name: getattr(verification, name) for name, _ in _NAMED}
    if known["iou"] is None:  # only masks have one
        del known["iou"]
    return known


def _describe_loss(verification: export.Verification) -> str:
    if (loss := find_loss({name: getattr(verification, name) for name in LOSSES})) is not None:
        return f"it loses {loss}"
    return f"it gives the same answer as Keras for only {verification.agreement:.1%}"


def _describe_change(before: export.Verification, after: export.Verification) -> str:
    pairs = ((title, getattr(before, name), getattr(after, name)) for name, title in _NAMED)
    return ", ".join(
        f"{title} from {old:.1%} to {new:.1%}"
        for title, old, new in pairs
        if old is not None and new is not None
    )


def _choose_images(data: Any) -> Any:
    """Return validation images, filled up with training images if these are few."""
    train, validation = data.train, data.validation
    for part in (train, validation):
        if not isinstance(part, Pipeline) or not isinstance(part.y, np.ndarray):
            return validation
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(validation.examples)[:MOST]]
    chosen.append(rng.permutation(train.examples)[: max(0, FEWEST - len(chosen[0]))])
    parts = list(zip((validation, train), chosen, strict=True))
    return rebuild(
        validation,
        x=np.concatenate([part.x[rows] for part, rows in parts]),
        y=np.concatenate([part.y[rows] for part, rows in parts]),
        sample_weight=None,
    )


def _write_file(job: _Job, model: keras.Model, images: Any, name: str) -> _File:
    """Write a file of a changed copy of the model, and compare it with the model itself."""
    with tempfile.TemporaryDirectory(prefix="keras_dlcourse-") as folder:
        with warnings.catch_warnings():  # the first export has said which layers are in float
            warnings.filterwarnings("ignore", message=".* is not all integer")
            result = export.to_tflite(
                model,
                Path(folder) / name,
                quantization=QUANTIZATION,
                calibration=None if is_quantized(model) else job.calibration,
                **job.options,
            )
        chosen, test = (_verify(job, result.path, one) for one in (images, job.data.test))
        return _File(result.path.read_bytes(), chosen, test)


def _verify(job: _Job, path: Path, data: Any) -> export.Verification:
    """Compare a file with the model that its own model is a copy of."""
    found = export.verify(job.model, path, data, limit=job.task.most_compared(job.data))
    if found.cause is None or not found.cause.startswith("other weights"):
        return found
    return replace(found, cause="8-bit rounding: run kd.quantize.diagnose(model, file, data)")


BIAS, EQUALIZE, QAT = "Bias correction", "Cross-layer equalization", "Quantization-aware training"


def _correct_bias(job: _Job, kept: list[str]) -> keras.Model:
    return quantize.correct_bias(job.model, job.calibration)


def _equalize(job: _Job, kept: list[str]) -> keras.Model:
    """Equalize, and correct the biases of the result if that was kept."""
    equalized = quantize.equalize(job.model)
    return quantize.correct_bias(equalized, job.calibration) if BIAS in kept else equalized


def _train_in_integers(job: _Job, kept: list[str]) -> keras.Model:
    """Train a copy for some epochs, augmented as the model was, and keep its best weights."""
    train = job.task.fit_data(job.data, job.recipe)
    steps = max(LEAST_STEPS, round(SHARE * int(job.model.optimizer.iterations)))
    epochs = math.ceil(steps / len(train))
    keras.utils.set_random_seed(job.recipe.seed)
    base = quantize.equalize(job.model) if EQUALIZE in kept else job.model
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*stays? in float")  # as for the first file
        aware = quantize.quantization_aware(base)
    rate = warmup_cosine(epochs * len(train), RATE * chosen(job.recipe.learning_rate))
    trained = job.task.add_augmentation(aware, job.task.augmentation(job.data, job.recipe))
    trained.compile(keras.optimizers.Adam(rate), **job.task.compile_options(job.data, job.recipe))
    keeper = EarlyStopping(f"val_{job.task.metric}", mode=job.task.mode, patience=epochs, verbose=0)
    fit_with_progress(
        trained, train, validation_data=job.data.validation, epochs=epochs, callbacks=[keeper]
    )
    return aware


STEPS: dict[str, Callable[[_Job, list[str]], keras.Model]] = {
    BIAS: _correct_bias,
    EQUALIZE: _equalize,
    QAT: _train_in_integers,
}
