"""Read a saved model, and folders of images in the form that the model takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_dlcourse._files import user_path

if TYPE_CHECKING:
    from keras_dlcourse.data import ImageFiles, Normalization, Pipeline
    from keras_dlcourse.data.masks.folder import MaskPair
    from keras_dlcourse.data.reading import FoundImages


def load_model(path: str | os.PathLike[str]) -> Any:
    """Load a `.keras` file or the folder of a SavedModel.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If it is neither.
    """
    from keras_dlcourse.export.conversion.sources import load_model

    return load_model(path)


def list_images(folder: str | os.PathLike[str], argument: str) -> list[Path]:
    """Return all files below a folder of images.

    Args:
        folder: The folder.
        argument: Its name in error messages.

    Raises:
        FileNotFoundError: If it is not a folder.
        ValueError: If it has no files.
    """
    from keras_dlcourse.data.listing import files_below

    folder = user_path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{argument}: {folder} is not a folder")
    paths = files_below(folder, set())
    if not paths:
        raise ValueError(f"{argument}: {folder} holds no files")
    return paths


def list_labeled_images(path: str | os.PathLike[str], labels: Sequence[str] | None) -> FoundImages:
    """Find labeled images, without reading them and without Keras.

    Args:
        path: What `kd.data.read_images` takes: a folder with one folder of images per class, also
            one that is split into `train/`, `val/` and `test/`, or a table of files and labels. It
            may lack some of the classes.
        labels: The names of the classes, if they are known.

    Raises:
        FileNotFoundError: If there is no such folder or table.
        ValueError: If there are fewer than two classes, or one that is not in `labels`.
    """
    from keras_dlcourse.data.table import find_any_images

    place = user_path(path)
    found = find_any_images(place, _choose_folders(place, labels))
    _check_names(place, found.class_names, labels)
    return found


def _choose_folders(place: Path, labels: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the folders to use as classes; None if these may be those of parts.

    Folders named like the model's classes are classes, even if they look like data set parts.
    """
    from keras_dlcourse.data.listing import class_folders
    from keras_dlcourse.data.parts import find_part

    if labels is None or place.is_file():
        return None
    present = tuple(class_folders(place))
    if set(present).isdisjoint(labels) and all(map(find_part, present)):
        return None
    _check_names(place, present, labels)
    return present


def _check_names(place: Path, names: Sequence[str], labels: Sequence[str] | None) -> None:
    if labels is not None and (strange := sorted(set(names) - set(labels))):
        raise ValueError(
            f"{place} has folders that are not classes of the model: {', '.join(strange)}. "
            f"The classes are: {', '.join(labels)}"
        )


def images_for(model: Any, paths: Sequence[Path], bits: int | None = None) -> ImageFiles:
    """Return images with the size and the channels of a model's input.

    Args:
        model: The Keras model.
        paths: The image files.
        bits: See `ImageFiles`.

    Raises:
        ValueError: If the model does not take images of a fixed size.
    """
    from keras_dlcourse.data import ImageFiles

    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        raise ValueError(
            f"the model must take images of a fixed size. Received: input shape {shape}"
        )
    return ImageFiles(paths, shape[1:3], channels=shape[3], bits=bits)


def load_images(
    model: Any, paths: Sequence[Path], skip_bad: bool = False, bits: int | None = None
) -> tuple[Any, np.ndarray]:
    """Read all images into memory for a model; return them and their indices in `paths`.

    Raises:
        ValueError: If an image cannot be read and `skip_bad` is False, or if none can be read.
    """
    from keras_dlcourse.data.reading import read_files

    images, good, _ = read_files(images_for(model, paths, bits), skip_bad)
    if not len(good):
        raise ValueError("none of the files can be read as an image")
    return images, good


def find_normalization(model: Any) -> Normalization | None:
    """Return the normalization recorded in the model, if any."""
    from keras_dlcourse import layers

    description = layers.describe(model)
    return None if description is None else description.normalization


def says_normalization(model: Any) -> bool:
    """Whether a model records its normalization, scales pixels itself, or takes no images."""
    from keras_dlcourse.export.conversion.device_model import is_image_shape
    from keras_dlcourse.export.conversion.entrance import takes_pixels

    shape = model.input_shape
    image = isinstance(shape, tuple) and is_image_shape(shape[1:])
    return not image or find_normalization(model) is not None or takes_pixels(model)[0]


def find_labels(model: Any) -> tuple[str, ...] | None:
    """Return the class names recorded in the model, if any."""
    from keras_dlcourse import layers

    description = layers.describe(model)
    return None if description is None else description.class_names


def load_calibration_images(
    model: Any,
    folder: str | os.PathLike[str],
    normalization: Normalization | None = None,
    argument: str = "--calibration",
    *,
    skip_bad: bool = False,
    bits: int | None = None,
) -> Pipeline:
    """Return a pipeline of all images below a folder, with the given or the recorded normalization.

    Images are read on demand, as calibration uses only a few; `skip_bad` reads all of them first.
    """
    from keras_dlcourse.data import pipeline

    paths = list_images(folder, argument)
    images: Any = images_for(model, paths, bits)
    if skip_bad:
        images, _ = load_images(model, paths, skip_bad, bits)
    return pipeline(images, normalization=normalization or find_normalization(model))


