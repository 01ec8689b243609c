"""What export and verify read: a saved model, and folders of images as that model takes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from keras_dlcourse.data import Normalization, Pipeline
    from keras_dlcourse.data.folder import ImageFiles


def load_model(path: str | os.PathLike[str]) -> Any:
    """Load a `.keras` file or the folder of a SavedModel.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If it is neither.
    """
    from keras_dlcourse.export.sources import load_model

    return load_model(path)


def images_for(model: Any, paths: Sequence[Path]) -> ImageFiles:
    """Return images read at the size and with the channels of a model.

    Raises:
        ValueError: If the model does not take images of one size.
    """
    from keras_dlcourse.data.folder import ImageFiles

    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        raise ValueError(f"the model must take images of one size; its input shape is {shape}")
    return ImageFiles(paths, shape[1:3], channels=shape[3])


def recorded_normalization(model: Any) -> Normalization | None:
    """Return what the model says its pixels went through, if it does."""
    from keras_dlcourse import layers

    description = layers.describe(model)
    return None if description is None else description.normalization


def recorded_labels(model: Any) -> tuple[str, ...] | None:
    """Return what the model says its classes are called, if it does."""
    from keras_dlcourse import layers

    description = layers.describe(model)
    return None if description is None else description.class_names


def calibration_images(
    model: Any,
    folder: str | os.PathLike[str],
    normalization: Normalization | None = None,
    argument: str = "--calibration",
) -> Pipeline:
    """Read every image at any depth below a folder, normalised as given or as the model says."""
    from keras_dlcourse.data import pipeline
    from keras_dlcourse.data.folder import files_below

    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{argument}: {folder} is not a folder")
    paths = files_below(folder, set())
    if not paths:
        raise ValueError(f"{argument}: {folder} holds no files")
    return pipeline(
        images_for(model, paths), normalization=normalization or recorded_normalization(model)
    )


def labelled_images(
    model: Any,
    folder: str | os.PathLike[str],
    labels: Sequence[str] | None,
    normalization: Normalization | None = None,
) -> Pipeline:
    """Read a folder with a folder of images a class, normalised as given or as the model says.

    Args:
        model: The Keras model.
        folder: The folder; it may lack some of the classes.
        labels: Names in the order of the model's outputs; those of the folders, sorted, if None.
        normalization: What the pixels go through; what the model records if None.

    Raises:
        ValueError: If a folder is not one of the classes.
    """
    from keras_dlcourse.data import pipeline
    from keras_dlcourse.data.folder import find_classes

    names, paths, numbers = find_classes(Path(folder))
    known = tuple(names if labels is None else labels)
    if strange := sorted(set(names) - set(known)):
        raise ValueError(
            f"{folder} has folders that are no classes of the model: {', '.join(strange)}; "
            f"the classes are: {', '.join(known)}"
        )
    if labels is None and len(names) != model.output_shape[-1]:
        raise ValueError(
            f"{folder} has {len(names)} classes, but the model has {model.output_shape[-1]} "
            "outputs, and neither model nor file says what they are called"
        )
    outputs = np.array([known.index(name) for name in names])
    return pipeline(
        images_for(model, paths),
        outputs[numbers],
        normalization=normalization or recorded_normalization(model),
        class_names=known,
    )
