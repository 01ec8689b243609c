"""A training that is broken off and started again ends as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from full_disk import disk_full_for_files_over
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import keras_dlcourse as kd
from keras_dlcourse.saving import checkpoints
from keras_dlcourse.saving.state import capture, read_state
from keras_dlcourse.training.run.history import HistoryFile

pytestmark = pytest.mark.usefixtures("broken_off")

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (22, 6, 6, 1)).astype("uint8"), np.arange(22) % 3
EPOCHS, BATCH = 3, 4
STEPS = 6  # batches of an epoch; the last one is smaller


class Killed(BaseException):
    """Stands for the end of the process."""


class KillAt(keras.callbacks.Callback):
    """Ends `fit` at the so-many-th call of a hook."""

    def __init__(self, hook: str, count: int) -> None:
        super().__init__()
        self.left = count
        setattr(self, hook, self._count)

    def _count(self, *args: Any, **kwargs: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


def network(augmented: bool = True) -> keras.Model:
    """Return a small network with all that makes a training hard to resume."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            *([kd.layers.RandomAffine(degrees=20)] if augmented else []),
            keras.layers.Conv2D(3, 3),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    rate = keras.optimizers.schedules.ExponentialDecay(0.05, 4, 0.8)
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def data(**options: Any) -> kd.data.Pipeline:
    return kd.data.pipeline(
        IMAGES, LABELS, batch_size=BATCH, shuffle=True, seed=5, **options,
        normalization=kd.data.Normalization.fit(IMAGES),
    )  # fmt: skip


class Scrambled:
    """One model for many trainings: that of a new process, but for what TensorFlow compiled."""

    def __init__(self) -> None:
        self.model = network()
        self.start = [np.array(v) for v in self._variables()]

    def _variables(self) -> list[Any]:
        self.model.optimizer.build(self.model.trainable_variables)
        return [*self.model.variables, *self.model.optimizer.variables]

    def fresh(self) -> keras.Model:
        for variable, value in zip(self._variables(), self.start, strict=True):
            variable.assign(value)
        self.model.reset_metrics()
        self.model._initial_epoch = None
        return self.model

    def changed(self) -> keras.Model:
        """Return the model with nothing in it that a training could go on with."""
        for variable in self.fresh().variables:
            variable.assign(variable + 7)
        for variable in [*self.model.optimizer.variables, *self.model.metrics_variables]:
            variable.assign(variable + 7)
        return self.model


@dataclass
class Trained:
    """What a training leaves."""

    arrays: dict[str, np.ndarray]
    history: dict[str, list[float]]
    stop: kd.callbacks.EarlyStopping
    file: HistoryFile


def train(
    model: keras.Model, folder: Path, *extra: keras.callbacks.Callback,
    save_freq: int | str = 4, **options: Any,
) -> Trained:  # fmt: skip
    backup = kd.callbacks.BackupAndRestore(folder / "backup", save_freq, verbose=0, **options)
    stop = kd.callbacks.EarlyStopping("loss", patience=9, verbose=0, restore_best_weights=False)
    file = HistoryFile(folder / "history.csv")
    history = model.fit(
        data(), epochs=EPOCHS, verbose=0, validation_data=(IMAGES[:7] / 255.0, LABELS[:7]),
        validation_batch_size=3, callbacks=[stop, backup, file, *extra],
    )  # fmt: skip
    return Trained(capture(model), history.history, stop, file)


@pytest.fixture(scope="module")
def scrambled() -> Scrambled:
    return Scrambled()


