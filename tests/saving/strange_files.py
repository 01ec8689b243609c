"""`.keras` files that nobody's `model.save` wrote."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import layers


def small_model() -> keras.Model:
    """Return a model with random weights, quickly made and loaded."""
    inputs = keras.Input((4,), name="inputs")
    x = layers.Dense(3, activation="relu", name="first")(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="last")(x), name="small")
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) for weight in model.weights])
    return model


def members(path: Path) -> dict[str, bytes]:
    """Return what a file holds, by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def config_of(path: Path) -> dict[str, Any]:
    return json.loads(members(path)["config.json"])


def written(path: Path, held: Mapping[str, bytes], **how: Any) -> Path:
    """Write an archive of these members."""
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    return path


def with_config(source: Path, target: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Copy a file, with another config."""
    held = members(source)
    config = json.loads(held["config.json"])
    changed = change(config)
    held["config.json"] = json.dumps(config if changed is None else changed).encode()
    return written(target, held)


def with_weights(source: Path, target: Path, change: Callable[[h5py.File], Any]) -> Path:
    """Copy a file, with other weights."""
    held = members(source)
    weights = io.BytesIO(held["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        change(file)
    return written(target, {**held, "model.weights.h5": weights.getvalue()})


def in_slots(config: dict[str, Any], thing: Any) -> dict[str, dict[str, Any]]:
    """Return configs of `small_model` that hold something where Keras makes objects."""
    slots = {}
    for slot in ("activation", "kernel_initializer", "bias_regularizer", "kernel_constraint"):
        slots[slot] = copy.deepcopy(config)
        slots[slot]["config"]["layers"][1]["config"][slot] = thing
    for slot in ("loss", "optimizer", "metrics"):
        slots[slot] = copy.deepcopy(config)
        slots[slot]["compile_config"] = {"optimizer": "sgd", "loss": "mse"}
        slots[slot]["compile_config"][slot] = [thing] if slot == "metrics" else thing
    slots["layer"] = copy.deepcopy(config)
    extra = thing if isinstance(thing, dict) else {"class_name": thing}
    slots["layer"]["config"]["layers"].append({**extra, "name": "extra", "inbound_nodes": []})
    slots["argument"] = copy.deepcopy(config)
    slots["argument"]["config"]["layers"][1]["inbound_nodes"][0]["kwargs"] = {"training": thing}
    slots["build"] = copy.deepcopy(config)
    slots["build"]["config"]["layers"][1]["build_config"]["more"] = [thing]
    return slots
