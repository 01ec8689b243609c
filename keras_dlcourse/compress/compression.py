"""Compress a model step by step: apply one method after another, train, measure and save."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_dlcourse import layers
from keras_dlcourse._files import user_path, write_atomically, write_bytes, write_text
from keras_dlcourse.compress.clustering import cluster
from keras_dlcourse.compress.file_sizes import sizes
from keras_dlcourse.compress.filters import prune_filters
from keras_dlcourse.compress.pruning import prune
from keras_dlcourse.data import Dataset
from keras_dlcourse.export import to_tflite, verify
from keras_dlcourse.quantize.qat.aware import quantization_aware
from keras_dlcourse.quantize.qat.observe import calibrate

RECORD, PICTURE = "compression.json", "pareto.png"


@dataclass(frozen=True)
class Stage:
    """The result after one method of a recipe.

    Attributes:
        name: The methods applied so far, joined by `+`; `"float"` for the original model.
        accuracy: Fraction of test images that the file classifies correctly on the device runtime.
        parameters: Number of weights of the Keras model.
        raw: Size of the file, in bytes.
        zip: Size of the file in a zip archive, in bytes.
        path: The `.tflite` file.
        model: The `.keras` file.
        key: Hash of the stage's inputs; a stage whose key has changed is recomputed.
    """

    name: str
    accuracy: float
    parameters: int
    raw: int
    zip: int
    path: str
    model: str
    key: str


@dataclass(frozen=True)
class Compression:
    """The stages of a recipe. Prints as a table.

    Attributes:
        stages: The float model first, then one stage per method.
        folder: The folder with the files, the record and the plot.
    """

    stages: tuple[Stage, ...]
    folder: Path

    @property
    def model(self) -> keras.Model:
        """The model after the last stage, loaded from its file."""
        return keras.saving.load_model(self.stages[-1].model)

    def __str__(self) -> str:
        from keras_dlcourse._tables import text_table

        first = self.stages[0]
        rows = [
            [stage.name, f"{stage.accuracy:.2%}", stage.parameters, stage.raw, stage.zip,
             f"{first.zip / stage.zip:.2f}x"]
            for stage in self.stages
        ]  # fmt: skip
        return text_table(["after", "accuracy", "parameters", "raw", "zip -9", "smaller"], rows)


@dataclass(frozen=True)
class Method:
    """One method of a recipe.

    Attributes:
        apply: Takes the model and options; returns the model with the method applied.
        option: The argument of `compress` that the method uses.
        trained: Whether the model is trained afterwards.
        integer: Whether the exported file is fully integer from here on.
    """

    apply: Callable[..., keras.Model]
    option: str | None = None
    trained: bool = True
    integer: bool = False


METHODS: dict[str, Method] = {
    "filters": Method(lambda model, fraction: prune_filters(model, fraction), "fraction"),
    "prune": Method(lambda model, sparsity: prune(model, sparsity), "sparsity"),
    "cluster": Method(lambda model, clusters: cluster(model, clusters), "clusters"),
    "int8": Method(quantization_aware, integer=True),
    "calibrate": Method(quantization_aware, trained=False, integer=True),
}


def compress(
    model: keras.Model,
    recipe: str,
    data: Dataset,
    folder: str | os.PathLike[str],
    *,
    epochs: int = 3,
    learning_rate: float = 1e-4,
    sparsity: float = 0.5,
    clusters: int = 16,
    fraction: float = 0.5,
    loss: Any = "sparse_categorical_crossentropy",
) -> Compression:
    """Compress a model by a sequence of methods, and measure the cost and benefit of each.

    After each method the model is trained for some epochs, saved as `.keras`, exported as
    `.tflite`, run on the device runtime and measured. Stages that are already in the folder, made
    from the same model with the same options, are reused, so an interrupted run resumes.

    Args:
        model: A trained classifier. It is not modified.
        recipe: Methods in order, joined by `+`: `"filters"` (half of the filters removed),
            `"prune"` (weights set to 0), `"cluster"` (few distinct weights), `"int8"`
            (quantization-aware training), `"calibrate"` (ranges measured, no training). For
            example `"prune+cluster+int8"`. `"int8"` or `"calibrate"` must come last.
        data: Training, validation and test splits, as returned by `kd.data.load` and
            `image_folder`.
        folder: Output folder; created if needed.
        epochs: Number of training epochs after each method that needs training.
        learning_rate: Learning rate of Adam in that training.
        sparsity: For `"prune"`, the fraction of weights set to 0.
        clusters: For `"cluster"`, the number of distinct weights.
        fraction: For `"filters"`, the fraction of filters to remove.
        loss: Loss used in that training.

    Returns:
        A `Compression`: the stages with accuracy and sizes. The folder also holds `pareto.png`.

    Raises:
        ValueError: If a method of the recipe is unknown, repeated, or follows one that must come
            last.
        TypeError: If `data` is not a Dataset.

    Example:
        >>> print(compress(model, "prune+int8", data, "runs/small"))  # doctest: +SKIP
    """
    words = _parse_recipe(recipe)
    if not isinstance(data, Dataset):
        raise TypeError(
            "data must be a kd.data.Dataset with training and test splits, see kd.data.load. "
            f"Received: {type(data).__name__}"
        )
    options = {"sparsity": sparsity, "clusters": clusters, "fraction": fraction}
    training = {"epochs": epochs, "learning_rate": learning_rate, "loss": loss}
    folder = user_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kept = _read(folder)
    stages = [_measure_original(model, data, folder, kept)]
    current: keras.Model | None = model
    for number, word in enumerate(words, 1):
        method = METHODS[word]
        chosen = {method.option: options[method.option]} if method.option else {}
        name = "+".join(words[:number])
        settings = {
            **chosen,
            **({k: str(v) for k, v in training.items()} if method.trained else {}),
        }
        key = _key(stages[-1].key, word, settings)
        done = kept.get(name)
        if done is not None and done.key == key and _is_whole(done):
            stages.append(done)
            current = None  # loaded only if a later stage needs it
            continue
        before = current if current is not None else keras.saving.load_model(stages[-1].model)
        current = _apply_method(method, before, chosen, training, data)
        stages.append(_measure_stage(name, key, current, method.integer, data, folder, number))
        _write(folder, stages)
    result = Compression(tuple(stages), folder)
    _draw(result)
    return result


def _parse_recipe(recipe: str) -> list[str]:
    words = [word.strip() for word in recipe.split("+")]
    for number, word in enumerate(words):
        if word not in METHODS:
            raise ValueError(
                f"recipe must contain only {', '.join(METHODS)}, joined by '+'. Received: "
                f"recipe={recipe!r} with {word!r}"
            )
        if word in words[:number]:
            raise ValueError(
                f"recipe must name each method once. Received: recipe={recipe!r}, which repeats "
                f"{word!r}"
            )
        if METHODS[word].integer and number + 1 < len(words):
            raise ValueError(f"{word!r} must come last in recipe. Received: recipe={recipe!r}")
    return words


def _apply_method(
    method: Method, model: keras.Model, chosen: dict[str, Any], training: dict, data: Dataset
) -> keras.Model:
    """Return the model with a method applied, trained or calibrated."""
    made = method.apply(model, **chosen)
    if not method.trained:
        return calibrate(made, data.train)
    made.compile(
        keras.optimizers.Adam(training["learning_rate"]), training["loss"], metrics=["accuracy"]
    )
    made.fit(data.train, validation_data=data.validation, epochs=training["epochs"], verbose="auto")
    return made


def _measure_original(
    model: keras.Model, data: Dataset, folder: Path, kept: dict[str, Stage]
) -> Stage:
    """Measure the original model, unless it has been measured already."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    key = digest.hexdigest()
    done = kept.get("float")
    if done is not None and done.key == key and _is_whole(done):
        return done
    stage = _measure_stage("float", key, model, False, data, folder, 0)
    _write(folder, [stage])
    return stage


