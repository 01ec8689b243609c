"""Read and resize images, with identical pixels in training and on the device.

Reference: Pillow's bilinear filter, whose support grows with the downscaling (antialiasing).
"""

from __future__ import annotations

import io
import operator
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.edge.vision.bit_depth import (
    SIXTEEN_BIT,
    BitDepthError,
    Stored,
    check_bits,
    check_high_byte,
    find_used_bits,
)

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["InvalidImage", "load_image", "read_image", "resize"]

_WITH_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")


class InvalidImage(ValueError):
    """A file or value is not a readable image; the message names it."""


def read_image(source: Any, channels: int = 3, bits: int | None = None) -> np.ndarray:
    """Return the pixels of an image as a person would see it.

    The EXIF orientation is applied, transparency is composited over white, 16-bit gray is reduced
    to its 8 most significant bits, and color is converted to gray by the ITU-R 601 luma (Pillow's
    "L"). HEIC photos can be read if `pillow-heif` is installed.

    Cameras and scanners often store 10, 12 or 14 bits in 16. The number of bits is taken from
    `bits`; or else from the file (a PNG's sBIT chunk, a TIFF's BitsPerSample, or MaxSampleValue if
    it is `2**n - 1`); or else it is 16. If neither states it and all values are below 16384, a
    quarter of the 16-bit range, an error is raised.

    Args:
        source: Path, bytes of an image file, PIL image, or uint8 array of shape (height, width)
            or (height, width, 1, 3 or 4), channels in the order RGB(A).
        channels: 3 for color, 1 for gray.
        bits: Number of significant bits in 16-bit grayscale images, from 8 to 16. Has no effect
            on 8-bit images.

    Returns:
        uint8 array of shape (height, width, channels).

    Raises:
        InvalidImage: If it is not an image, damaged or truncated; the message names the file.
        ValueError: If `bits` contradicts the image's values, or is required but missing.
        TypeError: If `source` has an unsupported type or dtype, or `channels` or `bits` is not an
            integer.
        ValueError: If an array has an unsupported shape, or `channels` is not 1 or 3.
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
    """Return the result of `read_image`, and the number of bits its 16-bit values have.

    The number is None where it makes no difference: for 8-bit and for black images.
    """
    channels = check_one_of("channels", channels, (1, 3), ". 1 is gray, 3 is color.")
    bits = check_bits(bits)
    if isinstance(source, np.ndarray):
        _check_array(source)
        if source.ndim == 3 and source.shape[-1] == channels:
            return source, None
        return _pixels(_from_array(source), channels, Stored(), bits)
    if isinstance(source, str | os.PathLike):
        from keras_dlcourse._files import user_path  # imported here because the import is slow

        return _decode(user_path(source).read_bytes(), os.fspath(source), channels, bits)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(bytes(source), f"the image of {len(source)} bytes", channels, bits)
    from PIL import Image, ImageOps

    if isinstance(source, Image.Image):
        stored = Stored.of(source)
        return _pixels(ImageOps.exif_transpose(source), channels, stored, bits)
    raise TypeError(
        "an image must be a path, the bytes of an image file, a PIL image or a uint8 array. "
        f"Received: {type(source).__name__}"
    )


def resize(image: np.ndarray, size: tuple[int, int], crop: bool = False) -> np.ndarray:
    """Resize an image with Pillow's bilinear filter with antialiasing.

    Args:
        image: uint8 array of shape (height, width, 1 or 3).
        size: Target height and width.
        crop: False stretches the whole image to `size`. True preserves the aspect ratio: it takes
            the largest center crop with the aspect ratio of `size`.

    Returns:
        uint8 array of shape (*size, channels); the same object if the size already matches.

    Raises:
        ValueError: If `size` is not two positive integers, or the image has an unsupported shape.
        TypeError: If the image is not uint8.

    Example:
        >>> import numpy as np
        >>> resize(np.zeros((4, 8, 3), "uint8"), (2, 2), crop=True).shape
        (2, 2, 3)
    """
    height, width = _check_size(size)
    _check_array(image)
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(
            f"image must have the shape (height, width, 1 or 3). Received: {image.shape}"
        )
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
        source: An image as in `read_image`.
        size: Target height and width.
        channels: 3 for color, 1 for gray.
        crop: See `resize`.
        bits: See `read_image`.

    Returns:
        uint8 array of shape (*size, channels).

    Example:
        >>> import numpy as np
        >>> load_image(np.zeros((4, 8), "uint8"), (2, 2), channels=1).shape
        (2, 2, 1)
    """
    return resize(read_image(source, channels, bits), size, crop)


