"""Read and resize images: the very same pixels in training and on the device.

Reference: Pillow's bilinear filter, whose support grows with the reduction (antialiasing).
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_dlcourse.edge.vision.bit_depth import (
    SIXTEEN_BIT,
    BitDepthError,
    Stored,
    check_bits,
    check_high_byte,
    used_bits,
)

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["InvalidImage", "load_image", "read_image", "resize"]

_WITH_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")


class InvalidImage(ValueError):
    """A file or value that is not a readable image; the message names it."""


def read_image(source: Any, channels: int = 3, bits: int | None = None) -> np.ndarray:
    """Return an image as pixels, the way a person would see it.

    The orientation that cameras note in EXIF is applied, transparency is laid over white, 16-bit
    grey is reduced to its 8 highest bits, colour becomes grey by the ITU-R 601 luma (Pillow's "L").
    HEIC photos are read where `pillow-heif` is installed.

    Cameras and scanners often store 10, 12 or 14 bits in 16. How many there are is taken from
    `bits`; or else from the file (a PNG's sBIT chunk, a TIFF's BitsPerSample, or MaxSampleValue if
    it is the largest number of so many bits); or else they are 16. If nothing says it and all
    values are below 16384, a quarter of 16 bits, that is an error.

    Args:
        source: Path, bytes of an image file, PIL image, or uint8 array of shape (height, width)
            or (height, width, 1, 3 or 4), channels in the order RGB(A).
        channels: 3 for colour, 1 for grey.
        bits: How many bits grey values have that are stored in 16: from 8 to 16. Images that are
            stored in 8 bits are read as they are.

    Returns:
        uint8 array of shape (height, width, channels).

    Raises:
        InvalidImage: If it is no image, damaged or truncated; the message names the file.
        ValueError: If `bits` are not those of the image, or it needs them.
        TypeError: If the type of `source`, or the dtype of an array, is another one.
        ValueError: If an array has another shape or `channels` is not 1 or 3.
        OSError: If the file cannot be opened.

    Example:
        >>> import numpy as np
        >>> read_image(np.full((2, 2, 3), 7, "uint8"), channels=1).shape
        (2, 2, 1)
    """
    return read_with_bits(source, channels, bits)[0]


def read_with_bits(
    source: Any, channels: int = 3, bits: int | None = None
) -> tuple[np.ndarray, int | None]:
    """Return what `read_image` returns, and how many bits of 16 its values were taken to have.

    The second is None where that made no difference: in images of 8 bits, and black ones.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (colour), got {channels!r}")
    check_bits(bits)
    if isinstance(source, np.ndarray):
        _check_array(source)
        if source.ndim == 3 and source.shape[-1] == channels:
            return source, None
        return _pixels(_from_array(source), channels, Stored(), bits)
    if isinstance(source, str | os.PathLike):
        from keras_dlcourse._files import user_path  # here, because it takes time to import

        return _decoded(user_path(source).read_bytes(), os.fspath(source), channels, bits)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decoded(bytes(source), f"the image of {len(source)} bytes", channels, bits)
    from PIL import Image, ImageOps

    if isinstance(source, Image.Image):
        stored = Stored.of(source)
        return _pixels(ImageOps.exif_transpose(source), channels, stored, bits)
    raise TypeError(
        "an image is a path, the bytes of an image file, a PIL image or a uint8 array, "
        f"got {type(source).__name__}"
    )


def resize(image: np.ndarray, size: tuple[int, int], crop: bool = False) -> np.ndarray:
    """Return the image in another size, by Pillow's bilinear filter with antialiasing.

    Args:
        image: uint8 array of shape (height, width, 1 or 3).
        size: Height and width to make.
        crop: False stretches the whole image to `size`. True keeps the aspect ratio and takes
            the largest part from the centre that has that of `size`.

    Returns:
        uint8 array of shape (*size, channels); the same object where nothing is to be done.

    Raises:
        ValueError: If `size` is not two sizes above 0 or the image has another shape.
        TypeError: If the image is not uint8.

    Example:
        >>> import numpy as np
        >>> resize(np.zeros((4, 8, 3), "uint8"), (2, 2), crop=True).shape
        (2, 2, 3)
    """
    height, width = _checked_size(size)
    _check_array(image)
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(f"image must have the shape (height, width, 1 or 3), got {image.shape}")
    if image.shape[:2] == (height, width):
        return image
    from PIL import Image

    box = centre_box(image.shape[0], image.shape[1], height / width) if crop else None
    picture = _from_array(image).resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.array(picture).reshape(height, width, image.shape[-1])


def load_image(
    source: Any,
    size: tuple[int, int],
    channels: int = 3,
    crop: bool = False,
    bits: int | None = None,
) -> np.ndarray:
    """Read an image and resize it: `resize(read_image(source, channels, bits), size, crop)`.

    Args:
        source: What `read_image` takes.
        size: Height and width to make.
        channels: 3 for colour, 1 for grey.
        crop: As for `resize`.
        bits: As for `read_image`.

    Returns:
        uint8 array of shape (*size, channels).

    Example:
        >>> import numpy as np
        >>> load_image(np.zeros((4, 8), "uint8"), (2, 2), channels=1).shape
        (2, 2, 1)
    """
    return resize(read_image(source, channels, bits), size, crop)


def _decoded(
    content: bytes, name: str, channels: int, bits: int | None
) -> tuple[np.ndarray, int | None]:
    """Decode the bytes of an image file."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not content:
        raise InvalidImage(f"{name} is empty, not an image")
    _prepare_for_heic(content, name)
    try:
        with Image.open(io.BytesIO(content)) as image:
            stored = Stored.of(image, content)
            image.load()
            upright = ImageOps.exif_transpose(image)
        return _pixels(upright, channels, stored, bits)
    except BitDepthError as error:
        raise BitDepthError(f"{name}: {error}") from None
    except UnidentifiedImageError:
        raise InvalidImage(f"{name} is {_unidentified(content)}") from None
    except MemoryError:
        raise
    except InvalidImage as error:  # it was read, but its pixels are of no use
        raise InvalidImage(f"{name}: {error}") from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        raise InvalidImage(f"{name} {_refusal(error)}") from error


def _unidentified(content: bytes) -> str:
    """Say what a file is that Pillow does not know."""
    if content.startswith((b"II*\0", b"MM\0*")):
        return (
            "a TIFF of pixels that Pillow does not read, such as float colour; convert it to 8 bits"
        )
    return "not an image in a format that Pillow reads"


def _refusal(error: Exception) -> str:
    """Say why Pillow did not read a file: for its own limits, or because of damage."""
    from PIL import Image

    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return (
            f"has too many pixels: {error} Make it smaller, or, if you trust the file, raise the "
            "limit: PIL.Image.MAX_IMAGE_PIXELS = 500_000_000, or None for no limit"
        )
    if "MAX_TEXT" in str(error):
        return (
            f"has a longer comment than Pillow reads ({error}): remove the comment, or, if you "
            "trust the file, raise PIL.PngImagePlugin.MAX_TEXT_CHUNK and MAX_TEXT_MEMORY"
        )
    return f"is a damaged or truncated image: {error}"


def _prepare_for_heic(content: bytes, name: str) -> None:
    """Make Pillow know HEIC if this is one; raise InvalidImage if it cannot."""
    from PIL import Image

    size = min(int.from_bytes(content[:4], "big"), 256)  # of the box that lists the brands
    brands = {content[place : place + 4] for place in range(8, size, 4)}
    if content[4:8] != b"ftyp" or brands.isdisjoint(_HEIC) or "HEIF" in Image.OPEN:
        return
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise InvalidImage(
            f"{name} is a HEIC photo, which takes one more package: pip install pillow-heif; or "
            "convert it to JPEG"
        ) from None
    register_heif_opener()


def _pixels(
    image: Image, channels: int, stored: Stored, bits: int | None
) -> tuple[np.ndarray, int | None]:
    """Return a PIL image of any mode as uint8 pixels of shape (height, width, channels)."""
    from PIL import Image as pillow

    if 0 in image.size:
        raise InvalidImage(f"an image of {image.width} x {image.height} pixels is empty")
    used = None
    if image.mode in SIXTEEN_BIT:
        image, used = _eight_bits(image, stored, bits)
    elif stored.is_high_byte:
        check_high_byte(np.array(image), bits)
    if image.mode == "F":
        raise InvalidImage(
            "an image of float pixels has no fixed range; convert it to 8 bits: scale its values "
            "to 0 to 255 and pass the array as uint8"
        )
    if "transparency" in image.info or image.mode in _WITH_ALPHA:
        image = image.convert("RGBA")
        white = pillow.new("RGBA", image.size, "white")
        image = pillow.alpha_composite(white, image).convert("RGB")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    image = image.convert("L" if channels == 1 else "RGB")
    return np.array(image).reshape(image.height, image.width, channels), used


def _eight_bits(image: Image, stored: Stored, bits: int | None) -> tuple[Image, int | None]:
    """Reduce 16-bit grey to 8 bits; Pillow itself would cut everything above 255 off.

    Returns:
        The image of the highest 8 bits, and how many the values have.
    """
    values = np.array(image)
    if values.min() < 0 or values.max() > 65535:
        raise InvalidImage(
            f"grey values from {values.min()} to {values.max()} are outside 16 bits; "
            "convert the image to 8 bits"
        )
    values = values.astype(np.uint16)
    used = used_bits(values, stored, bits)
    return _from_array((values >> ((used or 16) - 8)).astype(np.uint8)), used


def _from_array(image: np.ndarray) -> Image:
    from PIL import Image

    return Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)


def _check_array(image: Any) -> None:
    """Raise unless the array is one image of uint8 pixels."""
    if not isinstance(image, np.ndarray):
        raise TypeError(f"image must be a uint8 array, got {type(image).__name__}")
    if np.issubdtype(image.dtype, np.floating) and not np.isfinite(image).all():
        raise ValueError(f"the {image.dtype} image holds NaN or infinity; pixels are 0 to 255")
    if image.dtype != np.uint8:
        raise TypeError(
            f"an array image holds pixels from 0 to 255 as uint8, got {image.dtype}; "
            "convert it: image.round().clip(0, 255).astype('uint8')"
        )
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] not in (1, 3, 4)):
        raise ValueError(
            "an array image has the shape (height, width) or (height, width, 1, 3 or 4 channels), "
            f"got {image.shape}"
        )
    if image.size == 0:
        raise ValueError(f"the image is empty: its shape is {image.shape}")


def _checked_size(size: Any) -> tuple[int, int]:
    try:
        height, width = (int(length) for length in size)
    except (TypeError, ValueError):
        raise ValueError(f"size must be (height, width), got {size!r}") from None
    if min(height, width) < 1:
        raise ValueError(f"size must be (height, width), both above 0, got {size!r}")
    return height, width


def centre_box(height: int, width: int, aspect: float) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of the largest centred part of that height : width."""
    part_height = min(height, width * aspect)
    part_width = min(width, height / aspect)
    left, top = (width - part_width) / 2, (height - part_height) / 2
    return left, top, left + part_width, top + part_height
