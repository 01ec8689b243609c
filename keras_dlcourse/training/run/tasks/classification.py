"""Image classification: accuracy, confusion matrix, mistakes, and what the network looks at.

The functions are in the order in which the run calls them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_dlcourse import callbacks, models, report
from keras_dlcourse.data import Dataset, image_folder, take
from keras_dlcourse.explain import class_mean_maps
from keras_dlcourse.explain.engine.scaling import resize_and_scale
from keras_dlcourse.explain.methods import mapper_for, method_for
from keras_dlcourse.graph.predicting import predict_batches
from keras_dlcourse.report.classification_page import CLASSIFICATION_PAGE
from keras_dlcourse.training.run.floor import measure_floor
from keras_dlcourse.training.run.recipe import Recipe
from keras_dlcourse.training.run.task import Evidence, Task
from keras_dlcourse.training.run.verdict import CLASSIFICATION_RULES

MAP_PICTURES = 4  # per run, evenly spread over its epochs
MEANS = 500  # images of the test part whose maps are averaged


def check_dataset(data: Any) -> None:
    """Raise an error if a classifier cannot be trained on a data set.

    Args:
        data: The value passed as `data`.

    Raises:
        TypeError: If it is not a `kd.data.Dataset`.
        ValueError: If it has fewer than two classes, or a part without one integer label per image.

    Example:
        >>> check_dataset([1, 2])
        Traceback (most recent call last):
        ...
        TypeError: data must be a kd.data.Dataset, e.g. from kd.data.image_folder. Received: list
    """
    if not isinstance(data, Dataset):
        raise TypeError(
            "data must be a kd.data.Dataset, e.g. from kd.data.image_folder. "
            f"Received: {type(data).__name__}"
        )
    if len(data.class_names) < 2:
        raise ValueError(
            f"data must have at least two classes. Received: one class, {data.class_names[0]!r}"
        )
    for part in ("train", "validation", "test"):
        labels = getattr(data, part).y
        if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind != "i":
            is_array = isinstance(labels, np.ndarray)
            found = f"{labels.dtype} of shape {labels.shape}" if is_array else labels or "none"
            raise ValueError(
                f"data.{part} must have one integer label per image. Received: {found}"
            )


def describe_data(data: Dataset) -> dict[str, Any]:
    """Return the names of the classes and the normalization."""
    return {
        "classes": list(data.class_names),
        "normalization": data.normalization.to_dict() if data.normalization else None,
    }


def build_classifier(data: Dataset, recipe: Recipe) -> keras.Model:
    """Build the model named in the recipe, for the images and classes of the data."""
    return models.build(
        recipe.model,
        input_shape=data.image_shape,
        alpha=recipe.alpha,
        classes=list(data.class_names),
        dropout=recipe.dropout,
        preprocessing=data.normalization,
    )


def compile_options(data: Dataset) -> dict[str, Any]:
    """Return the loss and the metric."""
    return {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}


def map_pictures(
    data: Dataset, recipe: Recipe, folder: Path, model: keras.Model
) -> callbacks.ClassActivationMaps:
    """Return the callback that draws class activation maps, by a method that fits the head."""
    every = max(1, recipe.epochs // MAP_PICTURES)
    return callbacks.ClassActivationMaps(
        data.validation, folder, every=every, method=method_for(model)
    )


def evaluate(model: keras.Model, data: Dataset) -> Evidence:
    """Evaluate a model with softmax scores on the test part.

    Measures the accuracy with its interval, the confusion matrix, measures per class, the
    calibration error, and what simple methods reach. Draws the most confident mistakes with the
    maps of the true and the predicted class, the mean map of each class, and, unless all images
    belong to one class, the ROC, precision-recall and reliability curves.
    """
    scores = predict_batches(model, (inputs for inputs, *_ in data.test), data.test.batch_size)
    labels = np.asarray(data.test.y)
    right = np.clip(scores[np.arange(len(labels)), labels], 1e-7, None)
    found = report.evaluation(labels, scores, data.class_names)
    several = np.count_nonzero(found.classes.support) > 1
    return Evidence(
        test={
            "examples": int(found.confusion.sum()),
            "loss": float(-np.log(right).mean()),
            **found.to_dict(),
        },
        headline=f"{found.accuracy.value:.1%}",
        more={"confusion_matrix": found.confusion.tolist(), "floor": measure_floor(data)},
        pictures={
            "mistakes": _draw_mistakes(model, data, labels, scores),
            "class_means": _draw_class_means(model, data),
            "curves": report.png_bytes(report.draw_evaluation(found)) if several else None,
        },
    )


def export_options(data: Dataset) -> dict[str, Any]:
    """Return the names of the classes and the normalization."""
    return {"labels": data.class_names, "preprocessing": data.normalization}


def _draw_mistakes(
    model: keras.Model, data: Dataset, labels: NDArray, scores: NDArray
) -> bytes | None:
    """Draw the most confident mistakes, with maps of the true and the predicted class."""
    worst = report.confident_mistakes(labels, scores)
    if not len(worst):
        return None
    answers = scores[worst].argmax(axis=1)
    shown = np.stack([labels[worst], answers], axis=1)
    images = data.test.x[worst]
    inputs = data.test.prepare(images)
    mapper = mapper_for(model, method_for(model))
    raw, _ = mapper.maps(inputs, shown)
    figure = report.draw_class_activation_maps(
        _pixels(images),
        resize_and_scale(raw, mapper.image_size(inputs)),
        np.take_along_axis(scores[worst], shown, axis=1),
        answers,
        labels[worst],
        data.class_names,
        title="Most confident mistakes",
        count=False,
    )
    return report.png_bytes(figure)


def _draw_class_means(model: keras.Model, data: Dataset) -> bytes:
    """Draw where the network looks for each class on average."""
    examples = take(data.test, MEANS, seed=0)
    means = class_mean_maps(model, examples.inputs, examples.labels, method_for(model))
    figure = report.draw_class_means(
        _pixels(means.images), means.maps, means.counts, data.class_names
    )
    return report.png_bytes(figure)


def _pixels(images: NDArray) -> NDArray[np.uint8]:
    """Return images as pixels; floats of unknown range are stretched to 0..255."""
    if images.dtype == np.uint8:
        return images
    low, high = float(images.min()), float(images.max())
    return np.round((images - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)


CLASSIFICATION = Task(
    name="classify",
    check_data=check_dataset,
    describe_data=describe_data,
    build=build_classifier,
    compile_options=compile_options,
    mode="max",
    watch=map_pictures,
    evaluate=evaluate,
    export_options=export_options,
    page=CLASSIFICATION_PAGE,
    rules=CLASSIFICATION_RULES,
    read=image_folder,
)
