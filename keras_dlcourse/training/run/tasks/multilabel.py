"""Images with any number of labels: mean average precision, thresholds, and the worst mistakes.

The functions are in the order in which the run calls them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_dlcourse import callbacks, report
from keras_dlcourse.data import Dataset, as_dataset, positive_weights, read_images
from keras_dlcourse.data.multilabel import multi_hot
from keras_dlcourse.data.pipeline import rebuild
from keras_dlcourse.explain.engine.scaling import resize_and_scale
from keras_dlcourse.explain.methods import mapper_for, method_for
from keras_dlcourse.graph.predicting import predict_batches
from keras_dlcourse.layers import describe, record_thresholds
from keras_dlcourse.losses import WeightedBinaryCrossentropy
from keras_dlcourse.metrics import MultilabelAveragePrecision
from keras_dlcourse.report.gallery import draw_labels
from keras_dlcourse.report.label_scores import LabelScores, label_scores
from keras_dlcourse.report.multilabel_page import MULTILABEL_PAGE
from keras_dlcourse.training.decisions.choose_thresholds import choose_thresholds
from keras_dlcourse.training.run.floor import find_frequent_set, measure_label_floor
from keras_dlcourse.training.run.image_task import (
    augment,
    batch_training_data,
    build_network,
    check_is_dataset,
    choose_image_settings,
    describe_data,
    export_options,
    map_pictures,
    summarize_data,
    to_pixels,
)
from keras_dlcourse.training.run.pretrained import Regression, fit_head
from keras_dlcourse.training.run.recipe import Recipe
from keras_dlcourse.training.run.task import Evidence, Task
from keras_dlcourse.training.run.verdict import MULTILABEL_RULES

PARTS = ("train", "validation", "test")
SHOWN = 12  # images with wrong labels


def convert_data(data: Any) -> Any:
    """Return a data set whose labels are `(n, classes)`, also if each image has one class."""
    data = as_dataset(data)
    parts = {part: getattr(data, part) for part in PARTS}
    if not all(np.ndim(one.y) == 1 and one.y.dtype.kind == "i" for one in parts.values()):
        return data
    eye = np.eye(len(data.class_names), dtype="int32")
    return replace(data, **{name: rebuild(part, y=eye[part.y]) for name, part in parts.items()})


def check_labels(data: Any) -> None:
    """Raise an error if the labels of a data set cannot be learned, or not be tested.

    Args:
        data: The value passed as `data`, after `convert_data`.

    Raises:
        TypeError: If it is not a `kd.data.Dataset`.
        ValueError: If it has fewer than two labels, a part without 1, 0 and -1 for each label, a
            label that all training images have, or none, or a part whose images have no labels.

    Example:
        >>> check_labels([1, 2])
        Traceback (most recent call last):
        ...
        TypeError: data must be a kd.data.Dataset, e.g. from kd.data.image_folder. Received: list
    """
    check_is_dataset(data)
    names = data.class_names
    if len(names) < 2:
        raise ValueError(
            f"data must have at least two labels. Received: one, {names[0]!r}. To tell whether "
            "images show it, use the task 'classify' with two classes: those that do, and those "
            "that do not."
        )
    labels = {part: multi_hot(getattr(data, part).y, f"data.{part}.y") for part in PARTS}
    for part, values in labels.items():
        if not (values == 1).any():
            raise ValueError(f"data.{part} must have labels. Received: only images without any")
    known = labels["train"]
    for value, found in ((1, "none"), (0, "all")):
        wrong = [
            name for name, is_there in zip(names, (known == value).any(axis=0), strict=True)
            if not is_there
        ]  # fmt: skip
        if wrong:
            raise ValueError(
                "Each label must be present in some of the training images and absent from others. "
                f"Received: {', '.join(wrong)} in {found} of them. Add images, or remove the label."
            )


def choose_settings(data: Dataset, recipe: Recipe) -> tuple[Recipe, list[str]]:
    """Fill in the settings that the recipe leaves to the data, and say why."""
    if recipe.label_smoothing:
        raise ValueError(
            "label_smoothing must be 0 for the task 'multilabel', whose loss has none. Received: "
            f"{recipe.label_smoothing!r}"
        )
    counts = count_labels(data)
    recipe, why = choose_image_settings(
        data, replace(recipe, label_smoothing=0.0), int(counts.mean())
    )
    weights = find_label_weights(np.asarray(data.train.y))
    rare = int(weights.argmax())
    why.append(
        f"label weights: {weights.min():.2g} to {weights.max():.2g}. An image of "
        f"{data.class_names[rare]} counts {weights[rare]:.1f} times as much as one without it"
    )
    return recipe, why


def count_labels(data: Dataset) -> NDArray[np.int64]:
    """Return the number of training images that have each label."""
    return np.asarray((np.asarray(data.train.y) == 1).sum(axis=0))


def find_label_weights(labels: NDArray) -> NDArray[np.float64]:
    """Return the weight of the positives of each label.

    The square root of the ratio of negatives to positives, as for classes of unequal size: with the
    ratio itself, a few images of a rare label would decide. Thresholds do the rest.
    """
    return np.sqrt(positive_weights(labels))


def describe_labels(data: Dataset) -> dict[str, Any]:
    """Return the names of the labels, how many training images have each, and the normalization."""
    return {**describe_data(data), "images_per_label": count_labels(data).tolist()}


def build_tagger(data: Dataset, recipe: Recipe) -> keras.Model:
    """Build the model named in the recipe, with one sigmoid for each label."""
    return build_network(data, recipe, classifier_activation="sigmoid")


def prepare_weights(model: keras.Model, data: Dataset, recipe: Recipe) -> None:
    """Fit the head of a network that starts from trained weights."""
    if recipe.weights != "none":
        fit_head(model, data, regress_labels)


def regress_labels(
    strength: float, x: NDArray, labels: NDArray, held_out: NDArray, held_labels: NDArray
) -> Regression:
    """Fit a logistic regression to each label, and measure the mean average precision.

    Args:
        strength: The inverse of the regularization, C.
        x: Features to fit, `(n, features)`.
        labels: `(n, classes)` of 1, 0 and -1.
        held_out: Features to measure the precision on.
        held_labels: Their labels.

    Returns:
        The mean average precision, and the kernel `(features, classes)` and bias of sigmoids.
    """
    from sklearn.linear_model import LogisticRegression

    kernel, bias = np.zeros((x.shape[1], labels.shape[1])), np.zeros(labels.shape[1])
    for number, column in enumerate(labels.T):
        known = column >= 0
        if len(np.unique(column[known])) < 2:  # of a random choice of the training images
            continue
        weight = {0: 1.0, 1: float(find_label_weights(column[:, None])[0])}
        head = LogisticRegression(C=strength, max_iter=1000, class_weight=weight)
        head.fit(x[known], column[known])
        kernel[:, number], bias[number] = head.coef_[0], head.intercept_[0]
    metric = MultilabelAveragePrecision(labels.shape[1])
    metric.update_state(held_labels, 1 / (1 + np.exp(-(held_out @ kernel + bias))))
    return float(metric.result()), kernel, bias


def compile_options(data: Dataset, recipe: Recipe) -> dict[str, Any]:
    """Return the loss and the metric."""
    weights = find_label_weights(np.asarray(data.train.y))
    return {
        "loss": WeightedBinaryCrossentropy(weights.tolist()),
        "metrics": [MultilabelAveragePrecision(len(data.class_names))],
    }


def map_labels(
    data: Dataset, recipe: Recipe, folder: Path, model: keras.Model
) -> callbacks.ClassActivationMaps:
    """Return the callback that draws maps of the label with the highest score of some images."""
    images = rebuild(data.validation, y=None)
    return map_pictures(replace(data, validation=images), recipe, folder, model)


def choose_and_record(model: keras.Model, data: Dataset) -> None:
    """Choose the threshold of each label on the validation part, and record it in the model."""
    record_thresholds(model, choose_thresholds(model, data.validation))


def evaluate(model: keras.Model, data: Dataset) -> Evidence:
    """Evaluate a model with sigmoid scores on the test part.

    Measures the mean average precision with its interval, precision, recall and F1 of each label at
    the thresholds that the model records, the share of images whose labels are all right, and
    what simple methods reach. Draws precision against recall, and the images with the worst labels.
    """
    thresholds = _find_thresholds(model)
    scores = predict_batches(model, (inputs for inputs, *_ in data.test), data.test.batch_size)
    labels = np.asarray(data.test.y)
    found = label_scores(labels, scores, thresholds, data.class_names)
    frequent = find_frequent_set(data.train.y)
    curves = report.draw_precision_recall(labels, scores, data.class_names, thresholds)
    return Evidence(
        test={
            "examples": len(labels),
            "loss": float(found.loss.mean()),
            **found.to_dict(),
            # What always giving the most frequent set of labels would reach.
            "exact_match_floor": float(((labels == frequent) | (labels < 0)).all(axis=1).mean()),
        },
        headline=f"mAP {found.mean_average_precision.value:.3f}",
        more={"labels": _list_labels(found, thresholds), "floor": measure_label_floor(data)},
        pictures={
            "worst": _draw_worst(model, data, scores, thresholds, found),
            "curves": report.png_bytes(curves),
        },
    )


def _find_thresholds(model: keras.Model) -> NDArray[np.float64]:
    recorded = describe(model)
    if recorded is None or recorded.score_thresholds is None:
        raise ValueError("model must record its thresholds: use kd.layers.record_thresholds")
    return np.asarray(recorded.score_thresholds)


def _list_labels(found: LabelScores, thresholds: NDArray) -> dict[str, list[Any]]:
    """Return what was measured of each label; None where no test image has it."""
    columns = {
        "average_precision": found.average_precisions,
        "precision": found.labels.precision,
        "recall": found.labels.recall,
        "f1": found.labels.f1,
    }
    return {
        "images": found.labels.support.tolist(),
        "threshold": thresholds.tolist(),
        **{
            name: [None if np.isnan(one) else float(one) for one in values]
            for name, values in columns.items()
        },
    }


def _draw_worst(
    model: keras.Model, data: Dataset, scores: NDArray, thresholds: NDArray, found: LabelScores
) -> list[report.Picture]:
    """Draw the images with wrong labels and the highest loss, with the map of the worst label."""
    wrong = np.flatnonzero(~found.exact)
    chosen = wrong[np.argsort(-found.loss[wrong], kind="stable")][:SHOWN]
    if not len(chosen):
        return []
    labels, values = np.asarray(data.test.y)[chosen], scores[chosen]
    said = values >= thresholds
    is_wrong = (said != (labels == 1)) & (labels >= 0)
    worst = np.where(is_wrong, np.abs(values - labels), -1).argmax(axis=1)
    images = data.test.x[chosen]
    inputs = data.test.prepare(images)
    mapper = mapper_for(model, method_for(model))
    raw, _ = mapper.maps(inputs, worst)

    def list_names(present: NDArray) -> str:
        return ", ".join(data.class_names[number] for number in np.flatnonzero(present)) or "none"

    told = [
        (list_names(true == 1), list_names(answer), data.class_names[number], row[number])
        for true, answer, number, row in zip(labels, said, worst, values, strict=True)
    ]
    return draw_labels(
        to_pixels(images),
        resize_and_scale(raw, mapper.image_size(inputs)),
        [
            f"✗ {true}; predicted: {answer}. Map of {one} ({score:.0%})"
            for true, answer, one, score in told
        ],
        [
            f"An image with the labels {true}, predicted as {answer}; next to it the map of {one}."
            for true, answer, one, _ in told
        ],
    )


MULTILABEL = Task(
    name="multilabel",
    check_data=check_labels,
    describe_data=describe_labels,
    choose=choose_settings,
    build=build_tagger,
    augmentation=augment,
    fit_data=batch_training_data,
    prepare=prepare_weights,
    compile_options=compile_options,
    mode="max",
    watch=map_labels,
    record=choose_and_record,
    evaluate=evaluate,
    export_options=export_options,
    page=MULTILABEL_PAGE,
    rules=MULTILABEL_RULES,
    convert=convert_data,
    summarize=summarize_data,
    read=read_images,
)
