"""Values that do not fill the 16 bits in which they are stored: scaled right, or asked for."""

from __future__ import annotations

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from keras_dlcourse.edge import InvalidImage, load_image, read_image

RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)


def ramp(bits: int) -> np.ndarray:
    """Black to white in so many bits."""
    return np.round(RAMP * (2**bits - 1)).astype("uint16")


def encoded(values: np.ndarray, format: str = "PNG", **options) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(values).save(file, format, **options)
        return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(
        ">I", zlib.crc32(kind + content)
    )  # fmt: skip


def png(values: np.ndarray, significant: int | None = None) -> bytes:
    """Write a 16-bit PNG by hand, grey or RGB, with an sBIT chunk if asked to."""
    height, width, *channels = values.shape
    rows = np.ascontiguousarray(values.astype(">u2")).view("uint8").reshape(height, -1)
    rows = np.concatenate([np.zeros((height, 1), "uint8"), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if channels else 0, 0, 0, 0)
    said = b"" if significant is None else chunk(b"sBIT", bytes([significant] * (*channels, 1)[0]))
    parts = [chunk(b"IHDR", header), chunk(b"tEXt", b"Title\0x"), said]
    parts += [chunk(b"IDAT", zlib.compress(rows.tobytes())), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def twelve_bit_tiff() -> bytes:
    """Two values in three bytes, which Pillow reads and does not write."""
    values = ramp(12).reshape(-1, 2).astype("uint32")
    both = (values[:, 0] << 12) | values[:, 1]
    packed = np.stack([both >> 16, both >> 8, both], 1).astype("uint8").tobytes()
    entries = {256: 64, 257: 64, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: 64}
    entries[279] = len(packed)
    entries[273] = 8 + 2 + 12 * len(entries) + 4
    table = b"".join(struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + b"\0" * 4 + packed


def tiff(values: np.ndarray, largest: int) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[281] = largest
    return encoded(values, "TIFF", tiffinfo=tags)


def assert_is_the_ramp(pixels: np.ndarray) -> None:
    """From black to white in all 256 levels, each where it belongs."""
    assert np.abs(pixels[..., 0] - RAMP * 255).max() <= 1
    assert len(np.unique(pixels)) == 256


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_bits_that_are_given(bits, format):
    content = encoded(ramp(bits), format)
    assert_is_the_ramp(read_image(content, 1, bits=bits))
    assert_is_the_ramp(read_image(Image.open(io.BytesIO(content)), bits=bits))
    np.testing.assert_array_equal(
        load_image(content, (64, 64), 1, bits=bits), read_image(content, 1, bits)
    )


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_values_that_may_have_fewer_bits_ask(tmp_path, bits):
    path = tmp_path / "scan.png"
    path.write_bytes(encoded(ramp(bits)))
    top = 2**bits - 1
    message = rf"scan\.png: .* end at {top}, .* bits={bits} if {top} is white, bits=16 if 65535 is"
    with pytest.raises(ValueError, match=message) as caught:
        read_image(path)
    assert not isinstance(caught.value, InvalidImage)  # nothing is wrong with the file
    dark = read_image(path, 1, bits=16)
    np.testing.assert_array_equal(dark[..., 0], ramp(bits) >> 8)


def test_what_cannot_be_mistaken_asks_nothing():
    np.testing.assert_array_equal(read_image(encoded(ramp(16)), 1)[..., 0], ramp(16) >> 8)
    assert read_image(encoded(np.zeros((4, 4), "uint16"))).max() == 0
    eight = np.arange(64, dtype="uint8").reshape(8, 8)
    np.testing.assert_array_equal(read_image(encoded(eight), 1, bits=12)[..., 0], eight)
    np.testing.assert_array_equal(read_image(eight, 1, bits=12)[..., 0], eight)
    # A PGM says what white is, and Pillow goes by it.
    pgm = b"P5 64 64 4095\n" + (ramp(12) // 8).astype(">u2").tobytes()
    assert np.abs(read_image(pgm, 1)[..., 0] - RAMP * 255 / 8).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_significant_bits_of_a_png(bits):
    """The standard has values scaled up to 16 bits; programs that leave them are understood."""
    assert_is_the_ramp(read_image(png(ramp(bits), bits), 1))
    values = ramp(bits).astype("uint32")
    zeros = values << (16 - bits)
    repeated = zeros | values >> (2 * bits - 16)
    for scaled in (zeros, repeated, np.round(values * (65535 / (2**bits - 1)))):
        assert_is_the_ramp(read_image(png(scaled.astype("uint16"), bits), 1))
        # So dark that it could be either.
        dark = np.minimum(scaled, (2**bits - 1) >> 1).astype("uint16")
        if bits != 8:
            dark = (dark >> (16 - bits)) << (16 - bits)
            with pytest.raises(ValueError, match="file does not say which value is white"):
                read_image(png(dark, bits))
    np.testing.assert_array_equal(read_image(png(ramp(16) // 8, 16), 1)[..., 0], ramp(16) // 8 >> 8)


def test_tags_of_a_tiff():
    assert_is_the_ramp(read_image(twelve_bit_tiff(), 1))
    for bits in (10, 12, 14):
        assert_is_the_ramp(read_image(tiff(ramp(bits), 2**bits - 1), 1))
    # The largest value of this very image tells nothing of others.
    with pytest.raises(ValueError, match="end at 4095"):
        read_image(tiff(ramp(12), 3000))


def test_values_above_the_bits_that_are_given():
    with pytest.raises(ValueError, match="go up to 4095, but 10-bit values end at 1023"):
        read_image(encoded(ramp(12)), bits=10)
    with pytest.raises(ValueError, match="outside 16 bits"):
        read_image(Image.fromarray(np.full((2, 2), 70000, "int32")), bits=16)


@pytest.mark.parametrize(
    ("bits", "error"), [(7, ValueError), (17, ValueError), (12.5, TypeError), ("12", TypeError)]
)
def test_bits_are_a_number_from_8_to_16(bits, error):
    with pytest.raises(error, match=r"bits must be an integer from 8 to 16.*Received"):
        read_image(RAMP.astype("uint8"), bits=bits)


def test_colour_of_16_bits_is_its_high_bytes_or_an_error():
    full = np.stack([ramp(16), ramp(16)[::-1], ramp(16).T], -1)
    np.testing.assert_array_equal(read_image(png(full)), full >> 8)
    with pytest.raises(ValueError, match="colors are stored in 16 bits but end below 4096"):
        read_image(png(full >> 4))
    np.testing.assert_array_equal(read_image(png(full >> 4), bits=16), full >> 12)
    with pytest.raises(ValueError, match="bits=12 is for grayscale images"):
        read_image(png(full >> 4), bits=12)


def test_sixteen_bits_of_other_kinds():
    """A BMP has 5, 6 and 5 bits for three colours; of grey in SGI files, Pillow keeps 8 of 16."""
    dark = np.full((2, 2), 3 << 5, "<u2")
    header = struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 16, 3, dark.nbytes, 0, 0, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    size = 14 + len(header) + len(masks)
    bmp = struct.pack("<2sIHHI", b"BM", size + dark.nbytes, 0, 0, size) + header + masks
    assert read_image(bmp + dark.tobytes())[..., 1].tolist() == [[12, 12], [12, 12]]
    sgi = struct.pack(">HBBHHHHII", 474, 0, 2, 2, 5, 5, 1, 0, 65535).ljust(512, b"\0")
    grey = np.full((5, 5), 1000, ">u2")
    grey[:, 4] = 4000
    with pytest.raises(ValueError, match="stored in 16 bits but end below 4096"):
        read_image(sgi + grey.tobytes())
    assert read_image(sgi + grey.tobytes(), bits=16).max() == 4000 >> 8


def test_heic_where_its_reader_is_installed(monkeypatch, tmp_path):
    import pillow_heif

    photo = np.zeros((64, 96, 3), "uint8")
    photo[:, 48:] = (250, 40, 10)
    path = tmp_path / "IMG_0001.HEIC"
    pillow_heif.from_pillow(Image.fromarray(photo)).save(path)
    # As if no other test had made Pillow know it; and so that none does because of this one.
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    monkeypatch.setattr(Image, "OPEN", {name: Image.OPEN[name] for name in Image.ID})
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "pillow_heif", None)
        with pytest.raises(InvalidImage, match=r"IMG_0001\.HEIC is a HEIC photo.*pillow-heif"):
            read_image(path)
    assert np.abs(read_image(path).astype(int) - photo).mean() < 5
