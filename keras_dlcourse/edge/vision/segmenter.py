"""Image in, masks out."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_flag, check_one_of
from keras_dlcourse.edge.description.labels import Labels, order_labels
from keras_dlcourse.edge.description.layouts import (
    ACTIVATIONS,
    NO_ACTIVATION,
    SOFTMAX,
    MaskLayout,
)
from keras_dlcourse.edge.results import BACKGROUND, NO_CATEGORY, Segmentation
from keras_dlcourse.edge.runtime.sandbox import Limits
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.image_model import ImageModel
from keras_dlcourse.edge.vision.images import find_seen_part
from keras_dlcourse.edge.vision.mask_size import enlarge_confidences, find_categories

_ROUNDING = 1e-3  # by which confidences may be outside 0 to 1


class ImageSegmenter(ImageModel):
    """Finds the class of each pixel of an image with a `.tflite` file.

    Masks have the size of the image. Confidences are interpolated bilinearly between those of the
    network (half-pixel centers, as in OpenCV and TensorFlow), and the category of a pixel is the
    class with the highest of them. MediaPipe's confidence masks are the same. Its category mask
    differs at borders between classes, because it interpolates the outputs before the softmax, and
    with aligned corners; if the mask of the network has the size of the image, it is the same. For
    a file with a single class it has 0 for the object and 255 for the background.

    Args:
        model: Path or bytes of a `.tflite` file, or a `ModelFile`.
        labels: Class names in the order of the outputs, instead of the file's: a list, a
            dictionary of numbers to names or of names to numbers, or an open text file. A file with
            a single class takes its name, or the names of background and class.
        mean: Value to subtract from pixels (0 to 255), instead of the file's. Must be passed
            together with `std`.
        std: Value to divide by afterwards.
        threads: Number of threads; None leaves it to the runtime, which uses one.
        crop: How to fit images of other sizes: False stretches them, True center-crops them. Use
            the same setting as in training.
        bits: Number of significant bits in 16-bit grayscale images, see `read_image`.
        untrusted: Whether to run the model in a separate process, so that this process survives if
            the model crashes or takes too much time or memory: True, or the `Limits`.
        activation: What turns the outputs into confidences, instead of what the file says:
            `"softmax"`, `"sigmoid"` or `"none"`, which is also that of files without MediaPipe's
            metadata.
        output_category_mask: Whether results have a category mask.
        output_confidence_masks: Whether results have confidence masks: 4 bytes per class and pixel.

    Raises:
        InvalidModel: If the file is damaged or not a `.tflite` file, or the runtime rejects it;
            `ModelStopped` if it is untrusted and crashed or was stopped.
        TypeError: If an argument has the wrong type.
        ValueError: If it is not an image segmenter, the normalization of its pixels is unknown, or
            `labels` or `activation` does not match its outputs.
        OSError: If the file cannot be read.
        ImportError: If no interpreter is installed.

    Example:
        >>> segmenter = ImageSegmenter("masks.int8.tflite")  # doctest: +SKIP
        >>> segmentation = segmenter.segment("photo.jpg")  # doctest: +SKIP
        >>> segmentation.category_mask.shape, segmentation.areas  # doctest: +SKIP
        ((720, 1280), {'land': 0.61, 'sea': 0.39})
        >>> draw_segmentation("photo.jpg", segmentation).save("overlay.png")  # doctest: +SKIP
    """

    _kind = "an image segmenter"
    _gives = "one value per class at each position, shape (batch, height, width, classes)"
    _values = "masks"
    _for_one = "segment"

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | ModelFile,
        *,
        labels: Labels | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        threads: int | None = None,
        crop: bool = False,
        bits: int | None = None,
        untrusted: bool | Limits = False,
        activation: str | None = None,
        output_category_mask: bool = True,
        output_confidence_masks: bool = True,
    ) -> None:
        self._with_categories = check_flag("output_category_mask", output_category_mask)
        self._with_confidences = check_flag("output_confidence_masks", output_confidence_masks)
        if activation is not None:
            check_one_of("activation", activation, ACTIVATIONS)
        super().__init__(
            model, mean=mean, std=std, threads=threads, crop=crop, bits=bits, untrusted=untrusted
        )
        self._layout = _layout(self._file, activation)
        self._labels = name_categories(self._file, labels)
        self._options |= {
            "labels": None if labels is None else self._labels,
            "activation": activation,
            "output_category_mask": output_category_mask,
            "output_confidence_masks": output_confidence_masks,
        }

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the categories by their numbers in masks, or None if unknown."""
        return self._labels

    def segment(self, image: Any) -> Segmentation:
        """Return the masks of an image.

        Args:
            image: Path, bytes of an image file, PIL image, or uint8 array of shape (height, width)
                or (height, width, 1, 3 or 4). Images of other sizes than the model's are resized.

        Returns:
            The masks, at the size of the image.

        Raises:
            InvalidImage: If the image cannot be read.
            TypeError: If the image has an unsupported type or dtype.
            ValueError: If the array has an unsupported shape, or outputs are NaN or, in a file
                without activation, not confidences.
        """
        size, outputs = self._run_on_image(image)
        values = outputs[0][0]
        self._check_values(values)
        height, width, _ = self.input_shape
        seen = find_seen_part(size, height / width if self._crop else None)
        categories, confidences = None, None
        single = values.shape[-1] == 1
        if self._with_confidences or single:
            confidences = np.full((values.shape[-1], *size), np.nan, np.float32)
            enlarge_confidences(values, self._layout, confidences[:, *seen])
        if self._with_categories:
            categories = np.full(size, NO_CATEGORY, np.uint8)
            part = categories[seen]
            if single and confidences is not None:
                part[:] = confidences[0, *seen] > 0.5
            else:
                part[:] = find_categories(values, self._layout, part.shape)
        names = self._labels or tuple(f"class {k}" for k in range(max(2, values.shape[-1])))
        return Segmentation(names, categories, confidences if self._with_confidences else None)

    def _numbers(self, file: ModelFile) -> int:
        """Return the number of values of the mask, after checking that the output is one."""
        shapes = [tensor.shape_signature for tensor in file.outputs]
        tensor = file.outputs[0]
        shape = tensor.shape
        must = f"{self._kind} must return {self._gives}"
        if len(shapes) > 1:
            raise ValueError(f"{must}, as its only output; {file.what} returns {shapes}")
        if tensor.dtype in ("int32", "int64"):
            raise ValueError(
                f"{must}; {file.what} returns class numbers, {tensor.dtype} of shape {shapes[0]}. "
                "Export the model without its argmax."
            )
        if len(shape) == 2:
            raise ValueError(
                f"{must}; {file.what} returns {shapes[0]}. Open a classifier with ImageClassifier."
            )
        if len(shape) != 4 or shape[0] != file.inputs[0].shape[0] or min(shapes[0][1:]) < 1:
            raise ValueError(f"{must}, of fixed size; {file.what} returns {shapes[0]}")
        if tensor.dtype not in ("float32", "uint8", "int8", "int16"):
            raise ValueError(
                f"masks must be float32, uint8, int8 or int16; {file.what} returns {tensor.dtype}"
            )
        if shape[-1] > NO_CATEGORY:
            raise ValueError(
                f"masks must have at most {NO_CATEGORY} classes; {file.what} has {shape[-1]}"
            )
        return math.prod(shape[1:])

    def _check_values(self, values: np.ndarray) -> None:
        """Raise ValueError if values are no numbers, or without activation no confidences."""
        low, high = float(values.min()), float(values.max())
        if math.isnan(low):
            raise ValueError(
                f"the outputs of {self._file.what} must be numbers. Received: NaN. Check the "
                "weights of the model, and its normalization."
            )
        is_logits = self._layout.activation != NO_ACTIVATION
        if not is_logits and not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise ValueError(
                f"the outputs of {self._file.what} must be confidences from 0 to 1, because it "
                f"names no activation. Received: values from {low:.4g} to {high:.4g}. Pass "
                "activation='softmax' or 'sigmoid' if they are logits."
            )


def _layout(file: ModelFile, activation: str | None) -> MaskLayout:
    """Return the caller's layout, or else the file's."""
    if activation is not None:
        layout = MaskLayout(activation)
    else:
        layout = file.metadata.mask or MaskLayout(NO_ACTIVATION)
    if layout.activation == SOFTMAX and file.outputs[0].shape[-1] == 1:
        raise ValueError(
            f"the activation must be 'sigmoid' or 'none' for one class. Received: 'softmax' for "
            f"{file.what}, which has one class. Pass activation='sigmoid'."
        )
    return layout


def name_categories(file: ModelFile, labels: Labels | None = None) -> tuple[str, ...] | None:
    """Return the caller's names of categories, or else the file's, after checking their number.

    A single class has two categories: the background and itself.
    """
    names = file.metadata.labels if labels is None else order_labels(labels)
    classes = file.outputs[0].shape[-1]
    if names is not None and classes == len(names) == 1:
        return (BACKGROUND, *names)
    if names is not None and len(names) != max(2, classes):
        raise ValueError(
            f"there are {len(names)} labels {'in the file' if labels is None else 'given'}, but "
            f"{file.what} has {classes} classes. Pass one label per class, in the same order."
        )
    return names
