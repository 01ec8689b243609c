"""Check the path of a model before Keras, which takes long to import, loads it."""

from __future__ import annotations

import os
from pathlib import Path

from keras_dlcourse._files import user_path
from keras_dlcourse.saving.file_kinds import way_out


def check_model_path(model: str | os.PathLike[str]) -> Path:
    """Return the path of a `.keras` file or of the folder of a SavedModel.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If it is neither.

    Example:
        >>> check_model_path("model.keras")
        Traceback (most recent call last):
        ...
        FileNotFoundError: there is no file model.keras
    """
    path = user_path(model)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise ValueError(
                f"{path} is a folder without saved_model.pb, so it is not a SavedModel"
            )
        return path
    if path.suffix != ".keras":
        raise ValueError(
            f"{path} must be a .keras file, as written by model.save('model.keras'), or a "
            f"SavedModel folder{way_out(path)}"
        )
    return path
