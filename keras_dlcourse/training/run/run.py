"""A run: from data to a folder with a trained, exported, verified and described model.

The functions are in the order in which the run calls them. What differs from task to task, such as
the loss, is in `tasks`.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import keras

from keras_dlcourse import export
from keras_dlcourse._extras import require
from keras_dlcourse._files import check_free
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse._version import __version__
from keras_dlcourse.callbacks import BackupAndRestore, EarlyStopping
from keras_dlcourse.export.conversion.calibration import MINIMUM
from keras_dlcourse.export.conversion.schemes import find_scheme
from keras_dlcourse.export.conversion.structure import list_inputs
from keras_dlcourse.report import write_run_page
from keras_dlcourse.saving.checkpoints import CheckpointFolder
from keras_dlcourse.training.narration import Narrator
from keras_dlcourse.training.progress import fit_with_progress
from keras_dlcourse.training.run.augment import augment_pixels
from keras_dlcourse.training.run.devices import find_devices, share_evenly, spread
from keras_dlcourse.training.run.history import HistoryFile
from keras_dlcourse.training.run.machine import describe_machine, find_command
from keras_dlcourse.training.run.recipe import Recipe, chosen
from keras_dlcourse.training.run.repair import QUANTIZATION, repair_file
from keras_dlcourse.training.run.run_folder import RunFolder
from keras_dlcourse.training.run.split_record import record_split
from keras_dlcourse.training.run.task import Evidence, Task
from keras_dlcourse.training.run.tasks import find_task
from keras_dlcourse.training.run.time_limit import limit_epochs
from keras_dlcourse.training.run.verdict import judge
from keras_dlcourse.training.schedules import warmup_cosine

PARTS = ("train", "validation", "test")
SAVE_EVERY = 500  # batches, or one epoch if that is shorter
# What runs of earlier versions do not record, because there was no choice.
_EARLIER = {
    "task": "classify",
    "weights": "none",
    "augment": "none",
    "flip": False,
    "label_smoothing": 0.0,
    "patience": None,
    "batch_size": None,
    "time": None,
}


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
    def passed(self) -> bool:
        """Whether all exported files agree with the Keras model."""
        files = self.results["files"]
        return bool(files) and all(file.get("passed", True) for file in files)

    @property
    def accuracy(self) -> float:
        """Accuracy of the Keras model on the test part.

        Raises:
            AttributeError: If the task has none; `results["test"]` has what was measured.
        """
        test = self.results["test"]
        if "accuracy" not in test:
            raise AttributeError(
                "accuracy was not measured: this task has none. Use results['test'], which has: "
                f"{', '.join(test)}"
            )
        return float(test["accuracy"])


@renamed_arguments(output="folder")
def run(
    data: Any,
    folder: str | os.PathLike[str],
    recipe: Recipe | None = None,
    say: Callable[[str], None] | None = None,
    resume: bool = False,
    *,
    task: Task | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    devices: str | None = None,
) -> Run:
    """Train a model on a data set, export it, verify the files and write a report.

    The weights of the epoch with the best validation metric (for classification, the accuracy) are
    kept. The reported figures are measured on the test part, which is not used to choose anything.
    Everything is checked before training starts. Ctrl-C during training keeps the best weights and
    leaves a valid folder, without exports.

    In the end, the folder holds `config.json`, `split.json`, `history.csv`, `results.json`,
    `model.keras` with its SHA-256 in `checkpoints.json`, `model.float32.tflite`,
    `model.int8.tflite`, `report.html`, `model_card.md` and figures in `maps/`; and
    `model.int8.keras` if the int8 file was repaired by training. Until then it has `backup/`, from
    which a run that was killed, or stopped by Ctrl-C, can continue with `resume=True`; it ends with
    exactly the same weights.

    Args:
        data: The data set, e.g. from `kd.data.load` or `kd.data.image_folder`. To classify images,
            anything that `kd.data.as_dataset` accepts, such as `((x, y), (x_test, y_test))` or a
            `tf.data.Dataset`.
        folder: The folder to create; it must not exist or must be empty. With `resume`, the folder
            of the run to resume.
        recipe: The model and how it is trained. With `resume`, None or the recipe of that run.
        say: Called with one line of text at each step; by default the lines are printed.
        resume: Whether to continue an interrupted run.
        task: What to train for, if it is not one of this package; the recipe has its name. Pass it
            again to resume the run.
        callbacks: Further callbacks for `fit`. Those with a state, `state_dict` and
            `load_state_dict`, continue where they were when a run is resumed.
        devices: `"all"` trains on all GPUs of this machine (without any, on all CPU devices of the
            backend), which share each batch; on TensorFlow with `tf.distribute.MirroredStrategy`,
            on JAX with `keras.distribution.DataParallel`. None trains on one, as Keras does. The
            loss is the same to within rounding, with two exceptions: examples that fill no batch
            are left out of an epoch; and on TensorFlow, batch normalization, dropout and
            augmentation work on the share of each device. The recipe's `batch_size` is that of
            all devices together, its `time` is planned with the speed of one. Pass `devices` again
            to resume the run.

    Returns:
        A `Run`.

    Raises:
        FileExistsError: If the folder is not empty.
        FileNotFoundError: If there is no run to resume.
        OSError: If the folder cannot be written to, or the disk is full.
        ValueError: If the data or the recipe are unsuitable, or differ from those of the run to
            resume; if the backend, or this size of batches, does not allow several devices.

    Example:
        >>> data = kd.data.image_folder("photos/")  # doctest: +SKIP
        >>> kd.training.run(data, "runs/photos", Recipe(alpha=0.35)).accuracy  # doctest: +SKIP
        0.93
    """
    if resume:
        recipe = recipe_of(folder, recipe)
    elif recipe is None:
        recipe = Recipe() if task is None else Recipe(task=task.name)
    task = _choose_task(recipe, task)
    say = Narrator() if say is None else say
    require("the export of a run", "tensorflow", "ai_edge_litert", "flatbuffers")
    names = find_devices(devices, say)
    if not resume:
        check_free("folder", folder)
    data = task.convert(data)
    task.check_data(data)
    began, reasons = time.monotonic(), list[str]()
    if not resume:
        recipe, reasons = task.choose(data, recipe)
    if names:
        share_evenly(task.fit_data(data, recipe), names, keep_size=True)  # it must be possible
    model = build_model(data, recipe, task)
    if not resume and recipe.time is not None:
        left = recipe.time - (time.monotonic() - began)
        recipe, why = limit_epochs(recipe, model, data, task, left)
        reasons.append(why)
    for reason in reasons:
        say(reason)
    run_folder = RunFolder(folder, resume)
    run_folder.require_space(estimate_space(model))
    description = describe_run(data, recipe, model, task, reasons)
    if names:
        description["machine"]["devices"] = names
    if resume:
        check_same_run(run_folder, description, say)
    record_split(data, run_folder)
    if not resume:
        run_folder.write_json(run_folder.config, description)
        for line in task.summarize(data):
            say(line)

    if not CheckpointFolder(run_folder.backup).checkpoints():  # else it has the weights already
        task.prepare(model, data, recipe)
    say(f"Training {model.name} for {recipe.epochs} epochs; all results go to {run_folder.path}")
    with spread(model, names, task.compile_options(data, recipe)) as trained:
        training = fit_model(trained, data, recipe, task, run_folder, callbacks, names)
    task.record(model, data)
    save_model(model, run_folder)
    say(f"Testing on the {data.test.examples:,} held-out {task.page.example}s")
    evidence = task.evaluate(model, data)
    results = finish(run_folder, task, training, evidence, files=[])
    if training.interrupted:
        say(
            f"Interrupted: the best weights so far are in {run_folder.model}. "
            f"{describe_export(run_folder)} To continue training, run the same command with "
            "--resume."
        )
        return Run(run_folder, model, results)

    options = task.export_options(data)
    files, repair = export_model(model, data, recipe, task, options, run_folder, say)
    results = finish(run_folder, task, training, evidence, files, repair, is_complete=True)
    CheckpointFolder(run_folder.backup).remove()
    say(f"Done: {evidence.headline} on the test {task.page.example}s. Report: {run_folder.report}")
    say(f"Verdict: {results['verdict']['text']}")
    return Run(run_folder, model, results)


def recipe_of(folder: str | os.PathLike[str], wanted: Recipe | None = None) -> Recipe:
    """Return the recipe of a run to resume.

    Raises:
        FileNotFoundError: If there is no such run.
        ValueError: If `wanted` differs from it.
    """
    config = {**_EARLIER, **read_config(RunFolder(folder, resume=True))}
    recipe = Recipe(**{name: config[name] for name in Recipe.__dataclass_fields__})
    for name, value in asdict(wanted or recipe).items():
        if value not in (None, "auto", config[name]):
            raise ValueError(
                f"{name} must be {config[name]!r}, as in the run in {folder}. Received: {value!r}. "
                "Start a new run to change it."
            )
    return recipe


def input_shape_of(folder: str | os.PathLike[str]) -> tuple[int, ...]:
    """Return the shape of one example of a run to resume."""
    return tuple(read_config(RunFolder(folder, resume=True))["input_shape"])


def read_config(folder: RunFolder) -> dict[str, Any]:
    """Return the content of `config.json`."""
    config: dict[str, Any] = json.loads(folder.config.read_text(encoding="utf-8"))
    return config


def check_same_run(
    folder: RunFolder, description: dict[str, Any], say: Callable[[str], None]
) -> None:
    """Raise ValueError if a run cannot be resumed: it is complete, or the data differ."""
    if not folder.backup.exists() and folder.results.exists():
        raise ValueError(f"the run in {folder.path} is complete; there is nothing to resume.")
    before = read_config(folder)
    now = json.loads(json.dumps(description))
    for name in ("input_shape", "parameters", "data"):
        if before[name] != now[name]:
            raise ValueError(
                f"the data differ from those of the run in {folder.path}: {name} was "
                f"{before[name]}, now it is {now[name]}."
            )
    if before["versions"] != now["versions"]:
        say(f"The run was started with other versions ({before['versions']}): results may differ")


def _choose_task(recipe: Recipe, task: Task | None) -> Task:
    """Return the task of a recipe, one of this package or the given one."""
    if task is None:
        return find_task(recipe.task)
    if task.name != recipe.task:
        raise ValueError(
            f"task must be that of the recipe, {recipe.task!r}. Received: {task.name!r}"
        )
    return task


def build_model(data: Any, recipe: Recipe, task: Task | None = None) -> keras.Model:
    """Build the model of a recipe for the data."""
    keras.utils.set_random_seed(recipe.seed)
    return _choose_task(recipe, task).build(data, recipe)


def estimate_space(model: keras.Model) -> int:
    """Estimate the bytes that a run writes: weights with optimizer state, two exports, figures."""
    return 20 * model.count_params() + 20_000_000


def describe_run(
    data: Any, recipe: Recipe, model: keras.Model, task: Task, reasons: Sequence[str]
) -> dict[str, Any]:
    """Return the content of `config.json`: everything needed to repeat the run."""
    shapes = [list(one.shape) for one in list_inputs(model)]
    return {
        **asdict(recipe),
        "reasons": list(reasons),
        "input_shape": shapes[0] if len(shapes) == 1 else shapes,
        "parameters": model.count_params(),
        "data": {
            "name": data.name,
            **task.describe_data(data),
            "batch_size": data.train.batch_size,
            **{part: getattr(data, part).examples for part in PARTS},
        },
        "started": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "versions": {
            "keras_dlcourse": __version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "python": platform.python_version(),
        },
        "machine": describe_machine(),
        "command": find_command(),
    }


@dataclass(frozen=True)
class Training:
    """The outcome of training.

    Attributes:
        history: A list for each column of `history.csv`.
        interrupted: Whether it was stopped by Ctrl-C.
        best_epoch: Number of the epoch whose weights were kept, from 1; None if no epoch finished.
        best: Value of the task's metric on the validation part in that epoch.
        of_training: Its value on the training part in that epoch, as `fit` reports it: during the
            epoch, and with augmentation and dropout.
        seconds: Training time.
        picture: PNG file that the task's callback drew with these weights, if any.
    """

    history: dict[str, list[float]]
    interrupted: bool
    best_epoch: int | None
    best: float | None
    of_training: float | None
    seconds: float
    picture: bytes | None = field(repr=False)


def fit_model(
    model: keras.Model,
    data: Any,
    recipe: Recipe,
    task: Task,
    folder: RunFolder,
    further: Sequence[keras.callbacks.Callback] = (),
    devices: Sequence[str] = (),
) -> Training:
    """Train, and restore the weights with the best validation metric."""
    train = share_evenly(task.fit_data(data, recipe), devices, keep_size=True)
    epochs = chosen(recipe.epochs)
    optimizer = keras.optimizers.AdamW(
        warmup_cosine(epochs * len(train), chosen(recipe.learning_rate), recipe.warmup),
        weight_decay=recipe.weight_decay,
    )
    trained = task.add_augmentation(model, task.augmentation(data, recipe))
    trained.compile(optimizer, **task.compile_options(data, recipe))
    history = HistoryFile(folder.history)
    backup = BackupAndRestore(
        folder.backup, save_freq=min(SAVE_EVERY, len(train)), delete_checkpoint=False
    )
    keeper = EarlyStopping(
        f"val_{task.metric}",
        mode=task.mode,
        patience=recipe.patience or epochs,
        verbose=0,
        prefer_last=True,  # a small validation part gives several epochs the same accuracy
    )
    watchers = [task.watch(data, recipe, folder.maps, model)] if task.watch else []
    interrupted = False
    try:
        fit_with_progress(
            trained,
            train,
            validation_data=share_evenly(data.validation, devices, keep_size=False),
            epochs=epochs,
            callbacks=[history, *watchers, *further, keeper, backup],
        )
    except KeyboardInterrupt:
        interrupted = True
        if keeper.best_weights is not None:
            keeper.restore_best()
    # `model` has the same weights; its file can be trained further with the same optimizer.
    model.compile(optimizer, **task.compile_options(data, recipe))
    best_epoch = None if keeper.best_epoch is None else keeper.best_epoch + 1
    title = f"Weights of epoch {best_epoch}"
    return Training(
        history=history.columns,
        interrupted=interrupted,
        best_epoch=best_epoch,
        best=keeper.best,
        of_training=None if best_epoch is None else history.columns[task.metric][best_epoch - 1],
        seconds=round(history.seconds, 1),
        picture=watchers[0].picture(title) if watchers and history.rows else None,
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
    model: keras.Model,
    data: Any,
    recipe: Recipe,
    task: Task,
    options: Mapping[str, Any],
    folder: RunFolder,
    say: Callable[[str], None],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write the `.tflite` files, compare each with Keras on the test part, and repair the int8 one.

    `options` are arguments of `to_tflite`, such as labels.

    Returns:
        The table of files, and the steps of the repair.
    """
    rows: list[dict[str, Any]] = []
    repair: list[dict[str, Any]] = []
    for quantization in task.quantizations:
        is_calibrated = find_scheme(quantization).calibrated
        calibration = find_calibration(data, recipe, task, say) if is_calibrated else None
        if is_calibrated and calibration is None:
            say(f"No {quantization} file: {_describe_minimum(task)}")
            continue
        say(f"Exporting and verifying {folder.tflite(quantization).name}")
        try:
            result = export.to_tflite(
                model,
                folder.tflite(quantization),
                quantization=quantization,
                calibration=calibration,
                **options,
            )
        except export.ExportError as error:  # the other files may be possible
            say(f"WARNING: no {quantization} file: {error}")
            continue
        verification = export.verify(model, result, data.test, limit=task.most_compared(data))
        if quantization == QUANTIZATION:
            verification, repair = repair_file(
                model, data, recipe, task, calibration, options, folder, verification, say
            )
        # A run is worth keeping even if a file fails; the report shows the verdict, too.
        loud = "" if verification.passed else "WARNING: "
        say(f"{loud}{result.path.name} {verification.verdict}")
        figures = verification.to_dict()
        del figures["path"]  # the folder may be moved
        rows = rows or [keras_row(figures, folder)]
        rows.append({"file": result.path.name, **figures})
    return rows, repair


