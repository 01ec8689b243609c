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
    from keras_dlcourse.export.conversion.sources import load_model

    return load_model(path)


def images_for(model: Any, paths: Sequence[Path], bits: int | None = None) -> ImageFiles:
    """Return images read at the size and with the channels of a model.

    Args:
        model: The Keras model.
        paths: The files.
        bits: As `ImageFiles` takes it.

    Raises:
        ValueError: If the model does not take images of one size.
    """
    from keras_dlcourse.data.folder import ImageFiles

    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        raise ValueError(f"the model must take images of one size; its input shape is {shape}")
    return ImageFiles(paths, shape[1:3], channels=shape[3], bits=bits)


def readable_images(
    model: Any, paths: Sequence[Path], skip_bad: bool = False, bits: int | None = None
) -> tuple[Any, np.ndarray]:
    """Read images as a model takes them, all at once; return them and their indices in `paths`.

    Raises:
        ValueError: If some cannot be read, and no `skip_bad`, or none can.
    """
    from keras_dlcourse.data.folder import read_images

    images, good = read_images(images_for(model, paths, bits), skip_bad)
    if not len(good):
        raise ValueError("none of the files can be read as an image")
    return images, good


def recorded_normalization(model: Any) -> Normalization | None:
    """Return what the model says its pixels went through, if it does."""
    from keras_dlcourse import layers

    description = layers.describe(model)
    return None if description is None else description.normalization


def says_normalization(model: Any) -> bool:
    """Whether a model records what its pixels went through, scales them itself, or takes none."""
    from keras_dlcourse.export.conversion.device_model import is_image_shape
    from keras_dlcourse.export.conversion.entrance import takes_pixels

    shape = model.input_shape
    image = isinstance(shape, tuple) and is_image_shape(shape[1:])
    return not image or recorded_normalization(model) is not None or takes_pixels(model)[0]


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
    *,
    skip_bad: bool = False,
    bits: int | None = None,
) -> Pipeline:
    """Give the images at any depth below a folder, normalised as given or as the model says.

    They are read as they are used, of which calibration takes a few; all of them with `skip_bad`.
    """
    from keras_dlcourse.data import pipeline
    from keras_dlcourse.data.folder import files_below

    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{argument}: {folder} is not a folder")
    paths = files_below(folder, set())
    if not paths:
        raise ValueError(f"{argument}: {folder} holds no files")
    images: Any = images_for(model, paths, bits)
    if skip_bad:
        images, _ = readable_images(model, paths, skip_bad, bits)
    return pipeline(images, normalization=normalization or recorded_normalization(model))


def labelled_images(
    model: Any,
    folder: str | os.PathLike[str],
    labels: Sequence[str] | None,
    normalization: Normalization | None = None,
    *,
    skip_bad: bool = False,
    bits: int | None = None,
) -> Pipeline:
    """Read a folder with a folder of images a class, normalised as given or as the model says.

    Args:
        model: The Keras model.
        folder: The folder; it may lack some of the classes.
        labels: Names in the order of the model's outputs; those of the folders, sorted, if None.
        normalization: What the pixels go through; what the model records if None.
        skip_bad: Whether to leave out files that cannot be read, with a warning.
        bits: As `ImageFiles` takes it.

    Raises:
        ValueError: If a folder is not one of the classes, or files cannot be read.
    """
    from keras_dlcourse.data import pipeline
    from keras_dlcourse.data.folder import class_folders, find_classes

    known = None if labels is None else tuple(labels)
    present = tuple(class_folders(Path(folder)))
    if known is not None and (strange := sorted(set(present) - set(known))):
        raise ValueError(
            f"{folder} has folders that are no classes of the model: {', '.join(strange)}; "
            f"the classes are: {', '.join(known)}"
        )
    # Folders that a model knows as its classes are classes, whatever they are called.
    names, paths, numbers = find_classes(Path(folder), None if known is None else present)
    if known is None and len(names) != model.output_shape[-1]:
        raise ValueError(
            f"{folder} has {len(names)} classes, but the model has {model.output_shape[-1]} "
            "outputs, and neither model nor file says what they are called"
        )
    outputs = np.array([(known or names).index(name) for name in names])
    images, good = readable_images(model, paths, skip_bad, bits)
    return pipeline(
        images,
        outputs[numbers][good],
        normalization=normalization or recorded_normalization(model),
        class_names=known or names,
    )
