"""Checkpoints are written whole, listed with SHA-256, and found again when one is damaged."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from full_disk import disk_full_for_files_over
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import keras_dlcourse as kd
from keras_dlcourse.callbacks import ModelCheckpoint

X, Y = np.ones((8, 2), "float32"), np.ones((8, 1), "float32")
SCORES = [3.0, 1.0, 2.0, 0.5, 4.0, 4.0]


class Script(keras.callbacks.Callback):
    """Writes what a monitored quantity is to have been into the logs."""

    def __init__(self, values: list[float], name: str = "score") -> None:
        super().__init__()
        self.values, self.name = values, name

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs[self.name] = self.values[epoch]


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def fit(model: keras.Model, saver: ModelCheckpoint, epochs: int = 6, **options: Any) -> None:
    callbacks = [Script(SCORES), saver, *options.pop("callbacks", ())]
    model.fit(X, Y, batch_size=4, epochs=epochs, verbose=0, callbacks=callbacks, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("[!.]*") if path.name != "checkpoints.json")


def test_each_epoch_has_a_file_that_the_manifest_knows(model: keras.Model, tmp_path: Path) -> None:
    fit(model, ModelCheckpoint(tmp_path / "{epoch}-{score:.1f}.keras", monitor="score"), 2)
    assert names(tmp_path) == ["1-3.0.keras", "2-1.0.keras"]
    for row in json.loads((tmp_path / "checkpoints.json").read_text())["checkpoints"]:
        content = (tmp_path / row["name"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert row["bytes"] == len(content)
    found = kd.saving.latest_checkpoint(tmp_path)
    assert found.name == "2-1.0.keras"
    for kept, now in zip(
        keras.saving.load_model(found).get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(kept, now)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"keep": 2}, [5, 6]),
        ({"keep_best": 1, "mode": "max"}, [5, 6]),  # the first of two that are as good
        ({"keep": 1, "keep_best": 2, "mode": "min"}, [2, 4, 6]),
        ({"save_best_only": True, "mode": "min"}, [1, 2, 4]),
        ({"save_best_only": True, "mode": "max", "initial_value_threshold": 3.5}, [5]),
        ({"save_best_only": True, "mode": "min", "keep": 1}, [4]),
    ],
)
def test_what_is_kept(
    options: dict[str, Any], kept: list[int], model: keras.Model, tmp_path: Path
) -> None:
    fit(
        model,
        ModelCheckpoint(
            tmp_path / "{epoch}.weights.h5", "score", save_weights_only=True, **options
        ),
    )
    assert names(tmp_path) == [f"{epoch}.weights.h5" for epoch in kept]


def test_two_patterns_in_one_folder_keep_their_own(model: keras.Model, tmp_path: Path) -> None:
    other = ModelCheckpoint(tmp_path / "all-{epoch}.keras")
    fit(model, ModelCheckpoint(tmp_path / "{epoch}.keras", keep=1), 3, callbacks=[other])
    assert names(tmp_path) == ["3.keras", "all-1.keras", "all-2.keras", "all-3.keras"]
    assert kd.saving.latest_checkpoint(tmp_path / "{epoch}.keras").name == "3.keras"


def test_best_and_newest_are_found(model: keras.Model, tmp_path: Path) -> None:
    fit(model, ModelCheckpoint(tmp_path / "{epoch}.keras", "score", mode="max", keep_best=1))
    assert kd.saving.latest_checkpoint(tmp_path).name == "6.keras"
    assert kd.saving.latest_checkpoint(tmp_path, best=True).name == "5.keras"


def test_nan_is_never_the_best(model: keras.Model, tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path / "{epoch}.keras", "val", save_best_only=True, mode="max")
    script = Script([1.0, float("nan"), float("inf"), 2.0], "val")
    model.fit(X, Y, epochs=4, verbose=0, callbacks=[script, saver])
    assert names(tmp_path) == ["1.keras", "4.keras"]


def test_a_quantity_that_no_save_sees_is_an_error(model: keras.Model, tmp_path: Path) -> None:
    for options in ({"save_best_only": True}, {"keep_best": 2}):
        with pytest.raises(ValueError, match="'val_accuracy' is measured at the end.*'accuracy'"):
            ModelCheckpoint(tmp_path / "{batch}.keras", "val_accuracy", save_freq=4, **options)
    saver = ModelCheckpoint(tmp_path / "{epoch}.keras", keep_best=2)
    with pytest.raises(ValueError, match="never saw 'val_loss'.*Lower validation_freq"):
        fit(model, saver, 2, validation_data=(X, Y), validation_freq=3)


def test_a_training_that_saved_nothing_says_so(model: keras.Model, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="saved nothing: save_freq is 9 batches, but fit had 4"):
        fit(model, ModelCheckpoint(tmp_path / "a.keras", save_freq=9), 2)
    saver = ModelCheckpoint(tmp_path / "a.keras", "score", mode="min", save_best_only=True)
    with pytest.warns(UserWarning, match="saved nothing: 'score' was never finite at a save"):
        model.fit(X, Y, verbose=0, callbacks=[Script([np.nan]), saver])
    assert names(tmp_path) == []


@pytest.mark.parametrize("options", [{"save_best_only": True}, {"keep": 1}])
def test_weights_of_nan_are_not_saved(options: dict[str, Any], tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    start = model.get_weights()
    breaking = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: (
            model.set_weights([np.full_like(w, np.nan) for w in start]) if epoch else None
        )
    )
    saver = ModelCheckpoint(tmp_path / "{epoch}.keras", "score", mode="min", **options)
    with pytest.warns(UserWarning, match="does not save: in epoch 2 the weight '.*/kernel'"):
        model.fit(X, Y, epochs=3, verbose=0, callbacks=[Script([3.0, 2.0, 1.0]), breaking, saver])
    assert names(tmp_path) == ["1.keras"]


def test_averages_have_to_be_what_is_saved(tmp_path: Path) -> None:
    averaged = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    averaged.compile(keras.optimizers.SGD(use_ema=True), "mse")
    saver = ModelCheckpoint(tmp_path / "a.keras", save_best_only=True)
    callbacks = [saver, keras.callbacks.SwapEMAWeights(swap_on_epoch=True)]
    with pytest.raises(ValueError, match="ModelCheckpoint must keep the weights that 'val_loss'"):
        averaged.fit(X, Y, validation_data=(X, Y), verbose=0, callbacks=callbacks)


def test_batches_are_counted_over_epochs(model: keras.Model, tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path / "{epoch}-{batch}.keras", save_freq=3)
    fit(model, saver, 4)  # of 2 batches each
    assert names(tmp_path) == ["2-1.keras", "3-2.keras"]


def test_a_batch_has_the_weights_of_that_batch(model: keras.Model, tmp_path: Path) -> None:
    seen: list[np.ndarray] = []

    def look(batch: int, logs: Any) -> None:
        if hasattr(model, "jax_state_sync"):
            model.jax_state_sync()
        seen.append(model.get_weights()[0])

    saver = ModelCheckpoint(
        tmp_path / "{epoch}-{batch}.weights.h5", save_freq=1, save_weights_only=True
    )
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=look)
    fit(model, saver, 2, callbacks=[watch])
    other = keras.models.clone_model(model)
    for name, expected in zip(names(tmp_path), seen, strict=True):
        other.load_weights(tmp_path / name)
        np.testing.assert_array_equal(other.get_weights()[0], expected)


def test_a_fixed_name_keeps_the_one_before(model: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    fit(model, ModelCheckpoint(path), 1)
    first = path.read_bytes()
    fit(model, ModelCheckpoint(path), 1)
    before = tmp_path / "model.previous.keras"
    assert before.read_bytes() == first != path.read_bytes()
    assert kd.saving.latest_checkpoint(path) == path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="model.keras is damaged. Using the previous checkpoint"):
        assert kd.saving.latest_checkpoint(path) == before
    before.unlink()
    with (
        pytest.warns(UserWarning),
        pytest.raises(FileNotFoundError, match=r"no intact checkpoint.*model\.keras"),
    ):
        kd.saving.latest_checkpoint(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_is_overlooked(data: st.DataObject, model: keras.Model, tmp_path: Path) -> None:
    if not (tmp_path / "2.keras").exists():
        fit(model, ModelCheckpoint(tmp_path / "{epoch}.keras"), 2)
    newest = tmp_path / "2.keras"
    content = newest.read_bytes()
    try:
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            newest.write_bytes(content[:place])
        else:
            flipped = content[place] ^ 1 << data.draw(st.integers(0, 7))
            newest.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
        with pytest.warns(UserWarning, match="is damaged"):
            assert kd.saving.latest_checkpoint(tmp_path).name == "1.keras"
    finally:
        newest.write_bytes(content)


def test_kd_load_looks_at_the_manifest(model: keras.Model, tmp_path: Path) -> None:
    fixed, numbered = tmp_path / "fixed", tmp_path / "numbered"
    for _ in range(2):
        fit(model, ModelCheckpoint(fixed / "model.keras"), 1)
    fit(model, ModelCheckpoint(numbered / "{epoch}.keras"), 2)
    newest = model.get_weights()[0]
    np.testing.assert_array_equal(kd.load(numbered).get_weights()[0], newest)
    for path in (fixed / "model.keras", numbered / "2.keras"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1  # the length of the archive's comment
        path.write_bytes(content)
    with pytest.warns(UserWarning, match="model.keras is damaged. Using the previous"):
        before = kd.load(fixed / "model.keras")
    assert not np.array_equal(before.get_weights()[0], newest)
    with pytest.raises(ValueError, match="2.keras is damaged, or was overwritten.*latest_check"):
        kd.load(numbered / "2.keras")
    with pytest.warns(UserWarning, match="2.keras is damaged. Using the previous"):
        kd.load(numbered)


def test_a_manifest_names_files_of_its_folder_only(model: keras.Model, tmp_path: Path) -> None:
    fit(model, ModelCheckpoint(tmp_path / "{epoch}.keras"), 1)
    for name in ("checkpoints.json", ".checkpoints.json"):
        path = tmp_path / name
        rows = json.loads(path.read_text())["checkpoints"]
        rows[0]["name"] = "../1.keras"
        digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
        path.write_text(json.dumps({"sha256": digest, "checkpoints": rows}))
    with pytest.raises(ValueError, match="checkpoints.json is damaged"):
        kd.saving.latest_checkpoint(tmp_path)


def test_a_damaged_manifest(model: keras.Model, tmp_path: Path) -> None:
    fit(model, ModelCheckpoint(tmp_path / "{epoch}.keras"), 2)
    manifest = tmp_path / "checkpoints.json"
    manifest.write_text(manifest.read_text().replace("2.keras", "3.keras"))
    assert kd.saving.latest_checkpoint(tmp_path).name == "2.keras"  # there is a copy
    (tmp_path / ".checkpoints.json").write_text("")
    with pytest.raises(ValueError, match="checkpoints.json is damaged.*Delete it"):
        kd.saving.latest_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.keras", "{epoch}.weights.h5"])
def test_a_full_disk_leaves_what_was_there(name: str, model: keras.Model, tmp_path: Path) -> None:
    options = {"save_weights_only": name.endswith(".h5")}
    fit(model, ModelCheckpoint(tmp_path / name, **options), 1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with disk_full_for_files_over(1500), pytest.warns(UserWarning, match="could not save"):
        fit(model, ModelCheckpoint(tmp_path / name, **options), 1)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert after == before
    with disk_full_for_files_over(1500), pytest.raises(OSError, match="could not save"):
        fit(model, ModelCheckpoint(tmp_path / name, on_error="raise", **options), 1)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    fit(model, ModelCheckpoint(tmp_path / name, **options), 1)  # and the folder is free again


@contextmanager
def not_as_root() -> Iterator[None]:
    """Give up root's right to write anywhere, which CI may have, for a while."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_a_folder_that_may_not_be_written(model: keras.Model) -> None:
    with not_as_root(), tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        folder.chmod(0o500)
        with pytest.raises(OSError, match="denied"):
            fit(model, ModelCheckpoint(folder / "model.keras"), 1)
        folder.chmod(0o700)
        close = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: folder.chmod(0o500 if epoch else 0o700)
        )
        with pytest.warns(UserWarning, match="could not save .*denied.* Training continues"):
            fit(model, ModelCheckpoint(folder / "{epoch}.keras"), 3, callbacks=[close])
        folder.chmod(0o700)
        assert names(folder) == ["1.keras", "2.keras"]


