"""Kills, damage and strangers' files: what is lost, beside Keras.

`KD_FAULTS` scales the counts (1 is the full run of about 40 minutes; 0.05 gives a look). All are
drawn with seeds. The tests run a short form of each.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
from _figures import Figure

import keras_dlcourse as kd
from keras_dlcourse.saving.checkpoints import CheckpointFolder
from keras_dlcourse.saving.state import capture, write_state

SCALE = float(os.environ.get("KD_FAULTS", "1"))
EXAMPLE = Path(__file__).parents[1] / "examples" / "train_through_kills.py"
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}


def measure() -> list[Figure]:
    return [
        *kills_while_saving(_scaled(200)),
        *kills_in_training(_scaled(50)),
        *damage(_scaled(1000)),
    ]


def _scaled(count: int) -> int:
    return max(2, round(SCALE * count))


def dense(megabytes: float) -> keras.Model:
    """Return a compiled model whose `.keras` file, with Adam's state, is about so large."""
    units = round(math.sqrt(megabytes * 1e6 / 12))
    model = keras.Sequential([keras.Input((units,)), keras.layers.Dense(units)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


# Kills while a file is written.


def kills_while_saving(
    count: int, seed: int = 0, sizes: tuple[tuple[float, float], ...] = ((5, 0.75), (100, 0.25))
) -> list[Figure]:
    """Kill a process that saves again and again; count how often no whole file is left."""
    figures = []
    for megabytes, part in sizes:
        model, kills = dense(megabytes), max(1, round(part * count))
        for who, save, is_whole, limit in (
            ("ours", save_ours, _ours_is_whole, 0),
            ("Keras", save_by_keras, _keras_is_whole, math.inf),
        ):
            lost = _lost(model, save, is_whole, kills, seed)
            what = f"checkpoints of {megabytes} MB lost to kills while saving: {who}"
            figures.append(Figure(what, lost, f"of {kills}", limit))
    return figures


def save_ours(model: keras.Model, folder: Path) -> None:
    CheckpointFolder(folder).save("model.keras", model.save, group="model.keras")


def save_by_keras(model: keras.Model, folder: Path) -> None:
    model.save(folder / "model.keras")


def _ours_is_whole(folder: Path) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            kd.load(kd.saving.latest_checkpoint(folder / "model.keras"))
        except (OSError, ValueError):
            return False
    return True


def _keras_is_whole(folder: Path) -> bool:
    try:
        keras.saving.load_model(folder / "model.keras")
    except Exception:
        return False
    return True


def _lost(
    model: keras.Model,
    save: Callable[[keras.Model, Path], None],
    is_whole: Callable[[Path], bool],
    kills: int,
    seed: int,
) -> int:
    chance, lost = random.Random(seed), 0
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as root:
        save(model, Path(root))
        duration = time.perf_counter() - started
    for _ in range(kills):
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root)
            save(model, folder)  # there is one to lose
            child = os.fork()  # no threads of TensorFlow are needed to save
            if not child:
                while True:
                    save(model, folder)
            time.sleep(chance.uniform(0, 3 * duration))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            lost += not is_whole(folder)
    return lost


# Kills while it trains.


def kills_in_training(count: int, seed: int = 0, words: tuple[str, ...] = ()) -> list[Figure]:
    """Kill the example's training at random batches; half on TensorFlow, half on JAX."""
    figures = []
    for number, backend in enumerate(("tensorflow", "jax")):
        kills = max(1, count // 2)
        difference, histories_differ = _through_kills(backend, kills, seed + number, words)
        figures += [
            Figure(f"difference of a weight after {kills} kills, {backend}", difference, "", 0),
            Figure(f"rows of history.csv that differ, {backend}", histories_differ, "", 0),
        ]
    return figures


def _through_kills(
    backend: str, kills: int, seed: int, words: tuple[str, ...]
) -> tuple[float, int]:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as root:
        whole, killed = Path(root) / "whole", Path(root) / "killed"
        lines = _train(whole, backend, None, words)
        left = kills
        while left:
            # Now and then the whole training comes between two kills, and it begins anew.
            batches = chance.randint(1, max(2, lines // 3))
            if _train(killed, backend, batches, words) > batches:
                left -= 1
            elif (killed / "weights.npz").exists():
                (killed / "weights.npz").unlink()
        _train(killed, backend, None, words)
        with np.load(whole / "weights.npz") as a, np.load(killed / "weights.npz") as b:
            difference = max(float(np.abs(a[name] - b[name]).max()) for name in a.files)
        rows = [
            [line.rpartition(",")[0] for line in (f / "history.csv").read_text().splitlines()]
            for f in (whole, killed)
        ]
    return difference, sum(a != b for a, b in zip(*rows, strict=True))


def _train(folder: Path, backend: str, kill_after: int | None, words: tuple[str, ...]) -> int:
    """Run the example until so many batches have begun; return how many were seen."""
    process = subprocess.Popen(
        [sys.executable, EXAMPLE, "train", folder, "--say-batches", "--save-freq", "7", *words],
        env=os.environ | ONE_THREAD | {"KERAS_BACKEND": backend},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    seen = 0
    for line in process.stdout or ():
        seen += line == "batch\n"
        if kill_after is not None and seen > kill_after:
            process.kill()
            break
    if process.wait() and kill_after is None:
        raise RuntimeError("the example's training failed")
    return seen


# Damage on the disk.


def damage(count: int, seed: int = 0) -> list[Figure]:
    """Flip a bit or cut off the end; count what is loaded as if nothing had happened."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(64), keras.layers.Dense(8)])
    model.compile("adam", "mse")
    model.fit(np.ones((8, 8)), np.ones((8, 8)), verbose=0)
    with tempfile.TemporaryDirectory() as root:
        folder = CheckpointFolder(root)
        files = [
            folder.save("model.keras", model.save),
            folder.save("model.weights.h5", model.save_weights),
            folder.save(
                "training.state", lambda path: write_state(path, capture(model), {"epoch": 3})
            ),
        ]
        silent = sum(
            any(found.name == path.name for found in _whole(folder))
            for path in files
            for _ in _damaged(path, math.ceil(count / 3), seed)
        )
        # The same without the manifest: what the files themselves say.
        (Path(root) / "checkpoints.json").unlink()
        (Path(root) / ".checkpoints.json").unlink()
        by_kd_load = sum(
            _loads_other_weights(lambda p=files[0]: kd.load(p).get_weights(), model)
            for _ in _damaged(files[0], math.ceil(count / 3), seed)
        )
        clone = keras.models.clone_model(model)

        def by_keras() -> list[np.ndarray]:
            clone.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
            clone.load_weights(files[1])
            return clone.get_weights()

        keras_silent = sum(
            _loads_other_weights(by_keras, model)
            for _ in _damaged(files[1], math.ceil(count / 6), seed)
        )
    three = 3 * math.ceil(count / 3)
    return [
        Figure("damaged checkpoints that pass the manifest", silent, f"of {three}", 0),
        Figure("damaged .keras files that kd.load opens with other weights, no manifest",
               by_kd_load, f"of {math.ceil(count / 3)}", 0),
        Figure("damaged .weights.h5 files that Keras loads with other weights",
               keras_silent, f"of {math.ceil(count / 6)}", math.inf),
    ]  # fmt: skip


def _damaged(path: Path, count: int, seed: int) -> Iterator[None]:
    """Damage a file in one way after another, and mend it at the end."""
    content, chance = path.read_bytes(), random.Random(seed)
    try:
        for _ in range(count):
            place = chance.randrange(len(content))
            if chance.random() < 0.25:
                path.write_bytes(content[:place])
            else:
                flipped = content[place] ^ 1 << chance.randrange(8)
                path.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
            yield
    finally:
        path.write_bytes(content)


def _whole(folder: CheckpointFolder) -> list:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(folder.find_intact())


def _loads_other_weights(load: Callable[[], list[np.ndarray]], model: keras.Model) -> bool:
    """Say whether a load ends without an error and without the weights that were saved."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loaded = load()
        except Exception:
            return False
    known = {hashlib.sha256(array.tobytes()).digest() for array in capture(model).values()}
    return not all(hashlib.sha256(np.asarray(a).tobytes()).digest() in known for a in loaded)
