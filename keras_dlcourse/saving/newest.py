"""Find the checkpoint to load: the newest intact one, or the best."""

from __future__ import annotations

import os
from pathlib import Path

from keras_dlcourse._files import user_path
from keras_dlcourse.saving.checkpoints import MANIFEST, CheckpointFolder


def latest_checkpoint(path: str | os.PathLike[str], best: bool = False) -> Path:
    """Find the newest intact checkpoint, and warn about damaged ones.

    Args:
        path: A folder that `ModelCheckpoint` or a run wrote to, or the `filepath` passed to
            `ModelCheckpoint`, to consider only its checkpoints.
        best: Whether to return the best checkpoint by the monitored quantity instead of the newest.

    Returns:
        The path of a file whose SHA-256 matches the manifest.

    Raises:
        FileNotFoundError: If there is no intact checkpoint.
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
    whole = folder.find_intact(None if whole_folder else path.name)
    newest = next(whole, None)
    if newest is None:
        raise FileNotFoundError(
            f"{path} has no intact checkpoint. {folder.path / MANIFEST} lists: "
            f"{', '.join(sorted({row.name for row in folder.checkpoints()})) or 'none'}."
        )
    if not best:
        return folder.path / newest.name
    # Oldest first, so that ties go to the earlier checkpoint, as in training.
    measured = [row for row in [*whole][::-1] + [newest] if row.facts.get("value") is not None]
    if not measured:
        raise ValueError(f"{path} has no checkpoint with a monitored value, which best=True needs.")
    sign = -1 if measured[0].facts["mode"] == "max" else 1
    return folder.path / min(measured, key=lambda row: sign * row.facts["value"]).name


def find_intact(path: Path) -> Path:
    """Return the path of an intact file, verified if a manifest beside it lists the file.

    Args:
        path: A file, or a folder whose newest intact checkpoint is used.

    Returns:
        `path`, or the path of the previous file if `path` is damaged and the previous one was kept.

    Raises:
        ValueError: If the file is damaged and there is no previous one.
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
        f"{path} is damaged, or was overwritten by another program: its SHA-256 does not match "
        f"{MANIFEST}. Find the newest intact file with kd.saving.latest_checkpoint, or remove "
        f"{MANIFEST} to load this file without verification."
    )
