"""Significant bits of images stored in 16 bits; raises an error rather than guessing.

References: PNG (ISO/IEC 15948), 11.3.2.4 on sBIT and 12.4 on scaling samples; TIFF 6.0, tags
BitsPerSample and MaxSampleValue.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keras_dlcourse._checks import check_integer

if TYPE_CHECKING:
    from PIL.Image import Image

SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's modes
_DARK = 1 << 14  # if all values are below, they have 14 bits or fewer, or the image is dark
_FILLED = ("PPM", "JPEG2000")  # Pillow scales their values to 16 bits as the file states
_HIGH_BYTE = re.compile(";16[BLN]|SGI16")  # in Pillow's description of the storage
_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE = 258, 281


class BitDepthError(ValueError):
    """An image does not state its bit depth, or its values contradict `bits=`."""


@dataclass(frozen=True)
class Stored:
    """What a file states about its values, as far as Pillow exposes it before decoding.

    Attributes:
        bits: Stated number of bits; None if not stated.
        is_png: Whether `bits` is a PNG's number of significant bits. Values should be scaled up
            to 16 bits, but not all programs do so.
        is_high_byte: Whether values have 16 bits, of which Pillow keeps the high byte.
    """

    bits: int | None = None
    is_png: bool = False
    is_high_byte: bool = False

    @classmethod
    def of(cls, image: Image, content: bytes = b"") -> Stored:
        """Inspect an image before its pixels are loaded, and the bytes of its file, if any."""
        if image.mode not in SIXTEEN_BIT:
            how = _HIGH_BYTE.search(str(getattr(image, "tile", "")))
            return cls(is_high_byte=how is not None)
        if image.format in _FILLED:
            return cls(16)
        if image.format == "TIFF":
            return cls(_tiff_bits(image))
        if image.format == "PNG":
            return cls(_significant_bits(content), is_png=True)
        return cls()


def check_bits(bits: int | None) -> int | None:
    """Return the number of significant bits in 16-bit images, an int from 8 to 16, or None.

    Raises:
        TypeError: If it is neither an integer nor None.
        ValueError: If it is not from 8 to 16.
    """
    return None if bits is None else check_integer("bits", bits, least=8, most=16)


def find_used_bits(values: np.ndarray, stored: Stored, bits: int | None) -> int | None:
    """Return the number of bits of gray values, or None for a black image, where any would do.

    Args:
        values: Integers from 0 to 65535.
        stored: What the file states about them.
        bits: The user's value; None leaves it to the file.

    Raises:
        BitDepthError: If values exceed the user's bits, or neither user nor file states the bits
            and the values are so low that they may have fewer than 16.
    """
    top = int(values.max())
    if bits is not None:
        if top >> bits:
            raise BitDepthError(
                f"its values go up to {top}, but {bits}-bit values end at {2**bits - 1}. "
                "Set bits= (--bits) to the number of bits that the values of all images have."
            )
        return bits
    if top == 0:
        return None
    said = stored.bits
    if said is not None and not top >> said and not (stored.is_png and _is_scaled(values, said)):
        return said
    if top >= _DARK or said == 16:
        return 16
    fewest = max(8, top.bit_length())
    raise BitDepthError(
        f"its values are stored in 16 bits but end at {top}, and the file does not say which value "
        f"is white. Set bits= (--bits) to the bit depth of the camera or scanner: bits={fewest} "
        f"if {2**fewest - 1} is white, bits=16 if 65535 is white."
    )


def check_high_byte(pixels: np.ndarray, bits: int | None) -> None:
    """Raise BitDepthError if the high bytes of 16-bit values do not contain the image.

    Args:
        pixels: The high bytes, `(height, width)` or `(height, width, channels)`, where a fourth
            channel is not a color.
        bits: The user's value.
    """
    if bits not in (None, 16):
        raise BitDepthError(
            f"bits={bits} is for grayscale images. Pillow reads only the high byte of 16-bit "
            "color images. Convert the image to 8 bits."
        )
    top = int(pixels.reshape(*pixels.shape[:2], -1)[..., :3].max())
    if bits is None and top < _DARK >> 8:
        raise BitDepthError(
            f"its colors are stored in 16 bits but end below {(top + 1) << 8}, and Pillow reads "
            "only the high byte of 16-bit color images. Set bits=16 (--bits 16) if 65535 is white; "
            "otherwise, convert the images to 8 bits."
        )


def _is_scaled(values: np.ndarray, bits: int) -> bool:
    """Whether dark values of a PNG may have fewer bits that were scaled up to 16.

    If so, the part below the significant bits is 0, or 1 due to rounding, because low values have
    no high bits to replicate there.
    """
    return int((values & ((1 << (16 - bits)) - 1)).max()) <= 1


def _tiff_bits(image: Image) -> int | None:
    """Return the number of bits stated in the tags of a TIFF."""
    tags = getattr(image, "tag_v2", {})
    stored = _first(tags.get(_BITS_PER_SAMPLE, 16))
    largest = _first(tags.get(_MAX_SAMPLE_VALUE, 0))
    if stored < 16:
        return stored
    # Any other value is the largest in this image, which says nothing about the bits.
    return largest.bit_length() if largest > 254 and largest & (largest + 1) == 0 else None


def _first(value: int | tuple[int, ...]) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


def _significant_bits(content: bytes) -> int | None:
    """Return the bits stated in the sBIT chunk of a grayscale PNG, if it has one."""
    place = 8
    while place + 8 < len(content) and (kind := content[place + 4 : place + 8]) != b"IDAT":
        if kind == b"sBIT":
            said = content[place + 8]
            return said if 8 <= said <= 16 else None
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    return None
