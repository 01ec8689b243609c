"""What tasks that give images classes or labels share: settings, networks, maps and pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_dlcourse import callbacks, models
from keras_dlcourse.data import Dataset, Pipeline, summarize
from keras_dlcourse.data.image_cache import CachedImages
from keras_dlcourse.data.pipeline import rebuild
from keras_dlcourse.explain.methods import method_for
from keras_dlcourse.training.run.augment import build_augmentation, can_mirror
from keras_dlcourse.training.run.pretrained import build_pretrained, choose_weights
from keras_dlcourse.training.run.recipe import (
    Recipe,
    choose_fine_tuning,
    choose_length,
    chosen,
    fill,
)

MAP_PICTURES = 4  # per run, evenly spread over its epochs
# Training images per class from which on shifted and turned copies slow training down more than
# they help: 1.8 points less on Fashion-MNIST after 785 steps.
ENOUGH = 500
FAST = (np.ndarray, CachedImages)  # images that are read much faster than files are decoded


def check_is_dataset(data: Any) -> None:
    """Raise TypeError if data are not a `kd.data.Dataset`."""
    if not isinstance(data, Dataset):
        raise TypeError(
            "data must be a kd.data.Dataset, e.g. from kd.data.image_folder. "
            f"Received: {type(data).__name__}"
        )


def summarize_data(data: Dataset) -> list[str]:
    """Return lines about the images and what is wrong with them.

    Images that are decoded in each epoch are not compared: reading them once more takes too long.
    From a cache, it takes about 1 ms for an image of 224 x 224.
    """
    if not all(isinstance(part.x, FAST) for part in (data.train, data.validation, data.test)):
        return ["Leaks between the parts are not searched for: keras-dlcourse data DIR does it"]
    return summarize(data).lines()


def describe_data(data: Dataset) -> dict[str, Any]:
    """Return the names of the classes and the normalization."""
    return {
        "classes": list(data.class_names),
        "normalization": data.normalization.to_dict() if data.normalization else None,
    }


def choose_image_settings(
    data: Dataset, recipe: Recipe, per_class: int
) -> tuple[Recipe, list[str]]:
    """Fill in the settings of any task that gives images classes or labels, and say why.

    Args:
        data: The data set.
        recipe: A recipe.
        per_class: Number of training images of a class, on average.
    """
    is_plain = recipe.augment == "none"  # on request
    recipe, weights = choose_weights(recipe, data.image_shape)
    if recipe.weights != "none":
        recipe, why = choose_fine_tuning(recipe, data.train.examples)
    else:
        recipe, why = choose_length(recipe, data.train.examples)
    level = "light" if per_class < ENOUGH else "none"
    recipe, more = fill(
        recipe,
        {
            "augment": (level, f"for {per_class:,} training images per class"),
            "label_smoothing": (0.1, "against overconfidence"),
        },
    )
    why = [weights, *why, *more]
    if recipe.flip is None:
        flip, found = (False, "augment=none") if is_plain else can_mirror(data.train)
        recipe = replace(recipe, flip=flip)
        why.append(f"flip={flip}: {found}")
    return recipe, why


def build_network(data: Dataset, recipe: Recipe, **head: Any) -> keras.Model:
    """Build the model named in the recipe, for the images and classes of the data.

    Args:
        data: The data set.
        recipe: The recipe.
        **head: `classifier_activation`, if it is not `"softmax"`.
    """
    if recipe.weights != "none":
        return build_pretrained(data, recipe, **head)
    return models.build(
        recipe.model,
        input_shape=data.image_shape,
        alpha=recipe.alpha,
        classes=list(data.class_names),
        dropout=recipe.dropout,
        preprocessing=data.normalization,
        **head,
    )


def batch_training_data(data: Dataset, recipe: Recipe) -> Pipeline:
    """Return the training images in batches of the recipe's size."""
    return rebuild(data.train, batch_size=recipe.batch_size or data.train.batch_size)


def augment(data: Dataset, recipe: Recipe) -> keras.layers.Layer | None:
    """Return the layer that augments images."""
    return build_augmentation(recipe.augment, bool(recipe.flip), recipe.seed)


def map_pictures(
    data: Dataset, recipe: Recipe, folder: Path, model: keras.Model
) -> callbacks.ClassActivationMaps:
    """Return the callback that draws class activation maps, by a method that fits the head."""
    every = max(1, chosen(recipe.epochs) // MAP_PICTURES)
    return callbacks.ClassActivationMaps(
        data.validation, folder, every=every, method=method_for(model)
    )


def export_options(data: Dataset) -> dict[str, Any]:
    """Return the names of the classes and the normalization."""
    return {"labels": data.class_names, "preprocessing": data.normalization}


def to_pixels(images: NDArray) -> NDArray[np.uint8]:
    """Return images as pixels; floats of unknown range are stretched to 0..255."""
    if images.dtype == np.uint8:
        return images
    low, high = float(images.min()), float(images.max())
    return np.round((images - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