@dataclass(frozen=True)
class LabeledImages:
    """Labeled images from a folder.

    Attributes:
        paths: Their files.
        pixels: The images as the model takes them, before the normalization; read or unread.
        labels: The class number of each, `(n,)`; or, if images may have several classes, 1 where a
            class is present, 0 where it is absent and -1 where that is unknown, `(n, classes)`; or
            masks `(n, height, width)`, read or unread.
        parts: The part of the data set whose folder each is in, `(n,)`; `"train"` for all if the
            folder has no parts.
        class_names: Names of the classes.
        normalization: The normalization to apply.
    """

    paths: Sequence[Path]
    pixels: Any
    labels: Any
    parts: np.ndarray
    class_names: tuple[str, ...]
    normalization: Normalization | None

    def __len__(self) -> int:
        return len(self.paths)

    def choose(self, which: np.ndarray) -> LabeledImages:
        """Return some of the images, `which` being `(n,)` bool."""
        rows = np.flatnonzero(which)
        pixels, labels = (
            values[rows] if isinstance(values, np.ndarray) else values.subset(rows)
            for values in (self.pixels, self.labels)
        )
        return replace(
            self,
            paths=[self.paths[int(row)] for row in rows],
            pixels=pixels,
            labels=labels,
            parts=self.parts[rows],
        )

    def pipeline(self, *, with_labels: bool = True) -> Pipeline:
        """Return the images in batches."""
        from keras_dlcourse.data import pipeline

        return pipeline(
            self.pixels,
            self.labels if with_labels else None,
            normalization=self.normalization,
            class_names=self.class_names,
        )


def load_labeled_images(
    model: Any,
    folder: str | os.PathLike[str],
    labels: Sequence[str] | None,
    normalization: Normalization | None = None,
    *,
    skip_bad: bool = False,
    bits: int | None = None,
) -> LabeledImages:
    """Read labeled images.

    Args:
        model: The Keras model.
        folder: See `list_labeled_images`.
        labels: Class names in the order of the model's outputs; if None, the sorted folder names.
        normalization: The normalization to apply; if None, the one recorded in the model.
        skip_bad: Whether to skip files that cannot be read, with a warning.
        bits: See `ImageFiles`.

    Raises:
        ValueError: If a folder is not one of the classes, or files cannot be read.
    """
    known = None if labels is None else tuple(labels)
    found = list_labeled_images(folder, known)
    names, paths = found.class_names, found.paths
    if known is None and len(names) != model.output_shape[-1]:
        raise ValueError(
            f"{folder} has {len(names)} classes, but the model has {model.output_shape[-1]} "
            "outputs, and neither model nor file records their class names"
        )
    outputs = np.array([(known or names).index(name) for name in names])
    pixels, good = load_images(model, paths, skip_bad, bits)
    return LabeledImages(
        paths=[paths[index] for index in good],
        pixels=pixels,
        labels=_arrange(found.labels[good], outputs, len(known or names)),
        parts=found.parts[good],
        class_names=known or names,
        normalization=normalization or find_normalization(model),
    )


def list_masked_images(
    folder: str | os.PathLike[str], masks: str | os.PathLike[str] | None, class_names: Sequence[str]
) -> list[MaskPair]:
    """Find images and their masks for a segmenter, without reading them and without Keras.

    Args:
        folder: The folder of the images.
        masks: What `kd.data.mask_folder` takes: a folder or COCO annotations; None for VOC.
        class_names: The categories of the segmenter, whose numbers masks have.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ValueError: If images or masks have no partner, or the classes of COCO annotations or of VOC
            are not those of the segmenter.
    """
    from keras_dlcourse.data.masks.folder import find_pairs
    from keras_dlcourse.data.masks.table import VOC_COLORS

    place, names = None if masks is None else user_path(masks), tuple(class_names)
    given: Sequence[str] | None = names
    if place is not None and place.suffix.lower() == ".json":
        given = names[1:]  # the first one is what no category covers
    elif place is None and names == tuple(VOC_COLORS):
        given = None  # VOC's own table also knows its colors
    found, pairs = find_pairs(user_path(folder), place, given)
    if found != names:
        raise ValueError(
            f"the masks must have the classes of the model: {', '.join(names)}. Received: "
            f"{', '.join(found)}"
        )
    return pairs


def load_masked_images(
    model: Any,
    pairs: Sequence[MaskPair],
    class_names: Sequence[str],
    normalization: Normalization | None,
    bits: int | None = None,
) -> LabeledImages:
    """Read images and masks that `list_masked_images` found, at the size of the model's input.

    Raises:
        ValueError: If files cannot be read, or have values without a class; the message lists them.
    """
    from keras_dlcourse.data.masks.folder import read_pairs

    paths = [pair.image for pair in pairs]
    pixels, masks, _ = read_pairs(pairs, images_for(model, paths, bits), len(class_names))
    return LabeledImages(
        paths=paths,
        pixels=pixels,
        labels=masks,
        parts=np.array([pair.part for pair in pairs]),
        class_names=tuple(class_names),
        normalization=normalization,
    )


def _arrange(labels: np.ndarray, outputs: np.ndarray, classes: int) -> np.ndarray:
    """Return labels of a folder in the order of the model's outputs.

    Args:
        labels: Class numbers `(n,)`, or `(n, columns)` if images may have several classes.
        outputs: The output that belongs to each class of the folder.
        classes: Number of outputs. Those without a class in the folder are unknown.
    """
    if labels.ndim == 1:
        return np.asarray(outputs[labels])
    arranged = np.full((len(labels), classes), -1)
    arranged[:, outputs] = labels
    return arranged
