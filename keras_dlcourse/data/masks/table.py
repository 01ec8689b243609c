"""Which class a pixel of a mask file means: by its value, or by its color."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageColor

from keras_dlcourse._checks import is_whole
from keras_dlcourse.data.mask_labels import IGNORE
from keras_dlcourse.edge.description.labels import check_class_names
from keras_dlcourse.edge.vision.images import InvalidImage

_LAST_VALUE = (1 << 16) - 1
_UNKNOWN = -1
_INTEGERS = re.compile(r"1|L|P|I(;16\w*)?")  # Pillow's modes of one whole number per pixel
_VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip


def _voc_color(number: int) -> tuple[int, int, int]:
    """Return a color of PASCAL VOC: the bits of the number, dealt to red, green and blue in turn.

    Reference:
        https://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html, VOCcolormap
    """
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]


VOC_COLORS: dict[str, tuple[int, int, int]] = {
    name: _voc_color(number) for number, name in enumerate(_VOC)
}


@dataclass(frozen=True)
class ClassTable:
    """The classes of mask files, and what stands for them in the files.

    Attributes:
        class_names: Names of the classes, in the order of their numbers.
        values: The value of each class in masks of one number per pixel, or None.
        colors: The color of each class in color masks, `(classes, 3)`, or None.
        ignored_value: The value of pixels without a label, or None.
        ignored_color: Their color, or None.
    """

    class_names: tuple[str, ...]
    values: tuple[int, ...] | None
    colors: tuple[tuple[int, int, int], ...] | None
    ignored_value: int | None
    ignored_color: tuple[int, int, int] | None

    @classmethod
    def of(cls, classes: Any, ignore: Any = IGNORE) -> ClassTable:
        """Return the table for arguments of `mask_folder`."""
        names = check_class_names(_names(classes))
        if not 2 <= len(names) <= IGNORE:
            raise ValueError(
                f"classes must name 2 to {IGNORE} classes: pixels that show no object have a "
                f"class, too, such as background. Received: {list(names)[:10]}"
            )
        marks = list(classes.values()) if isinstance(classes, Mapping) else list(range(len(names)))
        if all(map(is_whole, marks)):
            values = tuple(map(int, marks))
            if wrong := [value for value in values if not 0 <= value <= _LAST_VALUE]:
                raise ValueError(
                    f"classes must have values from 0 to {_LAST_VALUE}. Received: {wrong[0]}"
                )
            _check_different(names, values)
            return cls(names, values, None, _ignored_value(ignore), None)
        colors = tuple(_color("classes", mark) for mark in marks)
        _check_different(names, colors)
        # The default is a value: it says nothing about colors.
        ignored = None if ignore is None or is_whole(ignore) else _color("ignore", ignore)
        return cls(names, None, colors, None, ignored)

    def decode(self, image: Image.Image) -> tuple[np.ndarray, dict[str, int]]:
        """Return the class of each pixel, and values that are not in the table.

        Args:
            image: A mask of any mode.

        Returns:
            Class numbers `(height, width)` uint8, with `IGNORE` for pixels without a label; and how
            often each unknown value or color occurs, the most frequent first.

        Raises:
            InvalidImage: If the pixels are floats, or their color or value cannot be told.
        """
        if image.mode == "F":
            raise InvalidImage(
                "a mask must have whole numbers or colors. Received: float pixels. Save it as an "
                "8-bit or 16-bit PNG"
            )
        if _INTEGERS.fullmatch(image.mode) and self.values is not None:
            return self._decode_values(np.array(image).astype("int64"))
        pixels = _rgb(image)
        if self.colors is not None:
            return self._decode_colors(pixels)
        if (pixels != pixels[..., :1]).any():
            raise InvalidImage(
                "a mask must have one value per pixel if classes have no colors. Received: "
                f"colors, such as {_name_color(_first_color(pixels))}. Pass the color of each "
                "class: classes={'road': '#804080', ...}"
            )
        return self._decode_values(pixels[..., 0].astype("int64"))

    def _decode_values(self, values: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
        numbers = np.full(_LAST_VALUE + 2, _UNKNOWN, "int16")  # the last one is out of range
        if self.ignored_value is not None:
            numbers[self.ignored_value] = IGNORE
        numbers[list(self.values or ())] = np.arange(len(self.class_names))
        inside = (values >= 0) & (values <= _LAST_VALUE)
        classes = numbers[np.where(inside, values, _LAST_VALUE + 1)]
        return _separate(classes, values, str)

    def _decode_colors(self, pixels: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
        codes = _codes(pixels)
        known = [*(self.colors or ())]
        numbers = [*range(len(known))]
        if self.ignored_color is not None and self.ignored_color not in known:
            known, numbers = [*known, self.ignored_color], [*numbers, IGNORE]
        listed = _codes(np.array(known))
        order = np.argsort(listed)
        place = np.searchsorted(listed[order], codes).clip(max=len(known) - 1)
        found = listed[order][place] == codes
        classes = np.where(found, np.array(numbers, "int16")[order][place], _UNKNOWN)
        return _separate(classes, codes, _name_color)


def _names(classes: Any) -> Sequence[str]:
    if isinstance(classes, Mapping):
        return list(classes)
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise TypeError(
            "classes must be names in the order of the values 0, 1, ..., or a dictionary of names "
            f"with the value or the color of each. Received: {classes!r}"
        )
    return classes


def _check_different(names: tuple[str, ...], marks: Sequence[Any]) -> None:
    """Raise ValueError if two classes have the same value or color."""
    first: dict[Any, str] = {}
    for name, mark in zip(names, marks, strict=True):
        if mark in first:
            raise ValueError(
                f"classes must have a value or a color each. Received: {mark} for {first[mark]} "
                f"and for {name}"
            )
        first[mark] = name


def _ignored_value(ignore: Any) -> int | None:
    if ignore is None:
        return None
    if not is_whole(ignore):
        raise TypeError(
            f"ignore must be a value like those of classes, or None. Received: {ignore!r}"
        )
    if not 0 <= ignore <= _LAST_VALUE:
        raise ValueError(f"ignore must be a value from 0 to {_LAST_VALUE}. Received: {ignore}")
    return int(ignore)


def _color(name: str, given: Any) -> tuple[int, int, int]:
    """Return red, green and blue."""
    if isinstance(given, str):
        try:
            red, green, blue, *_ = ImageColor.getrgb(given)
            return red, green, blue
        except ValueError:
            pass
    elif (
        isinstance(given, Sequence | np.ndarray)
        and len(given) == 3
        and all(is_whole(part) and 0 <= part <= IGNORE for part in given)
    ):
        return int(given[0]), int(given[1]), int(given[2])
    raise ValueError(
        f"{name} must be all values, such as 7, or all colors, such as '#804080', 'gray' or "
        f"(128, 64, 128). Received: {given!r}"
    )


def _rgb(image: Image.Image) -> np.ndarray:
    """Return the pixels `(height, width, 3)`; raise InvalidImage if some are transparent."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        whole = np.array(image.convert("RGBA"))
        if (whole[..., 3] < IGNORE).any():
            raise InvalidImage(
                "a mask must be opaque: what a transparent pixel means is unknown. Give it a color"
            )
        return whole[..., :3]
    return np.array(image.convert("RGB"))


def _codes(colors: np.ndarray) -> np.ndarray:
    """Return colors `(..., 3)` as one number each."""
    return np.asarray(colors.astype("int64") @ [1 << 16, 1 << 8, 1])


def _first_color(pixels: np.ndarray) -> int:
    """Return the code of the first color that is not gray."""
    return int(_codes(pixels[(pixels != pixels[..., :1]).any(axis=-1)][0]))


def _name_color(code: Any) -> str:
    return f"#{int(code):06x}"


def _separate(
    classes: np.ndarray, values: np.ndarray, name: Any
) -> tuple[np.ndarray, dict[str, int]]:
    """Return classes as uint8, and how often each value without a class occurs."""
    unknown, counts = np.unique(values[classes == _UNKNOWN], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    listed = {name(unknown[k]): int(counts[k]) for k in order}
    return classes.astype("uint8"), listed
