"""Image files as an array that is read as it is used."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from keras_dlcourse.edge.vision.bit_depth import BitDepthError, check_bits
from keras_dlcourse.edge.vision.images import read_with_bits, resize


@functools.cache
def threads() -> ThreadPoolExecutor:
    """Return the threads that decode images; Pillow lets go of the interpreter meanwhile."""
    return ThreadPoolExecutor(os.cpu_count() or 1, "image-files")


class ImageFiles:
    """Image files as an array that is read as it is used.

    Indexing by a number, a slice or an array of indices reads, converts and resizes those images, a
    thread for each core; the pixels are those that the device sees of the same files. Images that
    are stored in 16 bits must all have the same number of bits, or one would be too bright.

    Args:
        paths: The files.
        image_size: Height and width to resize to, in pixels.
        channels: 3 for RGB, 1 for grey.
        crop: False stretches images to the size, True keeps their aspect and cuts their middle out.
        bits: How many bits the values of grey images have that are stored in 16, as
            `keras_dlcourse.edge.read_image` takes it; None leaves it to the files.

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
        self._example: dict[int, Path] = {}  # a file for each number of bits that was met

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number of images, height, width, channels."""
        return (len(self.paths), *self.image_size, self.channels)

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
            ValueError: If it is no image or damaged, or does not tell its bits, or others than the
                files before; the message names the file.
            OSError: If it cannot be read.
        """
        path = self.paths[index]
        if not path.is_file():  # a broken link, or a pipe that reading would wait for
            raise FileNotFoundError(f"{path} is not a file")
        pixels, bits = read_with_bits(path, self.channels, self.bits)
        if bits is not None:
            self._example.setdefault(bits, path)
            self._check_one_scale()
        return resize(pixels, self.image_size, self.crop)

    def _check_one_scale(self) -> None:
        if len(self._example) > 1:
            found = ", ".join(f"{bits} in {path}" for bits, path in sorted(self._example.items()))
            raise BitDepthError(
                "images that are stored in 16 bits must all have the same number of bits, or their "
                f"brightness could not be compared; by what the files say there are {found}. Give "
                "the number by bits= (--bits), or convert the images to 8 bits"
            )

    def subset(self, indices: np.ndarray) -> ImageFiles:
        """Return some of the files, still unread."""
        paths = [self.paths[index] for index in indices]
        return ImageFiles(paths, self.image_size, self.channels, self.crop, self.bits)