def find_calibration(data: Any, recipe: Recipe, task: Task, say: Callable[[str], None]) -> Any:
    """Return what a quantized file is calibrated on: training data, augmented if it is too little.

    None if there is too little, and the task has no augmentation.
    """
    if data.train.examples >= MINIMUM:
        return data.train
    augmentation = task.augmentation(data, replace(recipe, augment="light"))
    if augmentation is None:
        return None
    say(
        f"{_describe_minimum(task)}: copies of the {data.train.examples} that there are, changed "
        "at random, are added"
    )
    return augment_pixels(data.train, augmentation, MINIMUM)


def _describe_minimum(task: Task) -> str:
    return f"calibration needs at least {MINIMUM} training {task.page.example}s"


def keras_row(figures: dict[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Return the row for the Keras model in the table of files."""
    own = {key.removeprefix("keras_"): figures[key] for key in figures if key.startswith("keras_")}
    return {"file": folder.model.name, "quantization": "Keras", **own}


def finish(
    folder: RunFolder,
    task: Task,
    training: Training,
    evidence: Evidence,
    files: list[dict[str, Any]],
    repair: Sequence[dict[str, Any]] = (),
    *,
    is_complete: bool = False,
) -> dict[str, Any]:
    """Write `results.json`, `report.html` and `model_card.md`, and return the results.

    Only a run that is complete is judged.
    """
    results = {
        "interrupted": training.interrupted,
        "epochs": len(training.history.get("loss", [])),
        "best_epoch": training.best_epoch,
        f"training_{task.metric}": training.of_training,
        f"validation_{task.metric}": training.best,
        "test": evidence.test,
        **evidence.more,
        "files": files,
        "repair": list(repair),
        "seconds": {"training": training.seconds},
    }
    config = read_config(folder)
    if is_complete:
        results["verdict"] = judge(task.rules, config, results).to_dict()
    folder.write_json(folder.results, results)
    watched = {"maps": training.picture} if task.watch else {}
    write_run_page(
        folder.report,
        config,
        training.history,
        results,
        pictures={**watched, **evidence.pictures},
        page=task.page,
    )
    return results
