from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from keras_dlcourse.edge import InvalidImage, load_image, read_image, resize

# Asymmetric, so that every flip and turn shows.
PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), "uint8")
LUMA = PICTURE @ np.array([0.299, 0.587, 0.114])


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    with io.BytesIO() as file:
        image.save(file, format, **options)
        return file.getvalue()


def test_path_bytes_pil_and_array_give_the_same(tmp_path):
    image = Image.fromarray(PICTURE)
    image.save(tmp_path / "a.png")
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), encoded(image), image, PICTURE]
    for source in [*sources, bytearray(encoded(image)), memoryview(encoded(image))]:
        np.testing.assert_array_equal(read_image(source), PICTURE)


# What each EXIF orientation says: how to undo it with NumPy, by the standard's row/column origins.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(PICTURE), exif=exif)
    np.testing.assert_array_equal(read_image(content), UPRIGHT[orientation](PICTURE))
    opened = Image.open(io.BytesIO(content))
    np.testing.assert_array_equal(read_image(opened), UPRIGHT[orientation](PICTURE))


def test_transparency_lies_over_white():
    alpha = np.full((*PICTURE.shape[:2], 1), 255, "uint8")
    alpha[0] = 0
    alpha[1] = 128
    rgba = np.concatenate([PICTURE, alpha], -1)
    expected = PICTURE * (alpha / 255) + 255 * (1 - alpha / 255)
    for source in (rgba, Image.fromarray(rgba), encoded(Image.fromarray(rgba))):
        pixels = read_image(source)
        assert np.abs(pixels - expected).max() <= 1
        assert np.all(pixels[0] == 255)
    grey = read_image(rgba, channels=1)
    assert np.all(grey[0] == 255)
    assert np.abs(grey[2:, :, 0] - LUMA[2:]).max() <= 1


def test_grey_with_alpha():
    content = encoded(Image.fromarray(np.dstack([PICTURE[..., 0], np.zeros((5, 7), "uint8")])))
    assert np.all(read_image(content, channels=1) == 255)


def test_colour_to_grey_and_back():
    grey = read_image(PICTURE, channels=1)
    assert grey.shape == (5, 7, 1)
    assert np.abs(grey[..., 0] - LUMA).max() <= 1
    np.testing.assert_array_equal(grey[..., 0], np.array(Image.fromarray(PICTURE).convert("L")))
    for source in (grey, grey[..., 0]):
        np.testing.assert_array_equal(read_image(source), grey.repeat(3, -1))


def test_sixteen_bits_keep_their_range():
    values = (np.arange(256, dtype="uint16") * 257).reshape(16, 16)
    content = encoded(Image.fromarray(values))
    np.testing.assert_array_equal(read_image(content, 1)[..., 0].ravel(), np.arange(256))
    np.testing.assert_array_equal(read_image(content)[..., 2].ravel(), np.arange(256))


def test_palette_with_and_without_transparency():
    palette = Image.fromarray(PICTURE).quantize(4)
    expected = np.array(palette.convert("RGB"))
    np.testing.assert_array_equal(read_image(encoded(palette)), expected)
    seen = read_image(encoded(palette, transparency=0))
    hidden = np.array(palette) == 0
    assert np.all(seen[hidden] == 255)
    np.testing.assert_array_equal(seen[~hidden], expected[~hidden])


@pytest.mark.parametrize("mode", ["1", "CMYK", "YCbCr", "HSV"])
def test_other_modes(mode):
    image = Image.fromarray(PICTURE).convert(mode)
    expected = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(read_image(image), expected)
    assert read_image(image, channels=1).shape == (5, 7, 1)


def test_float_pixels_have_no_range():
    with pytest.raises(InvalidImage, match="float pixels"):
        read_image(encoded(Image.fromarray(np.ones((2, 2), "float32")), "TIFF"))
    with pytest.raises(InvalidImage, match="outside 16 bits"):
        read_image(Image.fromarray(np.full((2, 2), 70000, "int32")))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_truncated_files_are_named(tmp_path, format):
    content = encoded(Image.fromarray(np.tile(PICTURE, (30, 30, 1))), format)
    path = tmp_path / "half.img"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InvalidImage, match=r"half\.img is a damaged or truncated image"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is an empty file"), (b"labels\n" * 9, "is not an image in a format")],
)
def test_other_files_are_named(tmp_path, content, message):
    path = tmp_path / "no.jpg"
    path.write_bytes(content)
    with pytest.raises(InvalidImage, match=rf"no\.jpg {message}"):
        read_image(path)


@given(position=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_damaged_files_raise_nothing_else(position, byte):
    content = bytearray(encoded(Image.fromarray(PICTURE)))
    content[position % len(content)] = byte
    with contextlib.suppress(InvalidImage):
        assert read_image(bytes(content)).dtype == np.uint8


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.png"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (np.zeros((4, 4, 3)), TypeError, "uint8 pixels .* Received: float64. Convert it"),
        (np.full((4, 4, 3), np.nan), ValueError, "float64 image contains NaN"),
        (np.zeros((4, 4, 3), "int64"), TypeError, "Received: int64"),
        (np.zeros((4,), "uint8"), ValueError, r"Received: \(4,\)"),
        (np.zeros((4, 4, 2), "uint8"), ValueError, r"Received: \(4, 4, 2\)"),
        (np.zeros((1, 4, 4, 3), "uint8"), ValueError, r"Received: \(1, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), "uint8"), ValueError, r"empty: it has the shape \(0, 4, 3\)"),
        (7, TypeError, "Received: int"),
        (None, TypeError, "Received: NoneType"),
    ],
)
def test_bad_sources(source, error, message):
    with pytest.raises(error, match=message):
        read_image(source)


