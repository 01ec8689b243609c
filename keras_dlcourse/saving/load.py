"""Models from strangers: `.keras` files opened by a list of what may be in them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import keras
from keras.src.saving import saving_lib

from keras_dlcourse._files import user_path
from keras_dlcourse.saving.allowed import Allowed
from keras_dlcourse.saving.archive import MAX_BYTES, Contents, read
from keras_dlcourse.saving.config import names_in, parse
from keras_dlcourse.saving.errors import InvalidModelFile, UntrustedModelError, printable
from keras_dlcourse.saving.newest import checked
from keras_dlcourse.saving.outline import outline
from keras_dlcourse.saving.weights import Shapes, check_fit, stored_shapes

# What to do with files of other kinds, as the end of a sentence.
_WAYS_OUT = {
    **dict.fromkeys(
        (".h5", ".hdf5"),
        ": an HDF5 file of older Keras is read by keras.models.load_model; save it again as "
        "model.save('model.keras')",
    ),
    ".task": ": a .task bundle of MediaPipe is a zip archive; unzip it, the .tflite file in it is "
    "ready for devices",
    ".tflite": ": a .tflite file is ready for devices; keras_dlcourse.edge runs it",
}


def load(
    path: str | os.PathLike[str],
    trust: Iterable[Any] = (),
    *,
    compile: bool = True,
    max_bytes: int = MAX_BYTES,
) -> keras.Model:
    """Load a `.keras` file, whoever made it.

    What it names is looked up in a list before anything is made: Keras's layers, models,
    initializers, losses and the like, those of this package, and what is in `trust`. Layers that
    run functions or open files (`Lambda`, `TFSMLayer`, `StringLookup`, ...) are not in the list.
    The archive, its sizes, the weights and whether they fit are checked first as well.

    Args:
        path: The file, as `model.save("model.keras")` writes it. If `ModelCheckpoint` or a run
            wrote it, its SHA-256 is compared with that in `checkpoints.json`, and the file before
            is loaded, with a warning, where this one is damaged. Of a folder the newest whole one.
        trust: Classes and functions of your own (or of Keras) that it may name besides.
        compile: Whether to make the optimizer, loss and metrics that it was saved with.
        max_bytes: The most that the file may hold, unpacked.

    Returns:
        The model, with the weights of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        UntrustedModelError: If it names anything else; the error lists all of it.
        InvalidModelFile: If it is no whole `.keras` file, is too large, or does not fit together.

    Example:
        >>> import pathlib, tempfile
        >>> class Double(keras.layers.Layer):
        ...     def call(self, x):
        ...         return 2 * x
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.keras"
        >>> keras.Sequential([keras.Input((3,)), Double()]).save(path)
        >>> try:
        ...     load(path)
        ... except UntrustedModelError as error:
        ...     print(error.refused[0].where)
        config.json: config.layers[1]
        >>> load(path, trust=[Double]).output_shape
        (None, 3)
    """
    path = _file(path)
    allowed = Allowed(trust)
    try:
        with path.open("rb") as file:
            return _load(path, file, allowed, compile, max_bytes)
    except UntrustedModelError:
        raise
    except InvalidModelFile as error:
        raise InvalidModelFile(f"{path} is not loaded: {error}") from error.__cause__


def _file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that can be a `.keras` file."""
    path = user_path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        path = checked(path)
    except FileNotFoundError as error:
        raise InvalidModelFile(f"{path} is a folder without a whole checkpoint: {error}") from error
    except ValueError as error:
        raise InvalidModelFile(str(error)) from error
    if not path.is_file():
        raise InvalidModelFile(f"{path} is a device, not a .keras file")
    if path.suffix != ".keras":
        raise InvalidModelFile(
            f"{path} must be a .keras file, as model.save('model.keras') writes it{way_out(path)}"
        )
    return path


def way_out(path: Path) -> str:
    """Return what to do with a file of another kind, as the rest of a sentence."""
    if path.name.endswith(".weights.h5"):
        return ": it holds weights only; build the model, call model.load_weights, and pass that"
    return _WAYS_OUT.get(path.suffix.lower(), "")


def _load(
    path: Path, file: IO[bytes], allowed: Allowed, compile: bool, max_bytes: int
) -> keras.Model:
    """Check all of an open file, then let Keras load it."""
    contents = read(file, max_bytes)
    config = parse(contents.config)
    if not compile:
        config.pop("compile_config", None)
    names, refused = names_in(config, allowed)
    if refused:
        raise UntrustedModelError(path, refused)
    trusted = [allowed.objects[name] for name in names if name in allowed.trusted]
    _check_assets(contents, trusted)
    stored = stored_shapes(contents.weights)
    del contents  # Keras reads them again
    planned = _planned(config, allowed, stored, bool(trusted))
    model = _by_keras(file, allowed, compile)
    if planned is None:
        check_fit(model, stored)
    return model


def _check_assets(contents: Contents, trusted: Iterable[Any]) -> None:
    """Refuse files beside the weights, unless a trusted layer reads them."""
    if contents.assets and not any(hasattr(kind, "load_assets") for kind in trusted):
        raise InvalidModelFile(
            f"it brings the file {printable(contents.assets[0])}, which no layer in it reads"
        )


def _planned(
    config: dict[str, Any], allowed: Allowed, stored: Shapes, has_trusted: bool
) -> keras.Model | None:
    """Build the model without memory for weights, and hold it beside what is stored."""
    try:
        model = outline(config, allowed.custom_objects, stored)
    except InvalidModelFile:
        raise
    except Exception as error:
        if has_trusted:  # whose layers may need values while they are built: the fit is seen later
            return None
        raise _no_model(error) from error
    if not isinstance(model, keras.Model):
        raise InvalidModelFile(f"config.json describes a {type(model).__name__}, not a model")
    check_fit(model, stored)
    return model


def _by_keras(file: IO[bytes], allowed: Allowed, compile: bool) -> keras.Model:
    """Load the file that has passed the checks, the very one: it stayed open."""
    file.seek(0)
    try:
        return saving_lib.load_model(file, allowed.custom_objects, compile, safe_mode=True)
    except Exception as error:
        raise _no_model(error) from error


def _no_model(error: Exception) -> InvalidModelFile:
    """Return Keras's error, of any kind, as one sentence."""
    # Keras wraps an error in the config around it, once for each model within a model.
    reason = str(error).rpartition("Exception encountered: ")[2].strip().splitlines() or [""]
    return InvalidModelFile(
        f"Keras makes no model of it: {type(error).__name__}: {printable(reason[0], 300)}"
    )