def test_what_a_killed_process_left_is_cleared_away(model: keras.Model, tmp_path: Path) -> None:
    left = tmp_path / ".model.keras.abcdef12"
    left.mkdir()
    (left / "model.keras").write_bytes(b"half")
    fit(model, ModelCheckpoint(tmp_path / "model.keras"), 1)
    assert not left.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filepath": "model.h5"}, "must end in '.keras'"),
        ({"filepath": "model.keras", "save_weights_only": True}, "must end in '.weights.h5'"),
        ({"filepath": "{epoch}/model.keras"}, "not in the folder"),
        ({"filepath": "model.keras", "keep": 2}, "needs a separate name for each file"),
        ({"filepath": "{epoch}.keras", "keep_best": 0}, "keep_best must be an integer"),
        ({"filepath": "model.keras", "save_freq": 0}, "save_freq must be"),
        ({"filepath": "model.keras", "on_error": "stop"}, "on_error must be"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelCheckpoint(**arguments)


def test_names_that_are_not_in_the_logs(model: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"names 'accuracy', which is not in the logs.*loss"):
        fit(model, ModelCheckpoint(tmp_path / "{accuracy}.keras"), 1)
    with pytest.raises(ValueError, match="ModelCheckpoint monitors 'scor', .*mean monitor='score'"):
        fit(model, ModelCheckpoint(tmp_path / "a.keras", "scor", save_best_only=True), 1)
    with pytest.raises(
        ValueError, match="ModelCheckpoint cannot tell whether higher or lower 'score'"
    ):
        fit(model, ModelCheckpoint(tmp_path / "a.keras", "score", save_best_only=True), 1)
