from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from keras_dlcourse.compress.file_sizes import sizes


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, 20_000).astype("int8")
    (tmp_path / "dense.tflite").write_bytes(weights.tobytes())
    pruned = np.where(rng.random(weights.shape) < 0.75, 0, weights).astype("int8")
    (tmp_path / "pruned.tflite").write_bytes(pruned.tobytes())
    return tmp_path / "dense.tflite", tmp_path / "pruned.tflite"


def test_zeros_shrink_the_archive_and_not_the_file(files) -> None:
    dense, pruned = sizes(*files).files
    assert dense.raw == pruned.raw == 20_000
    assert dense.zip > 20_000  # noise does not compress
    # The entropy of 75 % zeros and 25 % noise is 0.81 + 0.25 * 8 bits: no coder gets below.
    least = 20_000 * (0.811 + 0.25 * 7.99) / 8
    assert least < pruned.xz < pruned.zip < 1.5 * least


@pytest.mark.skipif(not shutil.which("zip") or not shutil.which("xz"), reason="no zip or xz")
def test_agrees_with_the_commands(files, tmp_path) -> None:
    path = files[1]
    subprocess.run(["zip", "-9", "-j", "-q", tmp_path / "out.zip", path], check=True)
    compressed = subprocess.run(["xz", "-9", "-c", path], check=True, capture_output=True).stdout
    size = sizes(path).files[0]
    assert size.zip == pytest.approx((tmp_path / "out.zip").stat().st_size, rel=0.02)
    assert size.xz == pytest.approx(len(compressed), rel=0.02)


def test_the_table_says_why_the_file_is_no_smaller(files) -> None:
    dense, pruned = sizes(*files).files
    text = str(sizes(*files))
    assert f"{dense.zip / pruned.zip:.2f}x" in text
    assert "do not change the raw size or the speed" in text
    assert "dense.tflite / file" not in str(sizes(files[0]))


def test_missing_files(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.tflite"):
        sizes(tmp_path / "nothing.tflite")
    with pytest.raises(ValueError, match="at least one file path"):
        sizes()
