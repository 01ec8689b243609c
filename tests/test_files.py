"""A file is whole or as it was before, whatever happens while it is written."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from keras_dlcourse._files import write_bytes, write_text, written_whole


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    write_text(path, "ä")
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), written_whole(path) as temporary:
            temporary.write_text("half")
            raise error
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_temporary_keeps_the_suffix_and_is_beside(tmp_path):
    with written_whole(tmp_path / "model.weights.h5") as temporary:
        assert temporary.name == "model.weights.h5"
        assert tmp_path in temporary.parents  # a rename across file systems is none
        temporary.write_bytes(b"")


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """The operating system itself refuses to write more than 4,096 bytes."""
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    code = textwrap.dedent(f"""
        import resource, signal
        from keras_dlcourse._files import write_bytes
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_bytes({str(path)!r}, bytes(100_000))
        except OSError as error:
            print("refused:", error.strerror)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("refused:")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]
