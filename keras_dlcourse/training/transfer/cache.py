"""Features of a frozen network for each image, computed once and cached on disk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_dlcourse._files import user_path, write_atomically
from keras_dlcourse._progress import track
from keras_dlcourse.data import Pipeline
from keras_dlcourse.data.pipeline import rebuild
from keras_dlcourse.data.stream import count_batches, stream
from keras_dlcourse.graph.running import Network

_CHUNK = 256  # images hashed at a time


def cache_features(
    features: keras.Model, data: Pipeline, folder: str | os.PathLike[str]
) -> Pipeline:
    """Return the same examples in the same order, with vectors instead of images.

    Args:
        features: Model from images to vectors `(n, d)`; it runs in inference mode.
        data: The images.
        folder: Folder for the vectors. The file is named by a SHA-256 of everything they depend on:
            pixels, normalization, layers and weights.

    Returns:
        A pipeline of "images" of shape `(1, 1, d)`, read from the file when they are used.
    """
    path = user_path(folder) / f"{key(features, data)}.npy"
    width = int(features.outputs[0].shape[-1])
    vectors = _read(path, (data.examples, width))
    if vectors is None:
        _write(path, features, data, width)
        vectors = np.load(path, mmap_mode="r")
    same = rebuild(data, x=vectors[:, None, None, :], normalization=None)
    same.epoch = data.epoch
    return same


def key(features: keras.Model, data: Pipeline) -> str:
    """Return a SHA-256 of everything the vectors depend on, stable across processes."""
    found = hashlib.sha256()
    for line in _layers(features):
        found.update(line.encode())
    for weight in features.weights:
        _add(found, keras.ops.convert_to_numpy(weight))
    found.update(repr((data.normalization, data.examples)).encode())
    for start in range(0, data.examples, _CHUNK):
        _add(found, np.asarray(data.x[start : start + _CHUNK]))
    return found.hexdigest()


def _add(found: Any, array: np.ndarray) -> None:
    found.update(repr((array.shape, str(array.dtype))).encode())
    found.update(np.ascontiguousarray(array).tobytes())


def _layers(features: keras.Model) -> list[str]:
    """Return a line for each layer call: the type, its settings, and the calls it reads from."""
    network = Network(features)
    number = {place: index for index, place in enumerate(network.places)}
    lines = []
    for place in network.places:
        layer = place.node.operation
        if isinstance(layer, keras.Model):
            continue  # its inner layers have their own lines
        sources = [network.source(place, which) for which in range(len(place.node.inputs))]
        config = layer.get_config() if isinstance(layer, keras.layers.Layer) else {}
        told = {name: config[name] for name in sorted(config) if name not in ("name", "trainable")}
        constants = keras.tree.map_structure(
            lambda value: (
                "input" if isinstance(value, keras.KerasTensor) else _describe_constant(value)
            ),
            (place.node.args, place.node.kwargs),
        )
        reads = [None if source is None else number[source] for source in sources]
        lines.append(f"{type(layer).__name__} {told} {constants} {reads}\n")
    return lines


def _describe_constant(value: Any) -> Any:
    """Return a constant in a form whose text is complete (`repr` shortens arrays)."""
    is_array = hasattr(value, "shape") and hasattr(value, "dtype")
    return keras.ops.convert_to_numpy(value).tolist() if is_array else repr(value)


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Return the vectors in a file, or None if it is missing or incomplete."""
    try:
        vectors: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return vectors if vectors.shape == shape and vectors.dtype == np.float32 else None


def _write(path: Path, features: keras.Model, data: Pipeline, width: int) -> None:
    batches = track(stream(data, data.batch_size), count_batches(data, data.batch_size), "Features")
    with write_atomically(path) as temporary:
        vectors = np.lib.format.open_memmap(
            temporary, "w+", dtype=np.float32, shape=(data.examples, width)
        )
        start = 0
        for inputs, _ in batches:
            vectors[start : start + len(inputs)] = features.predict_on_batch(inputs)
            start += len(inputs)
        vectors.flush()
        if not np.isfinite(vectors).all():
            raise ValueError(
                "base returns NaN or infinity for some images. Check its weights and "
                "preprocessing=."
            )
