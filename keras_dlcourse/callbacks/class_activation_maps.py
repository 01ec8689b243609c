"""Class activation maps after each epoch: see what a network uses as it learns."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_folder, check_integer
from keras_dlcourse._extras import require
from keras_dlcourse._files import user_path, write_atomically, write_bytes
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.callbacks._tensorboard import write_picture
from keras_dlcourse.data import Examples, take
from keras_dlcourse.explain import class_mean_maps
from keras_dlcourse.explain.engine.scaling import resize_and_scale
from keras_dlcourse.explain.methods import MapFunction, Mapper, function_of, mapper_for
from keras_dlcourse.layers import describe
from keras_dlcourse.report.canvas import png_bytes
from keras_dlcourse.report.class_means import draw_class_means
from keras_dlcourse.report.maps import draw_class_activation_maps, write_animation

_TAG = "class_activation_maps"
_DPI = 110


class ClassActivationMaps(keras.callbacks.Callback):
    """After each epoch, draw where in some images the network finds its evidence.

    The figure shows each image next to its maps for the true class and the predicted class, with
    both scores, and marks correct and wrong predictions. The images stay the same from epoch to
    epoch. A model with an unsuitable head is rejected before the first epoch.

    Args:
        data: The source of the images: a `kd.data.Pipeline`, `(images, labels)` arrays, an array of
            images without labels (then only the predicted class is shown), or anything else that
            `kd.data.take` reads. Prepared as for `fit`.
        folder: Folder for `epoch_0001.png` and so on. It is created if needed.
        every: Number of epochs between figures.
        limit: Maximum number of images to show.
        seed: Seed for choosing the images; None takes the first ones.
        class_names: Names of the classes. None uses those of `data`, else those recorded in the
            model, else numbers.
        tensorboard: A log folder; the figures are also written to its run `class_activation_maps`.
            This needs `pip install 'keras-dlcourse[tensorboard]'`, but not TensorFlow.
        method: How the maps are computed: a name in `kd.explain.METHODS`, or a function of a model,
            images and classes. `"cam"` is the cheapest, and needs the head described below;
            `"grad_cam"` works with any network.
        animation: Whether to combine the figures in `epochs.gif` at the end of training.
        class_means: Number of images whose maps are averaged by class at the end of training, for
            `class_means.png`: where the network looks for each class overall. 0 for none.
        **options: Further arguments of the method, such as `layer=`.

    Raises:
        ImportError: If `tensorboard` is given, and that package is not installed.
        TypeError: If `data` is not something that `kd.data.take` reads.
        ValueError: In `__init__` if another argument is out of range; before the first epoch if the
            method is `"cam"` and the model does not end in global pooling and one linear layer, or
            if images, labels or names do not match the model.

    Example:
        >>> import keras, numpy as np, os, tempfile
        >>> model = keras.Sequential([
        ...     keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"),
        ...     keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.random.default_rng(0).random((6, 8, 8, 1)), np.arange(6) % 2
        >>> folder = tempfile.mkdtemp()
        >>> maps = ClassActivationMaps((x, y), folder, limit=4, class_names=["cat", "dog"])
        >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=[maps])
        >>> sorted(os.listdir(folder))
        ['epoch_0001.png', 'epoch_0002.png', 'epochs.gif']

    Reference:
        Zhou et al. (2016), Learning Deep Features for Discriminative Localization,
        https://arxiv.org/abs/1512.04150
    """

    @renamed_arguments(images="limit", directory="folder")
    def __init__(
        self,
        data: Any,
        folder: str | os.PathLike[str],
        every: int = 1,
        limit: int = 8,
        seed: int | None = 0,
        class_names: Sequence[str] | None = None,
        tensorboard: str | os.PathLike[str] | None = None,
        method: str | MapFunction = "cam",
        animation: bool = True,
        class_means: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        counts = (("every", every, 1), ("limit", limit, 1), ("class_means", class_means, 0))
        for name, number, least in counts:
            check_integer(name, number, least)
        if isinstance(class_names, str):
            raise TypeError(f"class_names must be a list of names. Received: {class_names!r}")
        self.folder = _folder("folder", folder)
        self.tensorboard = None if tensorboard is None else _folder("tensorboard", tensorboard)
        if tensorboard is not None:
            require("ClassActivationMaps(tensorboard=...)", "tensorboard", "tensorboard")
        self.every = every
        function_of(method)
        self.method, self.animation, self._options = method, animation, options
        self._examples = take(data, limit, seed)
        if self._examples.inputs.ndim != 4:
            raise ValueError(
                "data must contain images of shape (n, height, width, channels). "
                f"Received: shape {self._examples.inputs.shape}"
            )
        self._labels = _label_indices(self._examples)
        self._many = take(data, class_means, seed) if class_means else None
        if self._many is not None and self._labels is None:
            raise ValueError("class_means needs labels. Pass (images, labels) as data.")
        self._class_names = class_names or self._examples.class_names
        self._mapper: Mapper | None = None
        self._mapped: keras.Model | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check the model and the data before the first epoch, and compile."""
        if self._mapper is None or self._mapped is not self.model:
            self._mapper = mapper_for(self.model, self.method, len(self._examples), **self._options)
            self._mapped = self.model
        classes = self._mapper.classes
        described = describe(self.model)
        names = self._class_names or (described and described.class_names)
        self.class_names = tuple(str(name) for name in names or range(classes))
        if len(self.class_names) != classes:
            raise ValueError(
                f"class_names must have one name for each of the {classes} classes of the model. "
                f"Received: {len(self.class_names)} names, {', '.join(self.class_names)}"
            )
        if self._labels is not None and not 0 <= self._labels.min() <= self._labels.max() < classes:
            raise ValueError(
                f"data must have labels from 0 to {classes - 1}, the classes of the model. "
                f"Received: labels from {self._labels.min()} to {self._labels.max()}"
            )
        self._maps()  # compile
        for folder in (self.folder, self.tensorboard):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Draw the maps every `every` epochs."""
        if (epoch + 1) % self.every:
            return
        png = self.picture(f"Class activation maps after epoch {epoch + 1}")
        try:
            write_bytes(self.folder / f"epoch_{epoch + 1:04d}.png", png)
            if self.tensorboard is not None:
                write_picture(self.tensorboard / _TAG, _TAG, epoch + 1, png, _png_size(png))
        except OSError as error:
            # Hours of training are worth more than a figure.
            warnings.warn(
                f"ClassActivationMaps could not write the figure for epoch {epoch + 1}: {error}. "
                "Training continues.",
                stacklevel=2,
            )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Draw the mean map of each class, and animate the figures of all epochs in the folder."""
        pictures = sorted(self.folder.glob("epoch_*.png"))
        try:
            if self._many is not None:
                write_bytes(self.folder / "class_means.png", self._class_means(self._many))
            if self.animation and len(pictures) > 1:
                with write_atomically(self.folder / "epochs.gif") as path:
                    write_animation(path, pictures)
        except OSError as error:
            warnings.warn(
                f"ClassActivationMaps could not write its files at the end of training: {error}",
                stacklevel=2,
            )

    def _class_means(self, examples: Examples) -> bytes:
        means = class_mean_maps(
            self.model,
            examples.inputs,
            np.asarray(_label_indices(examples)),
            self.method,
            len(self._examples),
            **self._options,
        )
        pixels = _pixels(Examples(means.images))
        figure = draw_class_means(pixels, means.maps, means.counts, self.class_names)
        return png_bytes(figure, _DPI)

    def picture(self, title: str = "Class activation maps") -> bytes:
        """Draw the maps for the current weights of the model.

        Args:
            title: Title of the figure.

        Returns:
            The content of a PNG file.

        Raises:
            ValueError: Before the first `fit`.
        """
        planes, scores, predicted = self._maps()
        labels = self._labels
        figure = draw_class_activation_maps(
            _pixels(self._examples), planes, scores, predicted, labels, self.class_names, title
        )
        return png_bytes(figure, _DPI)

    def _maps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute the maps, the scores of their classes, and the predicted classes."""
        inputs, labels, mapper = self._examples.inputs, self._labels, self._mapper
        if mapper is None:
            raise ValueError("picture() needs a model. Pass this callback to fit first.")
        logits = mapper.scores(inputs)
        predicted = logits.argmax(-1)
        shown = predicted[:, None] if labels is None else np.stack([labels, predicted], axis=1)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # maps that are all 0 would warn each epoch
            maps, _ = mapper.maps(inputs, shown)
        with np.errstate(invalid="ignore"):  # the weights may have become NaN
            scores = np.take_along_axis(mapper.probabilities(logits), shown, axis=1)
            return resize_and_scale(maps, mapper.image_size(inputs)), scores, predicted


def _folder(name: str, path: Any) -> Path:
    folder = user_path(check_folder(name, path))
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{name} must be a folder. Received: {str(path)!r}, which is a file")
    return folder


def _label_indices(examples: Examples) -> np.ndarray | None:
    """Return the true class of each image, from integer or one-hot labels."""
    if examples.labels is None:
        return None
    labels = np.asarray(examples.labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        if not ((labels == labels.max(1, keepdims=True)).sum(1) == 1).all():
            raise ValueError(
                "data must have exactly one true class per image. Received: labels with several or "
                "none. Pass only the images to see the predicted classes."
            )
        return np.asarray(labels.argmax(1))
    if labels.ndim != 1 or not np.array_equal(labels, np.floor(labels)):
        raise ValueError(
            "data must have labels that are integers (n,) or one-hot (n, classes). "
            f"Received: {labels.dtype} of shape {labels.shape}"
        )
    return labels.astype("int64")


def _pixels(examples: Examples) -> np.ndarray:
    """Return images for display: the pixels, or the inputs rescaled to 0..255."""
    images = examples.inputs if examples.pixels is None else examples.pixels
    if images.shape[-1] not in (1, 3):
        images = images.mean(-1, keepdims=True)
    if images.dtype == np.uint8:
        return images
    low, high = images.min(), images.max()
    return np.asarray((images - low) * (255 / max(high - low, 1e-12))).astype("uint8")


def _png_size(png: bytes) -> tuple[int, int]:
    """Read height and width from the first chunk of a PNG file."""
    width, height = struct.unpack(">II", png[16:24])
    return height, width
