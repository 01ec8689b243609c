"""Masks in files, as an array that is read on access."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from keras_dlcourse.data.image_files import threads
from keras_dlcourse.data.mask_labels import IGNORE
from keras_dlcourse.data.masks.outlines import decode_rle, draw_polygons
from keras_dlcourse.data.masks.table import ClassTable
from keras_dlcourse.edge.vision.images import InvalidImage, centre_box

_LISTED = 5  # values listed for a file
_ORIENTATION, _FIRST_TURNED = 0x0112, 5  # EXIF: from 5 on, width and height are exchanged


class MaskSource(Protocol):
    """The mask of one image."""

    @property
    def name(self) -> str:
        """What the mask is called in messages."""

    def read(self) -> NDArray[np.uint8]:
        """Return class numbers `(height, width)`, 255 where there is no label.

        Raises:
            InvalidImage: If the mask cannot be read; the message names it.
            OSError: If its file cannot be read.
        """


@dataclass(frozen=True)
class MaskImage:
    """A mask that is stored as an image."""

    path: Path
    table: ClassTable

    @property
    def name(self) -> str:
        """Return the path."""
        return str(self.path)

    def read(self) -> NDArray[np.uint8]:
        """Return the classes, see `MaskSource`."""
        try:
            with Image.open(self.path) as image:
                kind = image.format
                classes, unknown = self.table.decode(ImageOps.exif_transpose(image))
        except InvalidImage as error:
            raise InvalidImage(f"{self.path}: {error}") from None
        except UnidentifiedImageError:
            raise InvalidImage(f"{self.path} is not an image that Pillow can read") from None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise InvalidImage(f"{self.path} is a damaged image: {error}") from None
        if unknown:
            listed = [f"{value} ({count:,} pixels)" for value, count in unknown.items()]
            more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
            hint = ". JPEG changes values: save masks as PNG" if kind == "JPEG" else ""
            raise InvalidImage(
                f"{self.path} has values that no class has: {', '.join(listed[:_LISTED])}{more}"
                f"{hint}"
            )
        return classes


@dataclass(frozen=True)
class MaskOutlines:
    """A mask that is drawn from the outlines of its objects.

    Attributes:
        name: What the image is called in messages.
        size: Height and width of the image.
        objects: Class number, and polygons or run lengths, of each object.
    """

    name: str
    size: tuple[int, int]
    objects: tuple[tuple[int, Any], ...]

    def read(self) -> NDArray[np.uint8]:
        """Return the classes, see `MaskSource`. Small objects are drawn over larger ones."""
        drawn = [(number, self._draw(outline)) for number, outline in self.objects]
        classes = np.zeros(self.size, np.uint8)
        for number, shown in sorted(drawn, key=lambda each: -np.count_nonzero(each[1])):
            classes[shown] = number
        return classes

    def _draw(self, outline: Any) -> NDArray[np.bool_]:
        try:
            if isinstance(outline, dict):
                shown = decode_rle(outline)
                if shown.shape != self.size:
                    raise ValueError(f"size must be {self.size}. Received: {shown.shape}")
                return shown
            return draw_polygons(outline, self.size)
        except ValueError as error:
            raise InvalidImage(f"{self.name}: {error}") from None


class MaskFiles:
    """Masks as an array that is read on access, like `ImageFiles`.

    Args:
        sources: The masks.
        image_size: Height and width to resize to. Each pixel takes the class of the nearest one.
        crop: As in `ImageFiles`.

    Attributes:
        shape: `(n, height, width)`.
        dtype: `uint8`.
    """

    dtype = np.dtype("uint8")
    ndim = 3

    def __init__(
        self, sources: Sequence[MaskSource], image_size: tuple[int, int], crop: bool = False
    ) -> None:
        self.sources = list(sources)
        self.image_size = image_size
        self.crop = crop

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of masks, height, width."""
        return (len(self.sources), *self.image_size)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        chosen = np.arange(len(self))[index]
        if chosen.ndim == 0:
            return self.read(int(chosen))
        masks = np.empty((len(chosen), *self.image_size), np.uint8)
        for position, mask in enumerate(threads().map(self.read, chosen.tolist())):
            masks[position] = mask
        return masks

    def read(self, index: int) -> NDArray[np.uint8]:
        """Read one mask as `(height, width)`; raises what its source raises."""
        return self.resize(self.sources[index].read())

    def resize(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a mask in the size of this array, with the same part of the image."""
        height, width = self.image_size
        rows, columns = mask.shape
        box = centre_box(rows, columns, height / width) if self.crop else None
        picture = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST, box=box)
        return np.array(picture)

    def subset(self, indices: np.ndarray) -> MaskFiles:
        """Return a subset of the masks, without reading them."""
        return MaskFiles([self.sources[index] for index in indices], self.image_size, self.crop)


def check_size(mask: NDArray[np.uint8], name: str, image: Path) -> None:
    """Raise InvalidImage unless a mask is as large as its image."""
    with Image.open(image) as opened:
        width, height = opened.size
        is_turned = opened.getexif().get(_ORIENTATION, 1) >= _FIRST_TURNED
    size = (width, height) if is_turned else (height, width)
    if mask.shape != size:
        hint = ""
        if mask.shape == size[::-1]:
            hint = ". One of them is turned" + ", by the EXIF data of the image" * is_turned
        raise InvalidImage(
            f"{name} must be as large as its image {image}, {size[1]} x {size[0]} pixels (width x "
            f"height). Received: {mask.shape[1]} x {mask.shape[0]}{hint}"
        )


def count_classes(mask: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Return the number of pixels of each class, `(classes,)`."""
    return np.bincount(mask.ravel(), minlength=IGNORE + 1)[:classes]
