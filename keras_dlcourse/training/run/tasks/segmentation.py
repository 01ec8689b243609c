"""The class of each pixel: a U-Net, its mean IoU, and what it confuses.

The functions are in the order in which the run calls them.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_dlcourse import models, report
from keras_dlcourse.data import Dataset, Pipeline, as_dataset, mask_folder
from keras_dlcourse.data.mask_labels import IGNORE, count_pixels
from keras_dlcourse.graph.predicting import predict_batches
from keras_dlcourse.losses import DiceCrossentropy
from keras_dlcourse.metrics import SegmentationMetric, mask_scores
from keras_dlcourse.models.segmentation.unet import MOBILE_STRIDES
from keras_dlcourse.report.gallery import draw_masks
from keras_dlcourse.report.segmentation_page import MOST_OUTLINES, SEGMENTATION_PAGE
from keras_dlcourse.training.run.augment import build_augmentation
from keras_dlcourse.training.run.floor import measure_mask_floor
from keras_dlcourse.training.run.image_task import (
    batch_training_data,
    check_is_dataset,
    describe_data,
    export_options,
    summarize_data,
    to_pixels,
)
from keras_dlcourse.training.run.mask_images import name_classes, typical_images, worst_images
from keras_dlcourse.training.run.recipe import Recipe, choose_length, fill
from keras_dlcourse.training.run.task import Evidence, Task
from keras_dlcourse.training.run.verdict import SEGMENTATION_RULES

PARTS = ("train", "validation", "test")
DEFAULT, COARSEST = "mobilenet_v2", 32  # network, and the largest stride of any
SHOWN = 8  # typical images, and as many of the worst
# Training images that show a class, from which on changed copies slow training down more than they
# help; as for whole images.
ENOUGH = 500
BATCH, LEAST_BATCH = 32, 4  # images; batches of larger images than this are smaller
BATCH_PIXELS = BATCH * 128 * 128
COMPARED = 100_000_000  # confidences of all classes and pixels: 0.4 GB, and a few times as much
_MASK = "mask"  # what the layer that augments calls the label


def check_masks(data: Any) -> None:
    """Raise an error if the masks of a data set cannot be learned, or not be tested.

    Args:
        data: The value passed as `data`, after `as_dataset`.

    Raises:
        TypeError: If it is not a `kd.data.Dataset`.
        ValueError: If it has fewer than two classes, labels that are not masks, weights of pixels,
            a part in which no pixel has a label, or a class without training pixels.

    Example:
        >>> check_masks([1, 2])
        Traceback (most recent call last):
        ...
        TypeError: data must be a kd.data.Dataset, e.g. from kd.data.image_folder. Received: list
    """
    check_is_dataset(data)
    names = data.class_names
    if len(names) < 2:
        raise ValueError(
            f"data must have at least two classes, such as background and object. Received: one, "
            f"{names[0]!r}"
        )
    for part in PARTS:
        _check_labels(f"data.{part}", getattr(data, part))
    if (weights := data.train.sample_weight) is not None and weights.ndim > 1:
        raise ValueError(
            "data.train must have one weight per image, because augmentation moves masks and not "
            f"weights. Received: weights of shape {weights.shape}. Use a loss that derives them "
            "from the masks, with Model.fit."
        )
    counts = {part: count_pixels(getattr(data, part).y).sum(axis=0) for part in PARTS}
    for part, count in counts.items():
        if not count[:IGNORE].any():
            raise ValueError(
                f"data.{part} must have pixels with a label. Received: only {IGNORE}, which marks "
                "pixels without one"
            )
    found = counts["train"][: len(names)]
    if missing := [name for name, count in zip(names, found, strict=True) if not count]:
        raise ValueError(
            "Each class must have pixels in the training masks. Received: none of "
            f"{', '.join(missing)}. Add images that show them, or remove the classes."
        )


def _check_labels(name: str, part: Pipeline) -> None:
    """Raise ValueError unless labels are masks."""
    if part.ignore is not None:
        return
    labels = part.y
    found = "none" if labels is None else f"{labels.dtype} of shape {tuple(labels.shape)}"
    raise ValueError(
        f"{name} must have masks as labels: the class number of each pixel, (n, height, width). "
        f"Received: {found}. For classes or labels of whole images, use the task 'classify' or "
        "'multilabel'."
    )


def choose_settings(data: Dataset, recipe: Recipe) -> tuple[Recipe, list[str]]:
    """Fill in the settings that the recipe leaves to the data, and say why."""
    if recipe.weights not in ("auto", "none"):
        raise ValueError(
            "weights must be 'none' for the task 'segment', whose networks start from random ones. "
            f"Received: {recipe.weights!r}. In Python, kd.models.UNet(backbone=model) starts from "
            "a trained network."
        )
    if recipe.label_smoothing:
        raise ValueError(
            "label_smoothing must be 0 for the task 'segment', whose loss has none. Received: "
            f"{recipe.label_smoothing!r}"
        )
    height, width, _ = data.image_shape
    images = int(np.median(count_images(data)))
    chosen: dict[str, tuple[Any, str]] = {
        "augment": (
            "light" if images < ENOUGH else "none",
            f"for {images:,} training images that show a class (median)",
        ),
        "flip": (
            recipe.augment != "none",
            "the masks are mirrored with the images. flip=False (--no-flip) if left and right are "
            "classes" if recipe.augment != "none" else "augment=none",
        ),
    }  # fmt: skip
    batch = BATCH
    while batch > LEAST_BATCH and batch * height * width > BATCH_PIXELS:
        batch //= 2
    if batch < BATCH:
        chosen["batch_size"] = (batch, f"for images of {height}x{width} pixels")
    recipe = replace(recipe, weights="none", label_smoothing=0.0)
    recipe, why = fill(recipe, chosen)
    recipe, more = choose_length(recipe, data.train.examples)
    network = f"model={recipe.model}: the contracting path of a U-Net"
    if recipe.model == DEFAULT:
        network += f", up to stride {MOBILE_STRIDES[-1]}"
    loss = "loss: Dice and cross-entropy, so that small classes count as much as large ones"
    return recipe, [network, loss, *why, *more]


def count_images(data: Dataset) -> NDArray[np.int64]:
    """Return the number of training images that show each class."""
    return np.asarray((_count_training(data) > 0).sum(axis=0))


def _count_training(data: Dataset) -> NDArray[np.int64]:
    return count_pixels(data.train.y)[:, : len(data.class_names)]


def describe_masks(data: Dataset) -> dict[str, Any]:
    """Return the classes, how many training images and pixels show each, and the normalization."""
    counts = _count_training(data)
    return {
        **describe_data(data),
        "images_per_class": (counts > 0).sum(axis=0).tolist(),
        "pixels_per_class": counts.sum(axis=0).tolist(),
    }


def build_segmenter(data: Dataset, recipe: Recipe) -> keras.Model:
    """Build a U-Net on the network named in the recipe.

    The default network without its coarsest maps, which have most of its weights.
    """
    height, width, channels = data.image_shape
    # Of a size that all strides divide, so that the stride of each map is unmistakable; the U-Net
    # calls the layers on images of its own size.
    size = (height + -height % COARSEST, width + -width % COARSEST, channels)
    backbone = models.build(
        recipe.model,
        input_shape=size,
        alpha=recipe.alpha,
        include_top=False,
        output_stride=COARSEST,
    )
    return models.UNet(
        data.image_shape,
        backbone,
        list(data.class_names),
        strides=MOBILE_STRIDES if recipe.model == DEFAULT else None,
        dropout=recipe.dropout,
        preprocessing=data.normalization,
    )


def augment_masks(data: Dataset, recipe: Recipe) -> keras.layers.Layer | None:
    """Return the layer that moves images and their masks by the same matrix."""
    return build_augmentation(recipe.augment, bool(recipe.flip), recipe.seed, {_MASK: IGNORE})


def add_mask_augmentation(
    model: keras.Model, augmentation: keras.layers.Layer | None
) -> keras.Model:
    """Return a model for training: the same weights, after augmentation of images and masks."""
    if augmentation is None:
        return model
    return models.AugmentedModel(model, augmentation, label=_MASK)


def compile_options(data: Dataset, recipe: Recipe) -> dict[str, Any]:
    """Return the loss and the metric."""
    return {
        "loss": DiceCrossentropy(),
        "metrics": [SegmentationMetric(len(data.class_names))],
    }


def evaluate(model: keras.Model, data: Dataset) -> Evidence:
    """Evaluate a model of masks on the test part.

    Measures the mean IoU with its interval, further measures of all pixels and of each class, the
    outlines, and what simple methods reach. Draws typical masks and the worst.
    """
    predicted = predict_masks(model, data.test)
    true = np.asarray(data.test.y[:])
    found = mask_scores(true, predicted, len(data.class_names), limit=MOST_OUTLINES)
    chosen = {
        "typical": typical_images(found.image_iou, SHOWN),
        "worst": worst_images(found.image_iou, SHOWN),
    }
    return Evidence(
        test={"examples": len(true), **found.to_dict()},
        headline=f"mean IoU {found.pixels.mean_iou:.3f}",
        more={
            "classes": found.by_class(),
            "confusion_matrix": found.pixels.confusion.astype("int64").tolist(),
            "floor": measure_mask_floor(data),
        },
        pictures={
            name: _draw(data, rows, true, predicted, found.image_iou)
            for name, rows in chosen.items()
        },
    )


def predict_masks(model: keras.Model, part: Pipeline) -> NDArray[np.uint8]:
    """Return the class of each pixel, `(n, height, width)`; only one batch has scores at a time."""
    return np.concatenate(
        [
            predict_batches(model, [inputs], part.batch_size).argmax(axis=-1).astype("uint8")
            for inputs, *_ in part
        ]
    )


def _draw(
    data: Dataset, rows: NDArray, true: NDArray, predicted: NDArray, image_iou: NDArray
) -> list[report.Picture]:
    """Draw some images with their true and predicted masks."""
    if not len(rows):
        return []
    listed = [(name_classes(true[row], data.class_names), image_iou[row]) for row in rows]
    return draw_masks(
        to_pixels(np.asarray(data.test.x[rows])),
        true[rows],
        predicted[rows],
        data.class_names,
        [f"{names}; mean IoU {iou:.2f}" for names, iou in listed],
        [
            f"An image of {names}, its true mask, and the predicted mask. Their mean IoU is "
            f"{iou:.2f}."
            for names, iou in listed
        ],
    )


def count_compared(data: Dataset) -> int:
    """Return how many images files are compared with Keras on: all that fit into memory."""
    height, width, _ = data.image_shape
    return max(1, COMPARED // (height * width * len(data.class_names)))


def read_masks(
    images: str | os.PathLike[str],
    masks: str | os.PathLike[str] | None = None,
    *,
    class_names: list[str] | None = None,
    skip_bad: bool = False,
    **options: Any,
) -> Dataset:
    """Read images and masks with `kd.data.mask_folder`.

    Raises:
        ValueError: If `skip_bad` is True: an image without its mask is no example.
    """
    if skip_bad:
        raise ValueError("skip_bad must be False for masks. Repair or remove the files.")
    return mask_folder(images, masks, class_names, **options)


SEGMENTATION = Task(
    name="segment",
    check_data=check_masks,
    describe_data=describe_masks,
    choose=choose_settings,
    build=build_segmenter,
    augmentation=augment_masks,
    add_augmentation=add_mask_augmentation,
    fit_data=batch_training_data,
    compile_options=compile_options,
    mode="max",
    evaluate=evaluate,
    export_options=export_options,
    most_compared=count_compared,
    page=SEGMENTATION_PAGE,
    rules=SEGMENTATION_RULES,
    convert=as_dataset,
    summarize=summarize_data,
    read=read_masks,
)
