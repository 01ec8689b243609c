"""Archives and HDF5 files that Keras did not write, or that something has happened to."""

from __future__ import annotations

import random
import stat
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strange_files import members, small_model, with_weights, written

import keras_dlcourse as kd
from keras_dlcourse.saving import InvalidModelFile, archive
from keras_dlcourse.saving.weights import read_shapes

INPUTS = np.random.default_rng(3).normal(size=(5, 4)).astype("float32")
KNOWN = ("metadata.json", "config.json", "model.weights.h5")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "small.keras"
    small_model().save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("archives")


def refused(path: Path, text: str, **how) -> None:
    with path.open("rb") as file, pytest.raises(InvalidModelFile, match=text):
        archive.read(file, **how)


class TestMembers:
    @given(
        st.permutations(KNOWN),
        st.sets(st.sampled_from(KNOWN), max_size=1),
        st.lists(
            st.text("abc/.\\:é", max_size=9).map("assets/{}".format)
            | st.sampled_from(KNOWN)
            | st.text(max_size=20).filter(bool),
            max_size=2,
        ),
    )
    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_only_what_keras_writes(self, folder, known, missing, others):
        names = [name for name in known if name not in missing] + others
        path = folder / "any.keras"
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(zipfile.ZipInfo(name), b"1")
        with zipfile.ZipFile(path) as file:  # surrogates and the like are another name by now
            names = file.namelist()
        is_fine = (
            len(set(names)) == len(names)
            and set(KNOWN) <= set(names)
            and all(_is_an_asset(name) for name in names if name not in KNOWN)
        )
        if is_fine:
            with path.open("rb") as file:
                assert len(archive.read(file).assets) == len(names) - 3
        else:
            refused(path, "archive|more than once|which Keras does not write|has no")

    @pytest.mark.parametrize("name", ["/etc/passwd", "../up", "assets/../../up", "a\\b", "c:d"])
    def test_names_that_lead_out(self, small, tmp_path, name):
        refused(
            written(tmp_path / "m.keras", {**members(small), name: b""}),
            "has a path outside of the archive",
        )

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_twice(self, small, tmp_path):
        with zipfile.ZipFile(written(tmp_path / "m.keras", members(small)), "a") as file:
            file.writestr("config.json", b"{}")
        refused(tmp_path / "m.keras", "contains config.json more than once")

    def test_pickled_weights(self, small, tmp_path):
        held = members(small)
        held["model.weights.npz"] = held.pop("model.weights.h5")
        refused(written(tmp_path / "m.keras", held), "pickled")

    def test_assets_that_no_layer_reads(self, small, tmp_path):
        path = written(tmp_path / "m.keras", {**members(small), "assets/words.txt": b"a"})
        with pytest.raises(InvalidModelFile, match="assets/words.txt, which no layer"):
            kd.load(path)

    @pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFDIR, stat.S_IFIFO])
    def test_links_and_devices(self, small, tmp_path, kind):
        held = members(small)
        link = zipfile.ZipInfo("config.json")
        link.external_attr = (kind | 0o777) << 16
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as file:
            file.writestr(link, held.pop("config.json"))
            for name, content in held.items():
                file.writestr(name, content)
        refused(tmp_path / "m.keras", "config.json is a link or a device")

    def test_encrypted(self, small, tmp_path):
        content = bytearray(small.read_bytes())
        for signature, at in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
            content[content.index(signature) + at] |= 1
        (tmp_path / "m.keras").write_bytes(content)
        refused(tmp_path / "m.keras", "metadata.json is encrypted")

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_other_compression(self, small, tmp_path, method):
        path = written(tmp_path / "m.keras", members(small), compression=method)
        refused(path, "compressed in a way")

    def test_deflated_is_read(self, small, tmp_path):
        path = written(tmp_path / "m.keras", members(small), compression=zipfile.ZIP_DEFLATED)
        np.testing.assert_array_equal(kd.load(path)(INPUTS), kd.load(small)(INPUTS))


def _is_an_asset(name: str) -> bool:
    parts = name.split("/")
    return (
        parts[0] == "assets"
        and bool(parts[-1])
        and ".." not in parts
        and not set(name) & set("\\:")
    )


class TestSizes:
    def test_a_bomb_by_its_ratio(self, small, tmp_path):
        held = {**members(small), "model.weights.h5": bytes(20 * 1024**2)}
        path = written(tmp_path / "m.keras", held, compression=zipfile.ZIP_DEFLATED)
        refused(path, "grows more than 100 times")

    def test_all_together(self, small):
        refused(small, "more than max_bytes=1,000 bytes", max_bytes=1000)
        with pytest.raises(InvalidModelFile, match="max_bytes=1,000"):
            kd.load(small, max_bytes=1000)

    def test_a_config_too_large(self, small, tmp_path, monkeypatch):
        monkeypatch.setattr(archive, "MAX_CONFIG_BYTES", 50)
        refused(small, "metadata.json is larger than")

    @pytest.mark.parametrize("size", [0, 1, 10, 2**20, 2**31])
    def test_a_member_that_is_longer_or_shorter_than_it_says(self, small, tmp_path, size):
        """The size stands in the central directory, which is all that is read of it."""
        path = written(tmp_path / "m.keras", members(small), compression=zipfile.ZIP_DEFLATED)
        content = bytearray(path.read_bytes())
        at = content.rindex(b"PK\1\2") + 24
        content[at : at + 4] = struct.pack("<I", size)
        path.write_bytes(content)
        refused(path, "does not have the declared size|not a valid zip|grows more")


