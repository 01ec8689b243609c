import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_dlcourse.data.idx import read_idx, write_idx


@settings(deadline=None, max_examples=30)
@given(
    array=hnp.arrays("uint8", hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)),
    suffix=st.sampled_from(["", ".gz", ".xz"]),
)
def test_what_is_written_is_read(array, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("idx") / f"a-idx-ubyte{suffix}"
    write_idx(path, array)
    np.testing.assert_array_equal(read_idx(path), array, strict=True)


def test_bytes_are_those_of_the_format(tmp_path):
    write_idx(tmp_path / "a", np.array([[1, 2, 3]], "uint8"))
    assert (tmp_path / "a").read_bytes() == bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3])


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_every_cut_is_noticed(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_idx(path, np.arange(30, dtype="uint8").reshape(5, 6))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(
            ValueError, match=r"a(\.gz|\.xz)? is damaged or not an IDX file: .*again"
        ):
            read_idx(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n", "does not start like an IDX file"),
        (bytes([0, 0, 0x0D, 1, 0, 0, 0, 0]), "does not start like an IDX file of bytes"),
        (bytes([0, 0, 8, 200, 0]), "its header is incomplete"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 2, 5]), "declares 2 = 2 bytes but contains 1"),
        (bytes([0, 0, 8, 3] + [255] * 12), "contains 0"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 5, 6]), "declares 1 = 1 bytes but contains 2"),
    ],
)
def test_foreign_and_lying_files(tmp_path, content, message):
    for path, data in ((tmp_path / "a", content), (tmp_path / "a.gz", gzip.compress(content))):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            read_idx(path)


def test_a_flipped_bit_in_a_gz_file_is_noticed(tmp_path):
    path = tmp_path / "a.gz"
    write_idx(path, np.arange(200, dtype="uint8"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be decompressed"):
        read_idx(path)


def test_only_bytes_are_written(tmp_path):
    with pytest.raises(TypeError, match="uint8. Received: int64"):
        write_idx(tmp_path / "a", np.arange(3))
    assert not list(tmp_path.iterdir())