def _measure_stage(
    name: str, key: str, model: keras.Model, integer: bool, data: Dataset, folder: Path, number: int
) -> Stage:
    """Save, export and measure a model."""
    stem = folder / f"{number}_{name.replace('+', '_')}"
    saved, path = stem.with_suffix(".keras"), stem.with_suffix(".tflite")
    with write_atomically(saved) as temporary:
        model.save(temporary)
    quantization = "int8" if integer else "float32"
    to_tflite(
        model, path, quantization=quantization, labels=data.class_names,
        preprocessing=data.normalization,
    )  # fmt: skip
    (size,) = sizes(path).files
    checked = verify(model, path, data.test)
    if not checked.passed:
        warnings.warn(f"{path.name} {checked.verdict}", stacklevel=4)
    return Stage(
        name=name,
        accuracy=float(checked.accuracy or 0.0),
        parameters=_count_parameters(model),
        raw=size.raw,
        zip=size.zip,
        path=str(path),
        model=str(saved),
        key=key,
    )


def _count_parameters(model: keras.Model) -> int:
    """Count a model's weights, without the masks, centroids and ranges used for compression."""
    state = {
        id(weight)
        for layer in model._flatten_layers()
        if isinstance(layer, layers.WeightTransform | layers.FakeQuantize)
        for weight in layer.weights
    }
    return int(sum(np.prod(w.shape) for w in model.weights if id(w) not in state))


def _key(*made_of: Any) -> str:
    text = json.dumps(made_of, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_whole(stage: Stage) -> bool:
    return Path(stage.path).is_file() and Path(stage.model).is_file()


def _read(folder: Path) -> dict[str, Stage]:
    """Return the stages recorded in a folder."""
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        return {row["name"]: Stage(**row) for row in json.loads(path.read_text(encoding="utf-8"))}
    except (ValueError, TypeError, KeyError):
        return {}  # with a damaged record, all stages are recomputed


def _write(folder: Path, stages: list[Stage]) -> None:
    write_text(folder / RECORD, json.dumps([asdict(stage) for stage in stages], indent=1))


def _draw(result: Compression) -> None:
    """Plot accuracy against file size."""
    from keras_dlcourse.report.canvas import BLUE, GREY, new_figure, png_bytes

    figure = new_figure(6.5, 4.0)
    axes = figure.subplots()
    across = [stage.zip / 1000 for stage in result.stages]
    up = [100 * stage.accuracy for stage in result.stages]
    axes.plot(across, up, color=GREY, lw=1)
    axes.plot(across, up, "o", color=BLUE)
    for stage, x, y in zip(result.stages, across, up, strict=True):
        axes.annotate(
            stage.name.rsplit("+", 1)[-1], (x, y), textcoords="offset points", xytext=(6, 6)
        )
    axes.set_xlabel("zipped file size (kB)")
    axes.set_ylabel("accuracy on the device (%)")
    axes.set_xlim(left=0)
    axes.margins(y=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    write_bytes(result.folder / PICTURE, png_bytes(figure))
