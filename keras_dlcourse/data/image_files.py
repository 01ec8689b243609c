"""Image files as an array that is read as it is used."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from keras_dlcourse.edge.images import load_image


@functools.cache
def threads() -> ThreadPoolExecutor:
    """Return the threads that decode images; Pillow lets go of the interpreter meanwhile."""
    return ThreadPoolExecutor(os.cpu_count() or 1, "image-files")


class ImageFiles:
    """Image files as an array that is read as it is used.

    Indexing by a number, a slice or an array of indices reads, converts and resizes those images, a
    thread for each core; the pixels are those that the device sees of the same files.

    Args:
        paths: The files.
        image_size: Height and width to resize to, in pixels.
        channels: 3 for RGB, 1 for grey.
        crop: False stretches images to the size, True keeps their aspect and cuts their middle out.

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
    ) -> None:
        self.paths = [Path(path) for path in paths]
        self.image_size = image_size
        self.channels = channels
        self.crop = crop

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
            ValueError: If it is no image or damaged; the message names the file.
            OSError: If it cannot be read.
        """
        path = self.paths[index]
        if not path.is_file():  # a broken link, or a pipe that reading would wait for
            raise FileNotFoundError(f"{path} is not a file")
        return load_image(path, self.image_size, self.channels, self.crop)

    def subset(self, indices: np.ndarray) -> ImageFiles:
        """Return some of the files, still unread."""
        paths = [self.paths[index] for index in indices]
        return ImageFiles(paths, self.image_size, self.channels, self.crop)
