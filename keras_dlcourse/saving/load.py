"""Load `.keras` files from untrusted sources with an allowlist."""

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
from keras_dlcourse.saving.config import find_names, parse
from keras_dlcourse.saving.errors import InvalidModelFile, UntrustedModelError, escape_text
from keras_dlcourse.saving.file_kinds import way_out
from keras_dlcourse.saving.newest import find_intact
from keras_dlcourse.saving.outline import outline
from keras_dlcourse.saving.weights import Shapes, check_fit, read_shapes


def load(
    path: str | os.PathLike[str],
    trust: Iterable[Any] = (),
    *,
    compile: bool = True,
    max_bytes: int = MAX_BYTES,
) -> keras.Model:
    """Load a `.keras` file safely, even from an untrusted source.

    Before any object is created, all objects in the file are checked against an allowlist: layers,
    models, initializers, losses etc. of Keras and of this package, and the objects in `trust`.
    Layers that run functions or open files (`Lambda`, `TFSMLayer`, `StringLookup`, ...) are not
    allowed. The archive, its sizes, and the weights and their shapes are checked first as well.

    Args:
        path: The file, as written by `model.save("model.keras")`. If it was written by
            `ModelCheckpoint` or a run, its SHA-256 is compared with the one in `checkpoints.json`;
            if it is damaged, the previous file is loaded, with a warning. For a folder, the newest
            intact checkpoint is loaded.
        trust: Additional classes and functions, your own or of Keras, that the file may contain.
        compile: Whether to restore the optimizer, loss and metrics that it was saved with.
        max_bytes: Maximum uncompressed size of the file.

    Returns:
        The model, with the weights from the file.

    Raises:
        FileNotFoundError: If the file does not exist.
        UntrustedModelError: If it contains objects that are not allowed; the error lists them all.
        InvalidModelFile: If it is damaged, is not a `.keras` file, is too large, or its weights do
            not match its config.

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
        raise InvalidModelFile(f"{path} cannot be loaded: {error}") from error.__cause__


def _file(path: str | os.PathLike[str]) -> Path:
    """Return the path of the file to load, after checking its type and manifest."""
    path = user_path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        path = find_intact(path)
    except FileNotFoundError as error:
        raise InvalidModelFile(
            f"{path} is a folder without an intact checkpoint: {error}"
        ) from error
    except ValueError as error:
        raise InvalidModelFile(str(error)) from error
    if not path.is_file():
        raise InvalidModelFile(f"{path} is a device, not a .keras file")
    if path.suffix != ".keras":
        raise InvalidModelFile(
            f"{path} must be a .keras file, as written by model.save('model.keras'){way_out(path)}"
        )
    return path


def _load(
    path: Path, file: IO[bytes], allowed: Allowed, compile: bool, max_bytes: int
) -> keras.Model:
    """Check an open file completely, then let Keras load it."""
    contents = read(file, max_bytes)
    config = parse(contents.config)
    if not compile:
        config.pop("compile_config", None)
    names, refused = find_names(config, allowed)
    if refused:
        raise UntrustedModelError(path, refused)
    trusted = [allowed.objects[name] for name in names if name in allowed.trusted]
    _check_assets(contents, trusted)
    stored = read_shapes(contents.weights)
    del contents  # Keras reads them again
    planned = _build_outline(config, allowed, stored, bool(trusted))
    model = _load_with_keras(file, allowed, compile)
    if planned is None:
        check_fit(model, stored)
    return model


def _check_assets(contents: Contents, trusted: Iterable[Any]) -> None:
    """Raise InvalidModelFile for asset files, unless a trusted layer reads them."""
    if contents.assets and not any(hasattr(kind, "load_assets") for kind in trusted):
        raise InvalidModelFile(
            f"it contains the file {escape_text(contents.assets[0])}, which no layer in it reads"
        )


def _build_outline(
    config: dict[str, Any], allowed: Allowed, stored: Shapes, has_trusted: bool
) -> keras.Model | None:
    """Build the model without memory for weights, and compare it with the stored weights."""
    try:
        model = outline(config, allowed.custom_objects, stored)
    except InvalidModelFile:
        raise
    except Exception as error:
        if has_trusted:  # trusted layers may need values to be built; weights are checked later
            return None
        raise _build_error(error) from error
    if not isinstance(model, keras.Model):
        raise InvalidModelFile(f"config.json describes a {type(model).__name__}, not a model")
    check_fit(model, stored)
    return model


def _load_with_keras(file: IO[bytes], allowed: Allowed, compile: bool) -> keras.Model:
    """Load the checked file, which stayed open so that it cannot be replaced."""
    file.seek(0)
    try:
        return saving_lib.load_model(file, allowed.custom_objects, compile, safe_mode=True)
    except Exception as error:
        raise _build_error(error) from error


def _build_error(error: Exception) -> InvalidModelFile:
    """Return an error of Keras, of any type, as one sentence."""
    # Keras wraps an error in messages with the config, once for each model within a model.
    reason = str(error).rpartition("Exception encountered: ")[2].strip().splitlines() or [""]
    return InvalidModelFile(
        f"Keras cannot build the model: {type(error).__name__}: {escape_text(reason[0], 300)}"
    )
