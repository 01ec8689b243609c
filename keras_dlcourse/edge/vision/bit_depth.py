"""How many bits the values of an image have that is stored in 16: never guessed, never in silence.

References: PNG (ISO/IEC 15948), 11.3.2.4 on sBIT and 12.4 on how samples are scaled; TIFF 6.0, tags
BitsPerSample and MaxSampleValue.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's modes
_DARK = 1 << 14  # values that all lie below are those of 14 bits or fewer, or of a dark image
_FILLED = ("PPM", "JPEG2000")  # Pillow scales their values to 16 bits by what the file says
_HIGH_BYTE = re.compile(";16[BLN]|SGI16")  # in what Pillow says of how values are stored
_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE = 258, 281


class BitDepthError(ValueError):
    """An image does not tell its bits, or not those that were asked for; `bits=` decides."""


@dataclass(frozen=True)
class Stored:
    """What a file says of its values, as far as Pillow shows it before it decodes them.

    Attributes:
        bits: The bits that it says they have; None if it does not say.
        is_png: Whether `bits` are a PNG's significant bits: they ought to be scaled up to 16, but
            not all programs do so.
        is_high_byte: Whether it has 16 bits, of which Pillow keeps the high byte.
    """

    bits: int | None = None
    is_png: bool = False
    is_high_byte: bool = False

    @classmethod
    def of(cls, image: Image, content: bytes = b"") -> Stored:
        """Look at an image before its pixels are loaded, and at the bytes of its file, if any."""
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


def check_bits(bits: int | None) -> None:
    """Raise ValueError unless `bits` is None or a number of bits that 16 hold."""
    if bits is not None and bits not in range(8, 17):
        raise ValueError(
            "bits must be a whole number from 8 to 16: how many bits the values of images have "
            f"that are stored in 16; got {bits!r}"
        )


def used_bits(values: np.ndarray, stored: Stored, bits: int | None) -> int | None:
    """Return how many bits grey values have, None for a black image, which has any number.

    Args:
        values: Whole numbers from 0 to 65535.
        stored: What the file says of them.
        bits: What the user says; None leaves it to the file.

    Raises:
        BitDepthError: If values lie above what the user says, or nobody says it and they are so
            low that they may have fewer bits than 16.
    """
    top = int(values.max())
    if bits is not None:
        if top >> bits:
            raise BitDepthError(
                f"its values go up to {top}, but those of {bits} bits end at {2**bits - 1}; "
                "bits= (--bits) must be how many bits the values of all images have"
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
        f"is white. Give the bits of the camera or scanner by bits= (--bits): bits={fewest} if "
        f"{2**fewest - 1} is white, bits=16 if 65535 is"
    )


def check_high_byte(pixels: np.ndarray, bits: int | None) -> None:
    """Raise BitDepthError if the high bytes of 16-bit values do not hold the image.

    Args:
        pixels: The high bytes, `(height, width)` or `(height, width, channels)`, of which the
            fourth is no color.
        bits: What the user says.
    """
    if bits not in (None, 16):
        raise BitDepthError(
            f"bits={bits} is for grey images; of 16-bit color, Pillow reads the high byte only: "
            "convert the image to 8 bits"
        )
    top = int(pixels.reshape(*pixels.shape[:2], -1)[..., :3].max())
    if bits is None and top < _DARK >> 8:
        raise BitDepthError(
            f"its colors are stored in 16 bits but end below {(top + 1) << 8}, and Pillow reads "
            "the high byte of such images only. Give bits=16 (--bits 16) if 65535 is white; "
            "otherwise convert the images to 8 bits"
        )


def _is_scaled(values: np.ndarray, bits: int) -> bool:
    """Whether dark values of a PNG may be those of fewer bits that were scaled up to 16.

    Then what is below the significant bits is 0, or 1 by rounding: low values have no high bits
    that could be repeated there.
    """
    return int((values & ((1 << (16 - bits)) - 1)).max()) <= 1


def _tiff_bits(image: Image) -> int | None:
    """Return the bits that the tags of a TIFF name."""
    tags = getattr(image, "tag_v2", {})
    stored = _first(tags.get(_BITS_PER_SAMPLE, 16))
    largest = _first(tags.get(_MAX_SAMPLE_VALUE, 0))
    if stored < 16:
        return stored
    # Any other number is the largest value that occurs in this image, which says nothing.
    return largest.bit_length() if largest > 254 and largest & (largest + 1) == 0 else None


def _first(value: int | tuple[int, ...]) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


def _significant_bits(content: bytes) -> int | None:
    """Return what the sBIT chunk of a grey PNG says, if it has one."""
    place = 8
    while place + 8 < len(content) and (kind := content[place + 4 : place + 8]) != b"IDAT":
        if kind == b"sBIT":
            said = content[place + 8]
            return said if 8 <= said <= 16 else None
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    return None
