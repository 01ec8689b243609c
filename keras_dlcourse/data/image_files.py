"""Image files as an array that is read on access."""

from __future__ import annotations

import functools
import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from keras_dlcourse.edge.vision.bit_depth import BitDepthError, check_bits
from keras_dlcourse.edge.vision.images import InvalidImage, read_with_bits, resize

_USUAL, _SMALLEST = 96, 28  # pixels
_SAMPLED = 100  # files that the size is taken from
_AHEAD = 256  # images decoded before they are asked for, when all are read once


@functools.cache
def threads() -> ThreadPoolExecutor:
    """Return the thread pool that decodes images. Pillow releases the GIL while it decodes."""
    return ThreadPoolExecutor(os.cpu_count() or 1, "image-files")


def choose_image_size(paths: Sequence[Path]) -> int:
    """Return the size in pixels to which images are resized if nobody says which.

    Enlarging small images costs time and shows nothing new.

    Args:
        paths: The files. Some of them are looked at; those that are not images are ignored.

    Returns:
        96, or the median of the longer sides if that is smaller, but at least 28.

    Example:
        >>> choose_image_size([])
        96
    """
    step = max(1, len(paths) // _SAMPLED)
    sides = [side for side in threads().map(_find_longer_side, paths[::step]) if side]
    return int(np.clip(np.median(sides), _SMALLEST, _USUAL)) if sides else _USUAL


def _find_longer_side(path: Path) -> int:
    """Return the longer side of an image in pixels; 0 if it is not an image."""
    from PIL import Image  # commands without images do not wait for it

    try:
        with Image.open(path) as image:
            return max(image.size)
    except (OSError, ValueError, Image.DecompressionBombError):
        return 0


class ImageFiles:
    """Image files as an array that is read on access.

    Indexing with an integer, a slice or an array of indices reads, converts and resizes those
    images, using one thread per core. The pixels are the same as on the device for the same files.
    All images that are stored with 16 bits must use the same number of bits, so that their
    brightness is comparable.

    Args:
        paths: The files.
        image_size: Height and width to resize to, in pixels.
        channels: 3 for RGB, 1 for gray.
        crop: False stretches images to the size, True keeps their aspect ratio and crops the
            center.
        bits: Number of bits used by gray images that are stored with 16 bits, as in
            `keras_dlcourse.edge.read_image`. None takes it from the files.

    Attributes:
        shape: `(n, height, width, channels)`.
        dtype: `uint8`.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "photo.png"
        >>> Image.new("RGB", (40, 30), "red").save(path)
        >>> files = ImageFiles([path, path], (8, 8))
        >>> files.shape, files[1][0, 0].tolist(), files[:1].shape
        ((2, 8, 8, 3), [255, 0, 0], (1, 8, 8, 3))
    """

    dtype = np.dtype("uint8")
    ndim = 4

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        image_size: tuple[int, int],
        channels: int = 3,
        crop: bool = False,
        bits: int | None = None,
    ) -> None:
        check_bits(bits)
        self.paths = [Path(path) for path in paths]
        self.image_size = image_size
        self.channels = channels
        self.crop = crop
        self.bits = bits
        self._example: dict[int, Path] = {}  # one file for each number of bits seen so far

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number of images, height, width, channels."""
        return (len(self.paths), *self.image_size, self.channels)

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels, as if they were in memory."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> np.ndarray:
        chosen = np.arange(len(self))[index]
        if chosen.ndim == 0:
            return self.read(int(chosen))
        images = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for position, image in enumerate(threads().map(self.read, chosen.tolist())):
            images[position] = image
        return images

    def read(self, index: int) -> np.ndarray:
        """Read one image as `(height, width, channels)`.

        Raises:
            ValueError: If it is damaged or not an image, or its number of bits is unknown or
                differs from that of earlier files; the message names the file.
            OSError: If it cannot be read.
        """
        path = self.paths[index]
        if not path.is_file():  # a broken link, or a pipe on which reading would block
            raise FileNotFoundError(f"{path} is not a file")
        pixels, bits = read_with_bits(path, self.channels, self.bits)
        if bits is not None:
            self._example.setdefault(bits, path)
            self._check_one_scale()
        return resize(pixels, self.image_size, self.crop)

    def try_read(self, index: int) -> np.ndarray | str:
        """Return the pixels of one image, or what is wrong with its file."""
        try:
            return self.read(index)
        except (InvalidImage, OSError) as error:
            return str(error)

    def read_each(self) -> Iterator[np.ndarray | str]:
        """Yield the result of `try_read` for all images in order, a few of them in memory."""
        rest = iter(range(len(self)))
        ahead = deque(threads().submit(self.try_read, index) for index in islice(rest, _AHEAD))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(threads().submit(self.try_read, index) for index in islice(rest, 1))

    def _check_one_scale(self) -> None:
        if len(self._example) > 1:
            found = ", ".join(f"{bits} in {path}" for bits, path in sorted(self._example.items()))
            raise BitDepthError(
                "Images that are stored with 16 bits must all use the same number of bits, so that "
                f"their brightness is comparable. According to the files: {found}. Pass the number "
                "with bits= (--bits), or convert the images to 8 bits."
            )

    def subset(self, indices: np.ndarray) -> ImageFiles:
        """Return a subset of the files, without reading them."""
        paths = [self.paths[index] for index in indices]
        return ImageFiles(paths, self.image_size, self.channels, self.crop, self.bits)
