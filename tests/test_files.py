"""A file is whole or as it was before, whatever happens while it is written."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import keras
import pytest
from PIL import Image

import keras_dlcourse as kd
from keras_dlcourse._files import (
    user_path,
    write_atomically,
    write_bytes,
    write_folder_atomically,
    write_text,
)
from keras_dlcourse.edge import Gallery, InvalidGallery, read_image
from keras_dlcourse.training.run.run_folder import RunFolder


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
        with pytest.raises(error), write_atomically(path) as temporary:
            temporary.write_text("half")
            raise error
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_temporary_keeps_the_suffix_and_is_beside(tmp_path):
    with write_atomically(tmp_path / "model.weights.h5") as temporary:
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


class TestHomeFolder:
    """`~` is the home folder wherever a path is taken: no folder of that name is made."""

    @pytest.fixture(autouse=True)
    def home(self, tmp_path, monkeypatch):
        home = tmp_path / "home"
        (tmp_path / "here").mkdir()
        home.mkdir()
        monkeypatch.chdir(tmp_path / "here")
        monkeypatch.setenv("HOME", str(home))
        yield home
        assert not [*(tmp_path / "here").iterdir()]

    def test_files_and_folders(self, home):
        write_text("~/new/a.txt", "a")
        with write_folder_atomically("~/folder") as temporary:
            (temporary / "b.txt").write_text("b")
        assert (home / "new" / "a.txt").read_text() == "a"
        assert (home / "folder" / "b.txt").read_text() == "b"

    def test_names_that_begin_like_it(self):
        assert user_path("~draft.png").name == "~draft.png"
        assert str(user_path("~")) == os.environ["HOME"]

    def test_images_and_galleries(self, home):
        Image.new("RGB", (4, 3), "red").save(home / "photo.png")
        assert read_image("~/photo.png").shape == (3, 4, 3)
        with pytest.raises(InvalidGallery, match="~/photo.png"):
            Gallery.load("~/photo.png", None)

    def test_models(self, home):
        model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(),
                                  keras.layers.Dense(2)])  # fmt: skip
        model.save(home / "m.keras")
        assert kd.saving.load("~/m.keras").output_shape == (None, 2)
        result = kd.export.to_tflite(
            "~/m.keras", "~/new/m.tflite", labels=["cat", "dog"],
            preprocessing=kd.data.Normalization.identity(),
        )  # fmt: skip
        assert result.path == home / "new" / "m.tflite"
        assert result.path.is_file()
        assert kd.edge.ImageClassifier("~/new/m.tflite").labels == ("cat", "dog")
        assert kd.export.inspect("~/new/m.tflite").bytes == result.bytes
        assert kd.export.bundle("~/new/m.tflite", "~/pi") == home / "pi"
        assert (home / "pi" / "model.tflite").is_file()
        assert kd.compress.sizes("~/new/m.tflite").files[0].path == result.path

    def test_runs_and_checkpoints(self, home):
        assert RunFolder("~/run").path == home / "run"
        saver = kd.callbacks.ModelCheckpoint("~/kept/{epoch:02d}.keras", monitor="loss")
        assert saver.filepath == home / "kept" / "{epoch:02d}.keras"
        assert kd.callbacks.BackupAndRestore("~/backup").backup_dir == home / "backup"
        with pytest.raises(FileNotFoundError, match=str(home / "kept")):
            kd.saving.latest_checkpoint("~/kept")
