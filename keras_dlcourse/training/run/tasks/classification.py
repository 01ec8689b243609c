"""Image classification: accuracy, confusion matrix, mistakes, and what the network looks at.

The functions are in the order in which the run calls them.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_dlcourse import report
from keras_dlcourse.data import Dataset, Pipeline, as_dataset, read_images, take
from keras_dlcourse.data.pipeline import rebuild
from keras_dlcourse.explain import class_mean_maps
from keras_dlcourse.explain.engine.scaling import resize_and_scale
from keras_dlcourse.explain.methods import mapper_for, method_for
from keras_dlcourse.graph.predicting import predict_batches
from keras_dlcourse.losses import SparseCategoricalCrossentropy
from keras_dlcourse.report.classification_page import CLASSIFICATION_PAGE
from keras_dlcourse.report.gallery import draw_answers, typical_answers
from keras_dlcourse.training.run.floor import measure_floor
from keras_dlcourse.training.run.image_task import (
    augment,
    build_network,
    check_is_dataset,
    choose_image_settings,
    describe_data,
    export_options,
    map_pictures,
    summarize_data,
    to_pixels,
)
from keras_dlcourse.training.run.pretrained import fit_head
from keras_dlcourse.training.run.recipe import (
    Recipe,
    chosen,
)
from keras_dlcourse.training.run.task import Evidence, Task
from keras_dlcourse.training.run.verdict import CLASSIFICATION_RULES

LARGEST_RATIO = 1.5  # of the sizes of classes that count as equal
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
    check_is_dataset(data)
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
                f"data.{part} must have one integer label per image. Received: {found}. For "
                "several labels per image, use the task 'multilabel'."
            )


def choose_settings(data: Dataset, recipe: Recipe) -> tuple[Recipe, list[str]]:
    """Fill in the settings that the recipe leaves to the data, and say why."""
    per_class = data.train.examples // len(data.class_names)
    recipe, why = choose_image_settings(data, recipe, per_class)
    if (uneven := find_class_weight(data)) is not None:
        rare, common = int(uneven.argmax()), int(uneven.argmin())
        why.append(
            f"class weights: an image of {data.class_names[rare]} counts "
            f"{uneven[rare] / uneven[common]:.1f} times as much as one of "
            f"{data.class_names[common]}, because there are fewer"
        )
    return recipe, why


def find_class_weight(data: Dataset) -> NDArray | None:
    """Return weights for classes of unequal size, or None if they are about equal.

    The square root of the inverse frequency: with the inverse frequency itself, a few images of a
    rare class would decide.

    Reference:
        Mahajan et al., "Exploring the Limits of Weakly Supervised Pretraining", ECCV 2018,
        section 2.2, https://arxiv.org/abs/1805.00932
    """
    counts = np.bincount(np.asarray(data.train.y), minlength=len(data.class_names))
    if counts.max() <= LARGEST_RATIO * counts.min():
        return None
    weights = np.sqrt(counts.mean() / counts)
    return weights * counts.sum() / (weights * counts).sum()  # 1 on average over the images


def build_classifier(data: Dataset, recipe: Recipe) -> keras.Model:
    """Build the model named in the recipe, for the images and classes of the data."""
    return build_network(data, recipe)


def batch_training_data(data: Dataset, recipe: Recipe) -> Pipeline:
    """Return the training images in batches of the recipe's size, with class weights if needed."""
    weights = find_class_weight(data)
    given = data.train.sample_weight
    if weights is not None:
        own = weights[np.asarray(data.train.y)].astype("float32")
        given = own if given is None else given * own
    return rebuild(
        data.train, batch_size=recipe.batch_size or data.train.batch_size, sample_weight=given
    )


def prepare_weights(model: keras.Model, data: Dataset, recipe: Recipe) -> None:
    """Fit the head of a network that starts from trained weights."""
    if recipe.weights != "none":
        fit_head(model, data)


def compile_options(data: Dataset, recipe: Recipe) -> dict[str, Any]:
    """Return the loss and the metric."""
    loss = SparseCategoricalCrossentropy(chosen(recipe.label_smoothing))
    return {"loss": loss, "metrics": ["accuracy"]}


def evaluate(model: keras.Model, data: Dataset) -> Evidence:
    """Evaluate a model with softmax scores on the test part.

    Measures the accuracy with its interval, the confusion matrix, measures per class, the
    calibration error, and what simple methods reach. Draws the most confident mistakes and typical
    right answers with their maps, the mean map of each class, and, unless all images belong to one
    class, the ROC, precision-recall and reliability curves.
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
        more={
            "confusion_matrix": found.confusion.tolist(),
            "floor": measure_floor(data),
            "curves": _list_curves(found),
        },
        pictures={
            "mistakes": _draw_answers(
                model, data, scores, report.confident_mistakes(labels, scores)
            ),
            "right": _draw_answers(model, data, scores, typical_answers(labels, scores)),
            "class_means": _draw_class_means(model, data),
            "curves": report.png_bytes(report.draw_evaluation(found)) if several else None,
        },
    )


def _list_curves(found: report.Evaluation) -> dict[str, list[float]]:
    """Return what the ROC, precision-recall and reliability curves show."""
    return {
        "area": found.areas.tolist(),
        "average_precision": found.average_precisions.tolist(),
        "bin_score": found.reliability.scores.tolist(),
        "bin_right": found.reliability.shares.tolist(),
        "bin_images": found.reliability.counts.tolist(),
    }


def _draw_answers(
    model: keras.Model, data: Dataset, scores: NDArray, chosen: NDArray
) -> list[report.Picture]:
    """Draw some answers, with maps of the true and the predicted class."""
    if not len(chosen):
        return []
    labels, answers = np.asarray(data.test.y)[chosen], scores[chosen].argmax(axis=1)
    shown = np.stack([labels, answers], axis=1)
    images = data.test.x[chosen]
    inputs = data.test.prepare(images)
    mapper = mapper_for(model, method_for(model))
    raw, _ = mapper.maps(inputs, shown)
    return draw_answers(
        to_pixels(images),
        resize_and_scale(raw, mapper.image_size(inputs)),
        np.take_along_axis(scores[chosen], shown, axis=1),
        answers,
        labels,
        data.class_names,
    )


def _draw_class_means(model: keras.Model, data: Dataset) -> bytes:
    """Draw where the network looks for each class on average."""
    examples = take(data.test, MEANS, seed=0)
    means = class_mean_maps(model, examples.inputs, examples.labels, method_for(model))
    figure = report.draw_class_means(
        to_pixels(means.images), means.maps, means.counts, data.class_names
    )
    return report.png_bytes(figure)


CLASSIFICATION = Task(
    name="classify",
    check_data=check_dataset,
    describe_data=describe_data,
    choose=choose_settings,
    build=build_classifier,
    augmentation=augment,
    fit_data=batch_training_data,
    prepare=prepare_weights,
    compile_options=compile_options,
    mode="max",
    watch=map_pictures,
    evaluate=evaluate,
    export_options=export_options,
    page=CLASSIFICATION_PAGE,
    rules=CLASSIFICATION_RULES,
    convert=as_dataset,
    summarize=summarize_data,
    read=read_images,
)
