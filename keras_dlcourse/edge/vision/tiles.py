"""Cut large images into overlapping tiles, and stitch what a network says of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from keras_dlcourse._checks import check_integer


class Tiles:
    """Overlapping tiles of an image that is too large for a network, and their blended results.

    The first tile begins at the upper left corner, the last one ends at the lower right corner, and
    the others are evenly spaced between them. An image that is smaller than a tile is extended by
    its mirror image. Where tiles overlap, the result is their weighted mean: a tile's weight falls
    linearly towards its edges, where a network sees least around a pixel, and the weights of a
    pixel sum to 1.

    Needs only NumPy. Tiles are cut and stitched one at a time, so only the result takes memory.

    Args:
        image_size: Height and width of the image.
        tile_size: Height and width of the network's input.
        overlap: Least number of pixels that neighbors share. Use half a receptive field or more, so
            that edges of tiles do not show.
        margin: Number of pixels on each side by which the network's output is smaller than its
            input, as under "valid" padding. Tiles are larger by it, and the image is extended by
            its mirror image: the overlap-tile strategy of U-Net.

    Attributes:
        corners: Row and column in the image of the upper left corner of each tile's output,
            `(tiles, 2)`.
        output_size: Height and width of a tile's output.

    Raises:
        TypeError: If a size is not an integer.
        ValueError: If a size is below 1, the overlap is not smaller than a tile's output, or the
            margins leave no output.

    Example:
        >>> image = np.arange(35.0).reshape(5, 7, 1)
        >>> tiles = Tiles((5, 7), (4, 4), overlap=2)
        >>> len(tiles), [tile.shape for tile in tiles.cut(image)][:1]
        (6, [(4, 4, 1)])
        >>> bool(np.allclose(tiles.stitch(tiles.cut(image)), image))
        True

    Reference:
        Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
        Segmentation", MICCAI 2015, https://arxiv.org/abs/1505.04597, figure 2
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        tile_size: tuple[int, int],
        overlap: int = 0,
        margin: int = 0,
    ) -> None:
        self.image_size = _check_size("image_size", image_size)
        self.tile_size = _check_size("tile_size", tile_size)
        self.margin = check_integer("margin", margin, least=0)
        height, width = (side - 2 * self.margin for side in self.tile_size)
        if min(height, width) < 1:
            raise ValueError(
                f"margin must leave some of the tile_size {self.tile_size}. Received: {margin}"
            )
        self.output_size = height, width
        self.overlap = check_integer("overlap", overlap, least=0)
        if self.overlap >= min(height, width):
            raise ValueError(
                f"overlap must be below {min(height, width)}, the smaller side of a tile's output. "
                f"Received: {overlap}"
            )
        self._starts = [
            _place(side, tile, self.overlap)
            for side, tile in zip(self.image_size, self.output_size, strict=True)
        ]
        rows, columns = np.meshgrid(*self._starts, indexing="ij")
        self.corners = np.stack([rows.ravel(), columns.ravel()], axis=-1)

    def __len__(self) -> int:
        """Return the number of tiles."""
        return len(self.corners)

    def cut(self, image: NDArray) -> Iterator[NDArray]:
        """Yield the tiles of an image, by row and column.

        Args:
            image: `(height, width, ...)`, of `image_size`.

        Yields:
            Arrays `(*tile_size, ...)`.

        Raises:
            ValueError: If the image has another size.
        """
        if image.shape[:2] != self.image_size:
            raise ValueError(
                f"image must have the size {self.image_size}. Received: {image.shape[:2]}"
            )
        # The tiles need this much of the image beyond its lower and right edges.
        beyond = [
            max(0, tile - side)
            for side, tile in zip(self.image_size, self.output_size, strict=True)
        ]
        edges = [(self.margin, self.margin + more) for more in beyond]
        edges += [(0, 0)] * (image.ndim - 2)
        whole = np.pad(image, edges, mode="reflect") if np.any(edges) else image
        height, width = self.tile_size
        for row, column in self.corners:
            yield whole[row : row + height, column : column + width]

    def stitch(self, outputs: Iterable[NDArray]) -> NDArray[np.float32]:
        """Return the result for the whole image.

        Args:
            outputs: What the network says of each tile, in the order of `cut`: scores
                `(*output_size, ...)`, floats. Class numbers have no mean: take their argmax of the
                result.

        Returns:
            float32 `(height, width, ...)`.

        Raises:
            TypeError: If the outputs are not floats.
            ValueError: If their number or their size is wrong.
        """
        weights = [
            _blend(starts, side, tile)
            for starts, side, tile in zip(
                self._starts, self.image_size, self.output_size, strict=True
            )
        ]
        whole: NDArray[np.float32] | None = None
        count = 0
        for count, output in enumerate(outputs, start=1):
            if output.shape[:2] != self.output_size:
                raise ValueError(
                    f"outputs must have the size {self.output_size}. Received: {output.shape[:2]}"
                )
            if output.dtype.kind != "f":
                raise TypeError(
                    "outputs must be scores, floats. Received: "
                    f"{output.dtype}. Stitch the scores, and take their argmax afterwards"
                )
            if count > len(self):
                break
            if whole is None:
                whole = np.zeros((*self.image_size, *output.shape[2:]), np.float32)
            row, column = divmod(count - 1, len(self._starts[1]))
            top, left = self.corners[count - 1]
            part = whole[top : top + output.shape[0], left : left + output.shape[1]]
            height, width = part.shape[:2]
            weight = np.multiply.outer(weights[0][row][:height], weights[1][column][:width])
            shape = weight.shape + (1,) * (output.ndim - 2)
            part += weight.reshape(shape) * output[:height, :width]
        if whole is None or count != len(self):
            raise ValueError(
                f"outputs must be one for each of the {len(self)} tiles. Received: "
                f"{'more' if count > len(self) else count}"
            )
        return whole


def _check_size(name: str, size: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise TypeError(f"{name} must be (height, width). Received: {size!r}")
    height, width = (check_integer(name, side) for side in size)
    return height, width


def _place(side: int, tile: int, overlap: int) -> NDArray[np.intp]:
    """Return where tiles begin along a side: at both of its ends, and evenly between them."""
    count = 1 + -(-max(0, side - tile) // (tile - overlap))
    return np.linspace(0, max(0, side - tile), count).round().astype(np.intp)


def _blend(starts: NDArray[np.intp], side: int, tile: int) -> NDArray[np.float32]:
    """Return the weight of each pixel of each tile along a side, `(tiles, tile)`.

    Weights in two dimensions are the products of those along the sides, so they sum to 1, too.
    """
    ramp = np.minimum(np.arange(1, tile + 1), np.arange(tile, 0, -1)).astype("float64")
    total = np.zeros(max(side, tile))
    for start in starts:
        total[start : start + tile] += ramp
    return np.stack([ramp / total[start : start + tile] for start in starts]).astype("float32")
