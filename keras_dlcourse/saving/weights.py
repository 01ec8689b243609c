"""The weights in a `.keras` file: an HDF5 file of plain arrays, and whether they fit a model."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import keras
from keras.src.saving import saving_lib

from keras_dlcourse.saving.errors import InvalidModelFile, printable

Shapes = Mapping[str, tuple[int, ...]]

_SHOWN = 10  # differences in a message


def stored_shapes(file: io.BytesIO) -> Shapes:
    """Check the HDF5 file of the weights, and return the shape of each by its path.

    Links that point elsewhere, arrays that other files hold, filters (which load plug-ins) and
    arrays that are not there in full are refused; Keras writes none of these.

    Args:
        file: What `model.weights.h5` holds.

    Raises:
        InvalidModelFile: If it is damaged or holds any of that.
    """
    length = len(file.getbuffer())
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with h5py.File(file, "r") as weights:
            for path, array in _arrays(weights):
                if fault := _fault(array):
                    raise _invalid(path, fault)
                shapes[path] = array.shape
                length -= array.nbytes
                if length < 0:
                    raise _invalid(path, "goes beyond the end of the file")
    except InvalidModelFile:
        raise
    except Exception as error:  # HDF5 has an error for each way in which a file can be damaged
        raise InvalidModelFile(
            f"model.weights.h5 is no whole HDF5 file: {printable(error)}"
        ) from error
    return shapes


def _invalid(path: str, fault: str) -> InvalidModelFile:
    return InvalidModelFile(f"model.weights.h5: {printable(path)} {fault}")


def _arrays(weights: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Return the arrays of all groups, each reached in one way only."""
    groups = [("", weights)]
    seen = {_address(weights)}
    while groups:
        above, group = groups.pop()
        for name in group:
            path = f"{above}/{name}".lstrip("/")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise _invalid(path, f"is a {type(link).__name__}, which points elsewhere")
            item = group[name]
            if _address(item) in seen:  # a circle, or one array that passes for many
                raise _invalid(path, "is in the file under two names")
            seen.add(_address(item))
            if isinstance(item, h5py.Group):
                groups.append((path, item))
            elif isinstance(item, h5py.Dataset):
                yield path, item
            else:
                raise _invalid(path, "is neither a group nor an array")


def _address(item: Any) -> int:
    return int(h5py.h5o.get_info(item.id).addr)


def _fault(array: h5py.Dataset) -> str | None:
    """Return what is wrong with an array, or None."""
    if array.is_virtual or array.external:
        return "is an array that another file holds"
    if array.id.get_create_plist().get_nfilters():
        return "is compressed or filtered, which Keras does not do"
    kind = array.dtype
    is_number = kind.kind in "biuf" or (kind.kind == "V" and kind.names is None)  # V: bfloat16
    if array.shape is None or not is_number or kind.subdtype or kind.hasobject:
        return f"holds {printable(kind)}, not numbers"
    if array.id.get_storage_size() != array.nbytes:
        return f"says that it holds {array.nbytes:,} bytes, of which not all are there"
    if not set(array.attrs) <= {"dtype"}:
        return "has attributes that Keras does not write"
    return None


def check_fit(model: keras.Model, stored: Shapes) -> None:
    """Check that a model has just the weights that a file holds.

    The state of an optimizer is left to Keras, which starts it anew where it does not fit: models
    are saved before their first step, or frozen after it.

    Args:
        model: The model, whose weights need no values.
        stored: What `stored_shapes` found.

    Raises:
        InvalidModelFile: If a weight is missing, is left over, or has another shape.
    """
    wanted = {path: shape for path, shape in _wanted(model).items() if not _trains(path)}
    faults = [
        f"{path} is missing"
        if path not in stored
        else f"{path} has the shape {stored[path]}, and the config asks for {shape}"
        for path, shape in wanted.items()
        if stored.get(path) != shape
    ]
    faults += [
        f"{printable(path)} belongs to nothing in the config"
        for path in stored
        if path not in wanted and not _trains(path)
    ]
    if faults:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise InvalidModelFile(
            f"its weights do not fit its config: {'; '.join(faults[:_SHOWN])}{more}"
        )


def _trains(path: str) -> bool:
    """Whether a path lies in the state of an optimizer, of the model or of one inside it."""
    return "optimizer" in path.split("/")


def _wanted(model: keras.Model) -> Shapes:
    """Return the shapes of the weights that Keras would save, by their paths.

    Keras's own walk is asked. Its store for `.npz` files keeps what it is given, without copies.
    """
    store = saving_lib.NpzIOStore("", mode="w")
    saving_lib._save_state(model, store, None, "", set())
    return {
        "/".join([*([] if path == "__root__" else [path]), "vars", key]): tuple(value.shape)
        for path, values in store.contents.items()
        for key, value in values.items()
    }
