"""Find the file that is to be read: the newest whole checkpoint, or the best."""

from __future__ import annotations

import os
from pathlib import Path

from keras_dlcourse._files import user_path
from keras_dlcourse.saving.checkpoints import MANIFEST, CheckpointFolder


def latest_checkpoint(path: str | os.PathLike[str], best: bool = False) -> Path:
    """Find the newest checkpoint that is whole, and say which ones are not.

    Args:
        path: A folder that `ModelCheckpoint` or a run wrote to, or the `filepath` that
            `ModelCheckpoint` was given, for those of this name only.
        best: Whether to take the best by the quantity monitored in place of the newest.

    Returns:
        The path of a file whose SHA-256 is that of the manifest.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the manifest is damaged, or `best=True` and nothing was monitored.

    Example:
        >>> import keras, numpy as np, tempfile, keras_dlcourse as kd
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> folder = tempfile.mkdtemp()
        >>> saver = kd.callbacks.ModelCheckpoint(folder + "/{epoch:02d}.keras", monitor="loss")
        >>> history = model.fit(np.zeros((8, 2)), np.zeros(8), epochs=3, verbose=0,
        ...                     callbacks=[saver])
        >>> kd.saving.latest_checkpoint(folder).name
        '03.keras'
    """
    path = user_path(path)
    whole_folder = path.is_dir()
    folder = CheckpointFolder(path if whole_folder else path.parent)
    whole = folder.whole(None if whole_folder else path.name)
    newest = next(whole, None)
    if newest is None:
        raise FileNotFoundError(
            f"{path}: no whole checkpoint; {folder.path / MANIFEST} lists "
            f"{', '.join(sorted({row.name for row in folder.checkpoints()})) or 'none'}."
        )
    if not best:
        return folder.path / newest.name
    # Oldest first, so that of two that are as good the first one is the best, as in training.
    measured = [row for row in [*whole][::-1] + [newest] if row.facts.get("value") is not None]
    if not measured:
        raise ValueError(f"{path}: best=True, but none of the checkpoints has a monitored value.")
    sign = -1 if measured[0].facts["mode"] == "max" else 1
    return folder.path / min(measured, key=lambda row: sign * row.facts["value"]).name


def checked(path: Path) -> Path:
    """Return a file with the content that a manifest beside it lists, if one lists it.

    Args:
        path: A file, or a folder, of which the newest whole checkpoint is taken.

    Returns:
        The path; that of the file before where that is kept, and `path` is not whole.

    Raises:
        ValueError: If the file is not whole, and there is none before.
    """
    if path.is_dir():
        return latest_checkpoint(path)
    folder = CheckpointFolder(path.parent)
    rows = [row for row in folder.checkpoints() if row.name == path.name]
    if not rows or any(map(folder.is_whole, rows)):
        return path
    if rows[-1].group == path.name and any(folder.is_whole(row) for row in folder.checkpoints()):
        return latest_checkpoint(path)
    raise ValueError(
        f"{path} is damaged, or was written again by something else: its SHA-256 is not the one "
        f"in {MANIFEST}. kd.saving.latest_checkpoint finds the newest file that is whole; without "
        f"{MANIFEST} the file is loaded as it is."
    )