@pytest.fixture(scope="module")
def undisturbed(scrambled: Scrambled, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(scrambled.fresh(), tmp_path_factory.mktemp("undisturbed"))


def assert_same(resumed: Trained, undisturbed: Trained) -> None:
    for name, expected in undisturbed.arrays.items():
        np.testing.assert_array_equal(resumed.arrays[name], expected, name)
    assert resumed.history == undisturbed.history
    assert resumed.stop.state_dict() == undisturbed.stop.state_dict()
    rows = [[{**row, "seconds": 0} for row in run.file.rows] for run in (resumed, undisturbed)]
    assert rows[0] == rows[1]


HOOKS = {
    "on_train_batch_begin": EPOCHS * STEPS,
    "on_train_batch_end": EPOCHS * STEPS,
    "on_test_batch_end": EPOCHS * 3,
    "on_epoch_begin": EPOCHS,
    "on_epoch_end": EPOCHS,
}
KILLS = st.sampled_from(sorted(HOOKS)).flatmap(
    lambda hook: st.tuples(st.just(hook), st.integers(0, HOOKS[hook] - 1))
)


@pytest.mark.parametrize("save_freq", ["epoch", 1, 4, 7])
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(KILLS, min_size=1, max_size=3))
def test_killed_anywhere_and_again(
    save_freq: int | str, kills: list[tuple[str, int]], scrambled: Scrambled,
    tmp_path_factory: pytest.TempPathFactory, undisturbed: Trained,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("killed")
    model = scrambled.fresh()
    for hook, count in kills:
        try:
            train(model, folder, KillAt(hook, count), save_freq=save_freq)
        except Killed:
            saved = any((folder / "backup").glob("*.state"))
            model = scrambled.changed() if saved else scrambled.fresh()
            continue
        break  # what was left is less than that
    else:
        resumed = train(model, folder, save_freq=save_freq)
        assert_same(resumed, undisturbed)
    assert not (folder / "backup").exists()


class Signal(keras.callbacks.Callback):
    """Sends this process a signal at one call of a hook."""

    def __init__(self, number: int, hook: str, count: int) -> None:
        super().__init__()
        self.number, self.left = number, count
        setattr(self, hook, self._count)

    def _count(self, *args: Any, **kwargs: Any) -> None:
        self.left -= 1
        if self.left == -1:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("hook", "count"), [("on_train_batch_end", 8), ("on_test_batch_begin", 4), ("on_epoch_end", 1)]
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_before_it_ends_the_training(
    number: int, hook: str, count: int, scrambled: Scrambled, tmp_path: Path,
    undisturbed: Trained, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    leaves = SystemExit if number == signal.SIGTERM else KeyboardInterrupt
    with pytest.raises(leaves) as raised:
        train(scrambled.fresh(), tmp_path, Signal(number, hook, count), save_freq=1000)
    if number == signal.SIGTERM:
        assert raised.value.code == 128 + signal.SIGTERM
    assert "saving the training state" in capsys.readouterr().err
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    _, facts = read_state(*(tmp_path / "backup").glob("*.state"))
    # Whatever comes after the epoch's last batch runs again, after that batch.
    at = {
        "on_train_batch_end": (1, 3),
        "on_test_batch_begin": (1, STEPS - 1),
        "on_epoch_end": (2, 0),
    }
    assert (facts["epoch"], facts["batch"]) == at[hook]
    assert_same(train(scrambled.changed(), tmp_path, save_freq=1000), undisturbed)


@pytest.mark.parametrize("backup_first", [True, False])
def test_the_state_is_saved_before_early_stopping_restores_its_best(
    backup_first: bool, scrambled: Scrambled, tmp_path: Path
) -> None:
    backup = kd.callbacks.BackupAndRestore(tmp_path / "backup", 1000, verbose=0)
    stop = kd.callbacks.EarlyStopping("loss", mode="max", patience=9, verbose=0)  # best: the first
    watched: dict[str, Any] = {}
    look = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: watched.update(capture(model))
    )
    callbacks = [backup, stop] if backup_first else [stop, backup]
    callbacks += [Signal(signal.SIGINT, "on_train_batch_end", 14), look]
    model = scrambled.fresh()
    with pytest.raises(KeyboardInterrupt):
        model.fit(data(), epochs=3, verbose=0, callbacks=callbacks)
    arrays, facts = read_state(*(tmp_path / "backup").glob("*.state"))
    assert (facts["epoch"], facts["batch"]) == (2, 3)
    for name, expected in watched.items():
        np.testing.assert_array_equal(arrays[name], expected, name)
    for kept, expected in zip(model.get_weights(), stop.best_weights, strict=True):
        np.testing.assert_array_equal(kept, expected)


def test_a_new_process_makes_the_metrics_itself(tmp_path: Path, undisturbed: Trained) -> None:
    with pytest.raises(Killed):
        train(network(), tmp_path, KillAt("on_train_batch_end", 8), save_freq=4)
    assert_same(train(network(), tmp_path, save_freq=4), undisturbed)


def killed(scrambled: Scrambled, folder: Path, **options: Any) -> list[Path]:
    with pytest.raises(Killed):
        train(scrambled.fresh(), folder, KillAt("on_train_batch_end", 9), **options)
    return sorted((folder / "backup").glob("*.state"))


def test_two_states_stay_and_a_damaged_one_is_passed_over(
    scrambled: Scrambled, tmp_path: Path, undisturbed: Trained
) -> None:
    older, newer = killed(scrambled, tmp_path, save_freq=2)
    content = bytearray(newer.read_bytes())
    content[len(content) // 2] ^= 1
    newer.write_bytes(content)
    with pytest.warns(UserWarning, match=f"{newer.name} is damaged. Using the previous checkpoint"):
        resumed = train(scrambled.changed(), tmp_path, save_freq=2)
    assert_same(resumed, undisturbed)


def test_without_a_whole_state_it_does_not_begin_anew_by_itself(
    scrambled: Scrambled, tmp_path: Path
) -> None:
    (only,) = killed(scrambled, tmp_path, save_freq=2, double_checkpoint=False)
    only.write_bytes(only.read_bytes()[:-100])
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(ValueError, match=r"all states in .* are damaged.*delete the folder"),
    ):
        train(scrambled.fresh(), tmp_path)


@pytest.mark.skipif(
    keras.backend.backend() == "jax",
    reason="fit does not see the weights that a callback sets within an epoch",
)
def test_weights_of_nan_are_not_saved(scrambled: Scrambled, tmp_path: Path) -> None:
    model = scrambled.changed()
    start = model.get_weights()

    def damage(batch: int, logs: Any) -> None:
        if batch == 5:
            model.set_weights([np.full_like(weight, np.nan) for weight in start])

    breaking = keras.callbacks.LambdaCallback(on_train_batch_end=damage)
    with pytest.warns(
        UserWarning, match="does not save: before batch 1 of epoch 2, .* is NaN"
    ) as warned:
        train(model, tmp_path, breaking, save_freq=2, delete_checkpoint=False)
    assert sum("does not save" in str(one.message) for one in warned) == 1
    newest = sorted((tmp_path / "backup").glob("*.state"))[-1]
    arrays, facts = read_state(newest)
    assert facts["epoch"] == 0 and facts["batch"] == 4
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_a_full_disk_leaves_the_state_before(
    scrambled: Scrambled, tmp_path: Path, undisturbed: Trained
) -> None:
    (only,) = killed(scrambled, tmp_path, save_freq=6)
    before = only.read_bytes()
    with (
        disk_full_for_files_over(1000),
        pytest.warns(UserWarning) as warned,
        pytest.raises(Killed),
    ):
        train(scrambled.changed(), tmp_path, KillAt("on_train_batch_end", 9), save_freq=6)
    (message,) = [str(warning.message) for warning in warned if "Backup" in str(warning.message)]
    assert "could not save" in message and "Earlier saves are still there" in message
    assert only.read_bytes() == before
    assert [path.name for path in only.parent.glob("[!.]*.state")] == [only.name]
    with disk_full_for_files_over(1000), pytest.raises(OSError, match="could not save"):
        train(scrambled.changed(), tmp_path, save_freq=6, on_error="raise")
    assert_same(train(scrambled.changed(), tmp_path, save_freq=6), undisturbed)


def test_a_folder_that_vanishes_is_not_made_again(scrambled: Scrambled, tmp_path: Path) -> None:
    def vanish(epoch: int, logs: Any) -> None:
        if epoch == 0:
            (tmp_path / "backup").rename(tmp_path / "elsewhere")

    vanisher = keras.callbacks.LambdaCallback(on_epoch_end=vanish)
    with pytest.warns(UserWarning, match="could not save to .*no longer exists"):
        train(scrambled.fresh(), tmp_path, vanisher, save_freq=5)
    assert not (tmp_path / "backup").exists()
    assert list((tmp_path / "elsewhere").glob("*.state"))


def test_a_folder_belongs_to_one_run_at_a_time(scrambled: Scrambled, tmp_path: Path) -> None:
    # What CheckpointFolder.lock does, in a process that need not import Keras for it.
    hold = (
        "import sys; from filelock import FileLock;"
        "lock = FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    (tmp_path / "backup").mkdir()
    other = subprocess.Popen(
        [sys.executable, "-c", hold, tmp_path / "backup" / checkpoints._LOCK],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(RuntimeError, match="in use by another run"):
            train(scrambled.fresh(), tmp_path)
    finally:
        other.kill()
        other.wait()
    train(scrambled.fresh(), tmp_path)  # a dead process holds nothing


def test_a_state_of_something_else_is_refused(scrambled: Scrambled, tmp_path: Path) -> None:
    killed(scrambled, tmp_path)
    other = keras.Sequential(
        [keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    other.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="state is from another model or optimizer"):
        train(other, tmp_path)
    backup = kd.callbacks.BackupAndRestore(tmp_path / "backup", verbose=0)
    with pytest.raises(ValueError, match=r"state of a fit with .*EarlyStopping 1.*; this one has"):
        scrambled.fresh().fit(data(), verbose=0, callbacks=[backup])


def test_data_that_cannot_go_on_within_an_epoch(scrambled: Scrambled, tmp_path: Path) -> None:
    backup = kd.callbacks.BackupAndRestore(tmp_path, save_freq=2)
    with pytest.raises(ValueError, match=r"save_freq=2 needs data.*ndarray.*kd\.data\.pipeline"):
        scrambled.fresh().fit(IMAGES / 255.0, LABELS, verbose=0, callbacks=[backup])
    with pytest.raises(
        ValueError, match="batches in the data, 6, .*Received: 2. Omit steps_per_epoch"
    ):
        scrambled.fresh().fit(data(), steps_per_epoch=2, verbose=0, callbacks=[backup])


def test_arrays_in_stored_order_go_on_from_whole_epochs(
    scrambled: Scrambled, tmp_path: Path
) -> None:
    def fit(model: keras.Model, *extra: keras.callbacks.Callback) -> dict[str, np.ndarray]:
        backup = kd.callbacks.BackupAndRestore(tmp_path / "backup", verbose=0)
        model.fit(IMAGES / 255.0, LABELS, batch_size=BATCH, epochs=3, shuffle=False, verbose=0,
                  callbacks=[backup, *extra])  # fmt: skip
        return capture(model)

    expected = fit(scrambled.fresh())
    with pytest.raises(Killed):
        fit(scrambled.fresh(), KillAt("on_train_batch_end", 15))
    resumed = fit(scrambled.changed())
    for name, array in expected.items():
        np.testing.assert_array_equal(resumed[name], array, name)


def test_what_keras_remembers_in_its_own_callbacks(scrambled: Scrambled, tmp_path: Path) -> None:
    def rates(model: keras.Model, *extra: keras.callbacks.Callback) -> list[float]:
        model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
        backup = kd.callbacks.BackupAndRestore(tmp_path / "backup", verbose=0)
        plateau = keras.callbacks.ReduceLROnPlateau("loss", patience=2, min_delta=9.0)
        history = model.fit(data(), epochs=6, verbose=0, callbacks=[backup, plateau, *extra])
        return history.history["learning_rate"]

    expected = rates(network())
    assert len(set(expected)) > 2
    with pytest.raises(Killed):
        rates(network(), KillAt("on_epoch_begin", 4))
    assert rates(network()) == expected


@pytest.mark.parametrize("count", [1, 8])
def test_what_signals_were_measured_goes_on(
    count: int, scrambled: Scrambled, tmp_path: Path
) -> None:
    """Also where the kill came before the first state, and within an epoch."""

    def monitor() -> kd.callbacks.SignalMonitor:
        return kd.callbacks.SignalMonitor((IMAGES / 255.0, LABELS), limit=8, dead=0.99)

    whole, killed, resumed = monitor(), monitor(), monitor()
    train(scrambled.fresh(), tmp_path / "whole", whole)
    with pytest.raises(Killed):
        train(scrambled.fresh(), tmp_path, killed, KillAt("on_train_batch_end", count))
    # Before the first state there is nothing to go on with.
    again = scrambled.fresh() if count == 1 else scrambled.changed()
    train(again, tmp_path, resumed)
    assert resumed.layers == whole.layers
    assert resumed.epochs == whole.epochs == [0, 1, 2, 3]
    for name in ("activations", "gradients", "dead_units", "updates"):
        assert getattr(resumed, name) == getattr(whole, name), name


def test_also_holds_what_fit_does_not_see(scrambled: Scrambled, tmp_path: Path) -> None:
    class Curriculum:
        level = 0

        def state_dict(self) -> dict[str, Any]:
            return {"level": self.level, "seen": np.full(2, self.level)}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            assert state["seen"].tolist() == [state["level"]] * 2
            self.level = state["level"]

    def fit(curriculum: Curriculum, *extra: keras.callbacks.Callback) -> None:
        def rise(epoch: int, logs: Any) -> None:
            curriculum.level += 1

        train(scrambled.fresh(), tmp_path, keras.callbacks.LambdaCallback(on_epoch_end=rise),
              *extra, also=[curriculum])  # fmt: skip

    with pytest.raises(Killed):
        fit(Curriculum(), KillAt("on_train_batch_end", 10))
    resumed = Curriculum()
    fit(resumed)
    assert resumed.level == EPOCHS
    with pytest.raises(TypeError, match=r"state_dict\(\) and load_state_dict\(\).*list"):
        kd.callbacks.BackupAndRestore(tmp_path, also=[[]])


def test_a_second_fit_begins_where_it_says(scrambled: Scrambled, tmp_path: Path) -> None:
    killed(scrambled, tmp_path)
    model = scrambled.changed()
    train(model, tmp_path)
    history = model.fit(data(), epochs=2, verbose=0)
    assert history.epoch == [0, 1]


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="integers are TensorFlow's")
def test_ranges_of_quantization_go_on(tmp_path: Path) -> None:
    def aware() -> keras.Model:
        made = kd.quantize.quantization_aware(network(augmented=False))
        made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return made

    expected = train(aware(), tmp_path / "whole")
    with pytest.raises(Killed):
        train(aware(), tmp_path, KillAt("on_train_batch_end", 9))
    assert_same(train(aware(), tmp_path), expected)