def _decode(
    content: bytes, name: str, channels: int, bits: int | None
) -> tuple[np.ndarray, int | None]:
    """Decode the bytes of an image file."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not content:
        raise InvalidImage(f"{name} is an empty file, not an image")
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
        raise InvalidImage(f"{name} is {_describe_unidentified(content)}") from None
    except MemoryError:
        raise
    except InvalidImage as error:  # it was decoded, but its pixels are unusable
        raise InvalidImage(f"{name}: {error}") from None
    except Exception as error:  # Pillow's decoders raise many exception types on damaged files
        raise InvalidImage(f"{name} {_explain_refusal(error)}") from error


def _describe_unidentified(content: bytes) -> str:
    """Describe a file that Pillow cannot identify."""
    if content.startswith((b"II*\0", b"MM\0*")):
        return (
            "a TIFF with a pixel type that Pillow cannot read, such as float color. Convert it to "
            "8 bits."
        )
    return "not an image in a format that Pillow can read"


def _explain_refusal(error: Exception) -> str:
    """Explain why Pillow did not read a file: its own limits, or damage."""
    from PIL import Image

    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return (
            f"has too many pixels: {error} Reduce its size or, if you trust the file, raise the "
            "limit: PIL.Image.MAX_IMAGE_PIXELS = 500_000_000, or None for no limit."
        )
    if "MAX_TEXT" in str(error):
        return (
            f"has a longer comment than Pillow allows ({error}). Remove the comment or, if you "
            "trust the file, raise PIL.PngImagePlugin.MAX_TEXT_CHUNK and MAX_TEXT_MEMORY."
        )
    return f"is a damaged or truncated image: {error}"


def _prepare_for_heic(content: bytes, name: str) -> None:
    """Register Pillow's HEIC plugin if this is a HEIC file; raise InvalidImage if it is missing."""
    from PIL import Image

    size = min(int.from_bytes(content[:4], "big"), 256)  # of the box that lists the brands
    brands = {content[place : place + 4] for place in range(8, size, 4)}
    if content[4:8] != b"ftyp" or brands.isdisjoint(_HEIC) or "HEIF" in Image.OPEN:
        return
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise InvalidImage(
            f"{name} is a HEIC photo, which requires another package. Run: pip install "
            "pillow-heif, or convert the photo to JPEG."
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
        image, used = _reduce_to_8_bits(image, stored, bits)
    elif stored.is_high_byte:
        check_high_byte(np.array(image), bits)
    if image.mode == "F":
        raise InvalidImage(
            "an image of float pixels has no fixed range. Convert it to 8 bits: scale its values "
            "to 0 to 255 and pass the array as uint8."
        )
    if "transparency" in image.info or image.mode in _WITH_ALPHA:
        image = image.convert("RGBA")
        white = pillow.new("RGBA", image.size, "white")
        image = pillow.alpha_composite(white, image).convert("RGB")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    image = image.convert("L" if channels == 1 else "RGB")
    return np.array(image).reshape(image.height, image.width, channels), used


def _reduce_to_8_bits(image: Image, stored: Stored, bits: int | None) -> tuple[Image, int | None]:
    """Reduce 16-bit gray to 8 bits; Pillow itself would clip everything above 255.

    Returns:
        The image of the 8 most significant bits, and the number of bits of the values.
    """
    values = np.array(image)
    if values.min() < 0 or values.max() > 65535:
        raise InvalidImage(
            f"gray values from {values.min()} to {values.max()} are outside 16 bits. "
            "Convert the image to 8 bits."
        )
    values = values.astype(np.uint16)
    used = find_used_bits(values, stored, bits)
    return _from_array((values >> ((used or 16) - 8)).astype(np.uint8)), used


def _from_array(image: np.ndarray) -> Image:
    from PIL import Image

    return Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)


def _check_array(image: Any) -> None:
    """Raise unless the array is one image of uint8 pixels."""
    if not isinstance(image, np.ndarray):
        raise TypeError(f"image must be a uint8 array. Received: {type(image).__name__}")
    if np.issubdtype(image.dtype, np.floating) and not np.isfinite(image).all():
        raise ValueError(
            f"the {image.dtype} image contains NaN or infinity; pixels must be from 0 to 255"
        )
    if image.dtype != np.uint8:
        raise TypeError(
            f"an image array must have uint8 pixels from 0 to 255. Received: {image.dtype}. "
            "Convert it: image.round().clip(0, 255).astype('uint8')"
        )
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] not in (1, 3, 4)):
        raise ValueError(
            "an image array must have the shape (height, width) or (height, width, 1, 3 or 4 "
            f"channels). Received: {image.shape}"
        )
    if image.size == 0:
        raise ValueError(f"the image is empty: it has the shape {image.shape}")


def _check_size(size: Any) -> tuple[int, int]:
    try:
        height, width = map(operator.index, size)
    except TypeError:
        raise TypeError(f"size must be (height, width), integers. Received: {size!r}") from None
    except ValueError:
        raise ValueError(f"size must be (height, width). Received: {size!r}") from None
    if min(height, width) < 1:
        raise ValueError(f"size must be (height, width), both above 0. Received: {size!r}")
    return height, width


def centre_box(height: int, width: int, aspect: float) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of the largest center crop with aspect = height / width."""
    part_height = min(height, width * aspect)
    part_width = min(width, height / aspect)
    left, top = (width - part_width) / 2, (height - part_height) / 2
    return left, top, left + part_width, top + part_height


def find_seen_part(size: tuple[int, int], aspect: float | None) -> tuple[slice, slice]:
    """Return the rows and columns of an image that the network saw, in whole pixels.

    Args:
        size: Height and width of the image.
        aspect: Height / width of the network's input if it saw only a center crop of the image;
            None if it saw all of it.
    """
    height, width = size
    edges = (0, 0, width, height) if aspect is None else centre_box(height, width, aspect)
    left, top, right, bottom = (round(edge) for edge in edges)
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))
