"""The weights in a `.keras` file: check its HDF5 file, and whether the weights match a model."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import keras
from keras.src.saving import saving_lib

from keras_dlcourse.saving.errors import InvalidModelFile, escape_text

Shapes = Mapping[str, tuple[int, ...]]

_SHOWN = 10  # differences in a message


def read_shapes(file: io.BytesIO) -> Shapes:
    """Check the HDF5 file of the weights, and return their shapes by path.

    Links, arrays stored in other files, filters (which load plug-ins) and incomplete arrays are
    refused; Keras writes none of these.

    Args:
        file: Contents of `model.weights.h5`.

    Raises:
        InvalidModelFile: If it is damaged or contains any of these.
    """
    length = len(file.getbuffer())
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with h5py.File(file, "r") as weights:
            for path, array in _arrays(weights):
                if fault := _fault(array):
                    raise _file_error(path, fault)
                shapes[path] = array.shape
                length -= array.nbytes
                if length < 0:
                    raise _file_error(path, "extends beyond the end of the file")
    except InvalidModelFile:
        raise
    except Exception as error:  # HDF5 raises many types of errors for damaged files
        raise InvalidModelFile(
            f"model.weights.h5 is not a valid HDF5 file: {escape_text(error)}"
        ) from error
    return shapes


def _file_error(path: str, fault: str) -> InvalidModelFile:
    return InvalidModelFile(f"model.weights.h5: {escape_text(path)} {fault}")


def _arrays(weights: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the arrays of all groups, and raise if one can be reached by several paths."""
    groups = [("", weights)]
    seen = {_address(weights)}
    while groups:
        above, group = groups.pop()
        for name in group:
            path = f"{above}/{name}".lstrip("/")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise _file_error(path, f"is a {type(link).__name__}, which points elsewhere")
            item = group[name]
            if _address(item) in seen:  # a cycle, or one array under several names
                raise _file_error(path, "is stored under two names")
            seen.add(_address(item))
            if isinstance(item, h5py.Group):
                groups.append((path, item))
            elif isinstance(item, h5py.Dataset):
                yield path, item
            else:
                raise _file_error(path, "is neither a group nor an array")


def _address(item: Any) -> int:
    return int(h5py.h5o.get_info(item.id).addr)


def _fault(array: h5py.Dataset) -> str | None:
    """Return what is wrong with an array, or None."""
    if array.is_virtual or array.external:
        return "is an array stored in another file"
    if array.id.get_create_plist().get_nfilters():
        return "is compressed or filtered, which Keras does not do"
    kind = array.dtype
    is_number = kind.kind in "biuf" or (kind.kind == "V" and kind.names is None)  # V: bfloat16
    if array.shape is None or not is_number or kind.subdtype or kind.hasobject:
        return f"contains {escape_text(kind)}, not numbers"
    if array.id.get_storage_size() != array.nbytes:
        return f"declares {array.nbytes:,} bytes, but not all of them are stored"
    if not set(array.attrs) <= {"dtype"}:
        return "has attributes that Keras does not write"
    return None


def check_fit(model: keras.Model, stored: Shapes) -> None:
    """Check that a model has exactly the weights that a file contains.

    Optimizer states are left to Keras, which resets them if they do not match, because models may
    be saved before their first step or frozen afterwards.

    Args:
        model: The model. Its weights need no values.
        stored: The result of `read_shapes`.

    Raises:
        InvalidModelFile: If a weight is missing, is unexpected, or has another shape.
    """
    wanted = {
        path: shape
        for path, shape in _expected_shapes(model).items()
        if not _is_optimizer_state(path)
    }
    faults = [
        f"{path} is missing"
        if path not in stored
        else f"{path} has shape {stored[path]}, but the config requires {shape}"
        for path, shape in wanted.items()
        if stored.get(path) != shape
    ]
    faults += [
        f"{escape_text(path)} does not belong to any layer in the config"
        for path in stored
        if path not in wanted and not _is_optimizer_state(path)
    ]
    if faults:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise InvalidModelFile(
            f"its weights do not match its config: {'; '.join(faults[:_SHOWN])}{more}"
        )


def _is_optimizer_state(path: str) -> bool:
    """Return whether a path is in the state of an optimizer, also of a nested model."""
    return "optimizer" in path.split("/")


def _expected_shapes(model: keras.Model) -> Shapes:
    """Return the shapes of the weights that Keras would save, by path.

    This uses Keras's own traversal, with its `.npz` store because it keeps values without copying.
    """
    store = saving_lib.NpzIOStore("", mode="w")
    saving_lib._save_state(model, store, None, "", set())
    return {
        "/".join([*([] if path == "__root__" else [path]), "vars", key]): tuple(value.shape)
        for path, values in store.contents.items()
        for key, value in values.items()
    }