class TestDamage:
    def test_every_kind_ends_in_one_error(self, small, tmp_path):
        """Flipped bits and cut ends: an error in one sentence, or the same answers."""
        whole, path = small.read_bytes(), tmp_path / "m.keras"
        expected = kd.load(small)(INPUTS)
        chance, harmless = random.Random(0), 0
        for turn in range(200):
            content = bytearray(whole)
            if turn % 4:
                for _ in range(turn % 4):
                    content[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            else:
                del content[chance.randrange(len(whole)) :]
            path.write_bytes(content)
            try:
                model = kd.load(path)
            except InvalidModelFile as error:
                assert str(error).startswith(str(path)) and str(error).count("\n") == 0
            else:
                np.testing.assert_array_equal(model(INPUTS), expected)
                harmless += 1
        print(f"{harmless} of 200 harmless")
        assert harmless < 40

    def test_of_the_directory(self, small, tmp_path):
        """Every byte of the directory of the archive, where no checksum watches."""
        whole, path = small.read_bytes(), tmp_path / "m.keras"
        expected = kd.load(small)(INPUTS)
        chance = random.Random(1)
        for at in range(whole.index(b"PK\1\2"), len(whole)):
            content = bytearray(whole)
            content[at] ^= 1 << chance.randrange(8)
            path.write_bytes(content)
            try:
                with path.open("rb") as file:
                    archive.read(file)
            except InvalidModelFile:
                continue
            np.testing.assert_array_equal(kd.load(path)(INPUTS), expected)

    def test_behind_a_right_checksum(self, small, tmp_path):
        """What an attacker damages has a right checksum: HDF5 must get along with it."""
        held = members(small)
        whole, chance, fine = held["model.weights.h5"], random.Random(2), 0
        for _ in range(100):
            content = bytearray(whole)
            content[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            path = written(tmp_path / "m.keras", {**held, "model.weights.h5": bytes(content)})
            try:
                kd.load(path)
                fine += 1
            except InvalidModelFile as error:
                assert str(error).count("\n") == 0
        assert fine < 100


def _external_link(file):
    file["layers/dense/vars"].pop("0")
    file["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/")


def _soft_link(file):
    file["layers/dense/vars"].pop("0")
    file["layers/dense/vars/0"] = h5py.SoftLink("/layers/dense_1/vars/0")


def _hard_link(file):
    file["layers/more"] = file["layers/dense"]


def _circle(file):
    file["layers/dense/again"] = file["layers"]


def _external_storage(file):
    file["layers/dense/vars"].pop("0")
    file["layers/dense/vars"].create_dataset(
        "0", (4, 3), "float32", external=[("/etc/passwd", 0, 48)]
    )


def _virtual(file):
    layout = h5py.VirtualLayout((4, 3), "float32")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4, 3))
    file["layers/dense/vars"].pop("0")
    file["layers/dense/vars"].create_virtual_dataset("0", layout)


def _empty_giant(file):
    file["layers/dense/vars"].pop("0")
    file["layers/dense/vars"].create_dataset("0", (10**7, 10**5), "float32")


def _chunked_giant(file):
    file["layers/dense/vars"].pop("0")
    file["layers/dense/vars"].create_dataset("0", (10**7, 10**5), "float32", chunks=(10, 10))


def _compressed(file):
    file["layers/dense/vars"].pop("0")
    file["layers/dense/vars"].create_dataset("0", data=np.zeros((4, 3)), compression="gzip")


def _texts(file):
    file["layers/dense/vars"].pop("0")
    file["layers/dense/vars/0"] = ["a", "b"]


def _records(file):
    file["layers/dense/vars"].pop("0")
    file["layers/dense/vars/0"] = np.zeros(3, [("a", "f4"), ("b", "i4")])


def _null(file):
    file["layers/dense/vars"].pop("0")
    file["layers/dense/vars/0"] = h5py.Empty("float32")


def _type(file):
    file["layers/type"] = np.dtype("float32")


def _attribute(file):
    file["layers/dense/vars/0"].attrs["more"] = 1


HDF5 = {
    _external_link: "0 is a ExternalLink",
    _soft_link: "0 is a SoftLink",
    _hard_link: "layers/more is stored under two names",
    _circle: "layers/dense/again is stored under two names",
    _external_storage: "stored in another file",
    _virtual: "stored in another file",
    _empty_giant: "4,000,000,000,000 bytes, but not all of them are stored",
    _chunked_giant: "not all of them are stored",
    _compressed: "compressed or filtered",
    _texts: "contains object, not numbers",
    _records: "not numbers",
    _null: "not numbers",
    _type: "neither a group nor an array",
    _attribute: "attributes that Keras does not write",
}


class TestWeightsFile:
    @pytest.mark.parametrize("change", HDF5, ids=lambda change: change.__name__[1:])
    def test_what_keras_does_not_write(self, small, tmp_path, change):
        path = with_weights(small, tmp_path / "m.keras", change)
        with pytest.raises(InvalidModelFile, match=HDF5[change]):
            kd.load(path)

    @pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n" + bytes(100)])
    def test_no_hdf5(self, small, tmp_path, content):
        path = written(tmp_path / "m.keras", {**members(small), "model.weights.h5": content})
        with pytest.raises(InvalidModelFile, match="not a valid HDF5 file"):
            kd.load(path)

    def test_shapes_are_those_of_the_model(self, small):
        with small.open("rb") as file:
            shapes = read_shapes(archive.read(file).weights)
        assert sorted(shapes.values()) == [(2,), (3,), (3, 2), (4, 3)]