def test_bad_channels():
    expected = "channels must be one of 1, 3. Received: 4. 1 is gray, 3 is color."
    with pytest.raises(ValueError, match=expected):
        read_image(PICTURE, channels=4)
    with pytest.raises(TypeError, match="channels must be one of 1, 3. Received: True"):
        read_image(PICTURE, channels=True)


def test_resize_is_pillows_bilinear():
    expected = np.array(Image.fromarray(PICTURE).resize((3, 4), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize(PICTURE, (4, 3)), expected)
    grey = PICTURE[..., :1]
    np.testing.assert_array_equal(resize(grey, (4, 3)), expected[..., :1])


def test_reduction_is_antialiased():
    checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype("uint8")[..., None]
    assert np.abs(resize(checks, (8, 8)).astype(int) - 127).max() <= 2


def test_nothing_to_do_copies_nothing():
    assert resize(PICTURE, (5, 7)) is PICTURE
    assert load_image(PICTURE, (5, 7)) is PICTURE


@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (30, 30)])
def test_crop_takes_the_centre(shape):
    image = np.zeros((*shape, 3), "uint8")
    top, left = (shape[0] - 20) // 2, (shape[1] - 20) // 2
    image[top : top + 20, left : left + 20] = 200
    if min(shape) == 20:
        # The filter reaches a little over the edge, as everywhere else in the image.
        assert np.all(resize(image, (10, 10), crop=True)[1:-1, 1:-1] == 200)
    assert resize(image, (10, 10)).min() == 0  # stretching keeps the rest


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels=st.sampled_from([1, 3]),
    crop=st.booleans(),
)
def test_any_size_to_any_size(shape, size, channels, crop):
    image = np.full((*shape, channels), 90, "uint8")
    out = load_image(image, size, channels, crop)
    assert out.shape == (*size, channels)
    assert out.dtype == np.uint8
    assert np.all(out == 90)


@pytest.mark.parametrize(
    ("size", "error"),
    [
        ((0, 3), ValueError),
        ((-1, 3), ValueError),
        ((3,), ValueError),
        ((3, 3, 3), ValueError),
        ((3.7, 3), TypeError),
        (5, TypeError),
        ("ab", TypeError),
    ],
)
def test_bad_sizes(size, error):
    with pytest.raises(error, match=r"size must be \(height, width\)"):
        resize(PICTURE, size)


def header_of_png(width: int, height: int) -> bytes:
    """A PNG of which only the size is there: what a limit on sizes is checked against."""
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", size), (b"IDAT", b"")):
        content += struct.pack(">I", len(data)) + kind + data
        content += struct.pack(">I", zlib.crc32(kind + data))
    return content


class TestTrueReasons:
    """What a whole file is refused for is said; it is not called damaged."""

    def refused(self, tmp_path, content: bytes, name: str) -> str:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InvalidImage) as error:
            read_image(path)
        said = str(error.value)
        assert said.startswith(str(path))
        assert "damaged" not in said
        return said

    @pytest.mark.parametrize("side", [20_000, 14_200])  # 400 and 200 megapixels
    def test_too_many_pixels(self, tmp_path, side):
        said = self.refused(tmp_path, header_of_png(side, side), "photo.png")
        assert f"has too many pixels: Image size ({side**2} pixels)" in said
        assert "PIL.Image.MAX_IMAGE_PIXELS" in said

    def test_a_warning_of_pillow_made_an_error(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # PICTURE has 35
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            said = self.refused(tmp_path, encoded(Image.fromarray(PICTURE)), "photo.png")
        assert "has too many pixels" in said

    def test_the_limit_can_be_raised(self, monkeypatch):
        content = encoded(Image.fromarray(PICTURE))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        with pytest.raises(InvalidImage, match="too many pixels"):
            read_image(content)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        np.testing.assert_array_equal(read_image(content), PICTURE)

    def test_float_tiff(self, tmp_path):
        image = Image.fromarray(np.ones((2, 2), "float32"))
        said = self.refused(tmp_path, encoded(image, "TIFF"), "depth.tiff")
        assert "float pixels has no fixed range. Convert it to 8 bits" in said

    def test_tiff_that_pillow_does_not_know(self, tmp_path):
        entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 1, 64), (262, 3, 1, 2), (277, 3, 1, 3)]
        rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        content = b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4)
        assert "a TIFF with a pixel type that Pillow cannot read" in self.refused(
            tmp_path, content, "float64.tiff"
        )

    def test_png_with_a_long_comment(self, tmp_path):
        comment = PngInfo()
        comment.add_text("prompt", "x" * 2_000_000, zip=True)
        content = encoded(Image.fromarray(PICTURE), pnginfo=comment)
        said = self.refused(tmp_path, content, "drawn.png")
        assert "has a longer comment than Pillow allows" in said
        assert "PIL.PngImagePlugin.MAX_TEXT_CHUNK" in said
