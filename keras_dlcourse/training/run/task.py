"""What a run trains for: the parts of a run that differ from task to task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras

from keras_dlcourse.report import TaskPage
from keras_dlcourse.report.task_page import Shown
from keras_dlcourse.training.run.augment import add_augmentation
from keras_dlcourse.training.run.recipe import Recipe, choose_length
from keras_dlcourse.training.run.verdict import Rule, check_files, check_loss


def choose_by_size(data: Any, recipe: Recipe) -> tuple[Recipe, list[str]]:
    """Choose the settings that follow from the number of training examples.

    Raises:
        ValueError: If the recipe has settings that only tasks with their own `choose` use.
    """
    usual = {"batch_size": data.train.batch_size, "weights": "none", "augment": "none"}
    for name, value in usual.items():
        if getattr(recipe, name) not in (None, "auto", value):
            raise ValueError(
                f"{name} must be {value!r} for the task {recipe.task!r}. Received: "
                f"{getattr(recipe, name)!r}"
            )
    recipe = replace(
        recipe, **{**usual, "label_smoothing": recipe.label_smoothing or 0.0, "flip": False}
    )
    return choose_length(recipe, data.train.examples)


@dataclass(frozen=True)
class Evidence:
    """How well a model does on examples that it has not seen.

    Attributes:
        test: The measures on the test part: `results["test"]`.
        headline: The most important of them in a few characters, such as `"87.4%"`.
        more: Further JSON-serializable content of `results.json`.
        pictures: PNG files for the report by name, or lists of `kd.report.Picture`; None for one
            that there is not.
    """

    test: Mapping[str, Any]
    headline: str
    more: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Shown] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Task:
    """What a run trains for: a row of `TASKS`.

    The data of a run has a `name` and the parts `train`, `validation` and `test`, each a
    `kd.data.Pipeline` or similar: something that `fit` takes, with `examples`, `batch_size` and a
    length in batches. Everything else about it is known only to the task.

    Attributes:
        name: Name for `Recipe(task=...)` and for `keras-dlcourse train --task`.
        check_data: Raises an error if the data is unsuitable.
        choose: Fills in the settings that the recipe leaves to the data, and says why.
        build: Builds the model that the recipe names, for the data.
        augmentation: Returns the layer that changes inputs at random in training, or None. It is
            not part of the model.
        add_augmentation: Returns the model that is trained: the given one, with that layer. By
            default, the layer changes inputs alone.
        fit_data: Returns the training data for `fit`, in batches as the recipe wants them.
        prepare: Prepares the weights of the model before training.
        compile_options: Returns the loss and the metrics, as arguments of `Model.compile`.
        mode: Whether the highest value of `metric` is the best (`"max"`) or the lowest (`"min"`).
        record: Chooses with the validation part what `model.keras` and its exports are to hold
            besides the weights, such as thresholds, and records it in the trained model.
        evaluate: Evaluates the model on the test part of the data.
        page: What the report says, and which metric decides which epoch's weights are kept.
        describe_data: Returns what `config.json` records about the data besides its name and sizes.
            A run is resumed only with data that has the same description.
        watch: Returns a callback that draws pictures into a folder during training. What its
            `picture(title)` returns in the end is the picture `maps` of the report.
        export_options: Returns arguments of `to_tflite` that follow from the data, such as labels.
        quantizations: The files to export. Quantized by calibration, they need enough examples.
        most_compared: Returns on how many test examples files are compared with Keras, where the
            outputs of all would fill the memory; None for all.
        rules: What a run of this task is judged by.
        convert: Converts the data passed to `kd.training.run` to the data described above.
        summarize: Returns lines about the data and what is wrong with them, which are said before
            training.
        read: Reads the data from a folder or file, for `keras-dlcourse train`. Takes the arguments
            of `kd.data.read_images` that the command has: `image_size`, `class_names`, `skip_bad`,
            `bits` and, if given, `validation`, `test`, `group_by` and `cache`; and those that the
            command's checks of this task add. None if the command cannot train this.
    """

    name: str
    check_data: Callable[[Any], None]
    build: Callable[[Any, Recipe], keras.Model]
    compile_options: Callable[[Any, Recipe], dict[str, Any]]
    mode: str
    evaluate: Callable[[keras.Model, Any], Evidence]
    page: TaskPage
    choose: Callable[[Any, Recipe], tuple[Recipe, list[str]]] = choose_by_size
    describe_data: Callable[[Any], dict[str, Any]] = lambda data: {}
    augmentation: Callable[[Any, Recipe], keras.layers.Layer | None] = lambda data, recipe: None
    add_augmentation: Callable[[keras.Model, keras.layers.Layer | None], keras.Model] = (
        add_augmentation
    )
    fit_data: Callable[[Any, Recipe], Any] = lambda data, recipe: data.train
    prepare: Callable[[keras.Model, Any, Recipe], None] = lambda model, data, recipe: None
    watch: Callable[[Any, Recipe, Path, keras.Model], Any] | None = None
    record: Callable[[keras.Model, Any], None] = lambda model, data: None
    export_options: Callable[[Any], dict[str, Any]] = lambda data: {}
    quantizations: tuple[str, ...] = ("float32", "int8")
    most_compared: Callable[[Any], int | None] = lambda data: None
    rules: tuple[Rule, ...] = (check_files, check_loss)
    convert: Callable[[Any], Any] = lambda data: data
    summarize: Callable[[Any], list[str]] = lambda data: []
    read: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if self.watch is not None and "maps" not in self.page.pictures:
            raise ValueError(
                "page must show the picture 'maps' of watch. Received: a page with the pictures "
                f"{', '.join(self.page.pictures) or 'none'}"
            )

    @property
    def metric(self) -> str:
        """The metric whose validation value decides which epoch's weights are kept."""
        return self.page.metric
