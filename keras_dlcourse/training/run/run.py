"""A run: from images to a folder with a trained, exported, verified and described model.

The functions are in the order in which the run calls them.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import keras

from keras_dlcourse import callbacks, export, models
from keras_dlcourse._extras import require
from keras_dlcourse._version import __version__
from keras_dlcourse.data import Dataset
from keras_dlcourse.explain.methods import method_for
from keras_dlcourse.export.conversion.calibration import MINIMUM
from keras_dlcourse.report import write_run_page
from keras_dlcourse.saving.checkpoints import CheckpointFolder
from keras_dlcourse.training.run.checks import check_dataset
from keras_dlcourse.training.run.evidence import Evidence
from keras_dlcourse.training.run.history import HistoryFile
from keras_dlcourse.training.run.narration import Narrator, fit_verbosity
from keras_dlcourse.training.run.recipe import Recipe, warmup_cosine
from keras_dlcourse.training.run.run_folder import RunFolder, check_free

QUANTIZATIONS = ("float32", "int8")
SAVE_EVERY = 500  # batches, or one epoch if that is shorter
MAP_PICTURES = 4  # per run, evenly spread over its epochs


@dataclass(frozen=True)
class Run:
    """The result of a run.

    Attributes:
        folder: The folder of the run.
        model: The Keras model with the weights of the best epoch.
        results: The content of `results.json`.
    """

    folder: RunFolder
    model: keras.Model = field(repr=False)
    results: dict[str, Any]

    @property
    def interrupted(self) -> bool:
        """Whether training was stopped by Ctrl-C; if so, nothing was exported."""
        return bool(self.results["interrupted"])

    @property
    def accuracy(self) -> float:
        """Accuracy of the Keras model on the test part."""
        return float(self.results["test"]["accuracy"])


def run(
    data: Dataset,
    output: str | os.PathLike[str],
    recipe: Recipe | None = None,
    say: Callable[[str], None] | None = None,
    resume: bool = False,
) -> Run:
    """Train a model on a data set, export it, verify the files and write a report.

    The weights of the epoch with the best validation accuracy are kept. The reported accuracy is
    measured on the test part, which is not used to choose anything. Everything is checked before
    training starts. Ctrl-C during training keeps the best weights and leaves a valid folder,
    without exports.

    In the end, the folder holds `config.json`, `history.csv`, `results.json`, `model.keras` with
    its SHA-256 in `checkpoints.json`, `model.float32.tflite`, `model.int8.tflite`, `report.html`
    and figures in `maps/`. Until then it has `backup/`, from which a run that was killed, or
    stopped by Ctrl-C, can continue with `resume=True`; it ends with exactly the same weights.

    Args:
        data: The data set, e.g. from `kd.data.load` or `kd.data.image_folder`.
        output: The folder to create; it must not exist or must be empty. With `resume`, the folder
            of the run to resume.
        recipe: The model and how it is trained. With `resume`, None or the recipe of that run.
        say: Called with one line of text at each step; by default the lines are printed.
        resume: Whether to continue an interrupted run.

    Returns:
        A `Run`.

    Raises:
        FileExistsError: If the folder is not empty.
        FileNotFoundError: If there is no run to resume.
        OSError: If the folder cannot be written to, or the disk is full.
        ValueError: If the data or the recipe are unsuitable, or differ from those of the run to
            resume.

    Example:
        >>> data = kd.data.image_folder("photos/")  # doctest: +SKIP
        >>> kd.training.run(data, "runs/photos", Recipe(alpha=0.35)).accuracy  # doctest: +SKIP
        0.93
    """
    if resume:
        recipe = recipe_of(output, recipe)
    recipe = Recipe() if recipe is None else recipe
    say = Narrator() if say is None else say
    require("the export of a run", "tensorflow", "ai_edge_litert", "flatbuffers")
    if not resume:
        check_free(output)
    check_dataset(data)
    model = build_model(data, recipe)
    folder = RunFolder(output, resume)
    folder.require_space(estimate_space(model))
    description = describe_run(data, recipe, model)
    if resume:
        check_same_run(folder, description, say)
    else:
        folder.write_json(folder.config, description)

    say(f"Training {recipe.model} for {recipe.epochs} epochs; all results go to {folder.path}")
    training = fit_model(model, data, recipe, folder)
    save_model(model, folder)
    say(f"Testing on the {len(data.test.x):,} held-out images")
    evidence = Evidence.collect(model, data)
    results = finish(folder, training, evidence, files=[])
    if training.interrupted:
        say(
            f"Interrupted: the best weights so far are in {folder.model}. "
            f"{describe_export(folder)} To continue training, run the same command with --resume."
        )
        return Run(folder, model, results)

    files = export_model(model, data, folder, say)
    results = finish(folder, training, evidence, files)
    CheckpointFolder(folder.backup).remove()
    say(f"Done: {evidence.accuracy:.1%} on the test images. Report: {folder.report}")
    return Run(folder, model, results)


def recipe_of(output: str | os.PathLike[str], wanted: Recipe | None = None) -> Recipe:
    """Return the recipe of a run to resume.

    Raises:
        FileNotFoundError: If there is no such run.
        ValueError: If `wanted` differs from it.
    """
    config = json.loads(RunFolder(output, resume=True).config.read_text(encoding="utf-8"))
    recipe = Recipe(**{name: config[name] for name in Recipe.__dataclass_fields__})
    if wanted is not None and wanted != recipe:
        name = next(n for n in Recipe.__dataclass_fields__ if config[n] != getattr(wanted, n))
        raise ValueError(
            f"{name} must be {config[name]!r}, as in the run in {output}. Received: "
            f"{getattr(wanted, name)!r}. Start a new run to change it."
        )
    return recipe


def image_size_of(output: str | os.PathLike[str]) -> tuple[int, int]:
    """Return the height and width of the images of a run to resume."""
    height, width, _ = json.loads(
        RunFolder(output, resume=True).config.read_text(encoding="utf-8")
    )["input_shape"]
    return height, width


def check_same_run(
    folder: RunFolder, description: dict[str, Any], say: Callable[[str], None]
) -> None:
    """Raise ValueError if a run cannot be resumed: it is complete, or the data differ."""
    if not folder.backup.exists() and folder.results.exists():
        raise ValueError(f"the run in {folder.path} is complete; there is nothing to resume.")
    before = json.loads(folder.config.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(description))
    for name in ("input_shape", "parameters", "data"):
        if before[name] != now[name]:
            raise ValueError(
                f"the data differ from those of the run in {folder.path}: {name} was "
                f"{before[name]}, now it is {now[name]}."
            )
    if before["versions"] != now["versions"]:
        say(f"The run was started with other versions ({before['versions']}): results may differ")


def build_model(data: Dataset, recipe: Recipe) -> keras.Model:
    """Build the model named in the recipe, for the images and classes of the data."""
    keras.utils.set_random_seed(recipe.seed)
    return models.build(
        recipe.model,
        input_shape=data.image_shape,
        alpha=recipe.alpha,
        classes=list(data.class_names),
        dropout=recipe.dropout,
        preprocessing=data.normalization,
    )


def estimate_space(model: keras.Model) -> int:
    """Estimate the bytes that a run writes: weights with optimizer state, two exports, figures."""
    return 20 * model.count_params() + 20_000_000


def describe_run(data: Dataset, recipe: Recipe, model: keras.Model) -> dict[str, Any]:
    """Return the content of `config.json`: everything needed to repeat the run."""
    parts = {part: len(getattr(data, part).x) for part in ("train", "validation", "test")}
    return {
        **asdict(recipe),
        "input_shape": list(data.image_shape),
        "parameters": model.count_params(),
        "data": {
            "name": data.name,
            "classes": list(data.class_names),
            "normalization": data.normalization.to_dict() if data.normalization else None,
            "batch_size": data.train.batch_size,
            **parts,
        },
        "started": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "versions": {
            "keras_dlcourse": __version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "python": platform.python_version(),
        },
    }


@dataclass(frozen=True)
class Training:
    """The outcome of training.

    Attributes:
        history: A list for each column of `history.csv`.
        interrupted: Whether it was stopped by Ctrl-C.
        best_epoch: Number of the epoch whose weights were kept, from 1; None if no epoch finished.
        validation_accuracy: Validation accuracy of that epoch.
        seconds: Training time.
        maps: PNG file with the class activation maps of these weights; None if no epoch finished.
    """

    history: dict[str, list[float]]
    interrupted: bool
    best_epoch: int | None
    validation_accuracy: float | None
    seconds: float
    maps: bytes | None = field(repr=False)


def fit_model(model: keras.Model, data: Dataset, recipe: Recipe, folder: RunFolder) -> Training:
    """Train, and restore the weights with the best validation accuracy."""
    steps = recipe.epochs * len(data.train)
    model.compile(
        keras.optimizers.AdamW(
            warmup_cosine(steps, recipe.learning_rate, recipe.warmup),
            weight_decay=recipe.weight_decay,
        ),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    history = HistoryFile(folder.history)
    backup = callbacks.BackupAndRestore(
        folder.backup, save_freq=min(SAVE_EVERY, len(data.train)), delete_checkpoint=False
    )
    # With a patience as long as the run, it never stops early but still keeps the best weights.
    keeper = callbacks.EarlyStopping("val_accuracy", mode="max", patience=recipe.epochs, verbose=0)
    maps = map_pictures(data, recipe, folder.maps, model)
    interrupted = False
    try:
        model.fit(
            data.train,
            validation_data=data.validation,
            epochs=recipe.epochs,
            callbacks=[history, maps, keeper, backup],
            verbose=fit_verbosity(),
        )
    except KeyboardInterrupt:
        interrupted = True
        if keeper.best_weights is not None:
            keeper.restore_best()
    best_epoch = None if keeper.best_epoch is None else keeper.best_epoch + 1
    return Training(
        history=history.columns,
        interrupted=interrupted,
        best_epoch=best_epoch,
        validation_accuracy=keeper.best,
        seconds=round(history.seconds, 1),
        maps=maps.picture(f"Weights of epoch {best_epoch}") if history.rows else None,
    )


def map_pictures(
    data: Dataset, recipe: Recipe, folder: Path, model: keras.Model
) -> callbacks.ClassActivationMaps:
    """Return the callback that draws class activation maps, by a method that fits the head."""
    every = max(1, recipe.epochs // MAP_PICTURES)
    return callbacks.ClassActivationMaps(
        data.validation, folder, every=every, method=method_for(model)
    )


def save_model(model: keras.Model, folder: RunFolder) -> None:
    """Write `model.keras` atomically, and its SHA-256 to `checkpoints.json`."""
    kept = CheckpointFolder(folder.path)
    kept.save(folder.model.name, model.save, group=folder.model.name)
    # Remove what an interrupted run left.
    kept.prune(folder.model.name, lambda models: models[-1:])


def describe_export(folder: RunFolder) -> str:
    """Return the command that exports the kept weights for a device."""
    path = folder.tflite("float32")
    return f"To export them: keras-dlcourse export {folder.model} -o {path}"


def export_model(
    model: keras.Model, data: Dataset, folder: RunFolder, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Write the `.tflite` files and compare each with Keras on the test part."""
    rows: list[dict[str, Any]] = []
    for quantization in QUANTIZATIONS:
        if quantization == "int8" and len(data.train.x) < MINIMUM:
            say(f"No int8 file: calibration needs at least {MINIMUM} training images")
            continue
        say(f"Exporting and verifying {folder.tflite(quantization).name}")
        result = export.to_tflite(
            model,
            folder.tflite(quantization),
            quantization=quantization,
            calibration=data.train if quantization == "int8" else None,
            labels=data.class_names,
            preprocessing=data.normalization,
        )
        verification = export.verify(model, result, data.test)
        # A run is worth keeping even if a file fails; the report shows the verdict, too.
        loud = "" if verification.passed else "WARNING: "
        say(f"{loud}{result.path.name} {verification.verdict}")
        rows = rows or [keras_row(verification, folder)]
        figures = verification.to_dict()
        del figures["path"]  # the folder may be moved
        rows.append({"file": result.path.name, **figures})
    return rows


def keras_row(verification: export.Verification, folder: RunFolder) -> dict[str, Any]:
    """Return the row for the Keras model in the table of files."""
    return {
        "file": folder.model.name,
        "quantization": "Keras",
        "bytes": verification.keras_bytes,
        "accuracy": verification.keras_accuracy,
        "latency_ms": verification.keras_latency_ms,
    }


def finish(
    folder: RunFolder,
    training: Training,
    evidence: Evidence,
    files: list[dict[str, Any]],
    seconds: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Write `results.json` and `report.html`, and return the results."""
    results = {
        "interrupted": training.interrupted,
        "epochs": len(training.history.get("loss", [])),
        "best_epoch": training.best_epoch,
        "validation_accuracy": training.validation_accuracy,
        **evidence.to_dict(),
        "files": files,
        "seconds": {"training": training.seconds, **(seconds or {})},
    }
    folder.write_json(folder.results, results)
    write_run_page(
        folder.report,
        json.loads(folder.config.read_text(encoding="utf-8")),
        training.history,
        results,
        maps=training.maps,
        mistakes=evidence.mistakes,
        class_means=evidence.class_means,
        curves=evidence.curves,
    )
    return results
