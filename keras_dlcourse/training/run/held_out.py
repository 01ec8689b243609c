"""The images that a run held out, whatever way they are read and split later."""

from __future__ import annotations

import os

import numpy as np

from keras_dlcourse.data import Dataset, Normalization, Pipeline
from keras_dlcourse.data.pipeline import rebuild
from keras_dlcourse.training.run.run import read_config
from keras_dlcourse.training.run.run_folder import RunFolder
from keras_dlcourse.training.run.split_record import FILES, SplitRecord, is_used, list_files


def find_held_out(folder: str | os.PathLike[str], data: Dataset) -> Pipeline:
    """Return the images of a data set that a run neither trained on nor chose its weights by.

    Use it to score the model of a run, or a file made from it: on images that it was trained on,
    the accuracy is too high. The run knows its images by their content, so `data` may be split in
    another way than for the run, or have more images.

    Args:
        folder: The folder of the run.
        data: The data set, read like that of the run, e.g. by `kd.data.image_folder` with the same
            image size.

    Returns:
        The images of all parts that are left, in memory, with the normalization of the run.

    Raises:
        FileNotFoundError: If the folder has no record of a split.
        TypeError: If `data` is not a `Dataset`.
        ValueError: If no images are left, or if it cannot be found out which are.

    Example:
        >>> data = kd.data.image_folder("photos/", image_size=96)  # doctest: +SKIP
        >>> held_out = kd.training.find_held_out("runs/photos", data)  # doctest: +SKIP
        >>> kd.export.verify(
        ...     "runs/photos/model.keras", "runs/photos/model.int8.tflite", held_out
        ... )  # doctest: +SKIP
    """
    if not isinstance(data, Dataset):
        raise TypeError(
            "data must be a kd.data.Dataset, e.g. from kd.data.image_folder. Received: "
            f"{type(data).__name__}"
        )
    record = SplitRecord.read(folder)
    if record is None:
        raise FileNotFoundError(
            f"folder must be that of a run with {RunFolder.SPLIT}. Received: {os.fspath(folder)}"
        )
    parts, files = [data.train, data.validation, data.test], list_files(data)
    if record.of == FILES and files is None:
        raise ValueError(
            "data must be read from image files, as for the run, which knows its images by these. "
            "Received: arrays. Use e.g. kd.data.image_folder."
        )
    paths = files or [()] * len(parts)
    uses = [record.find_uses(one, part.x) for one, part in zip(paths, parts, strict=True)]
    if record.of != FILES and not any((one != "").any() for one in uses):
        raise ValueError(
            f"data must have images of the run, which knows them by their {record.of}. Received: "
            "none of them. Read them as for the run, at the same size; new images need no check."
        )
    rows = [np.flatnonzero(~is_used(one)) for one in uses]
    if not any(map(len, rows)):
        raise ValueError(
            "data must have images that the run held out. Received: only images that it used for "
            "training or to choose the weights. Add the test images of the run, or new ones."
        )
    left = [(part, some) for part, some in zip(parts, rows, strict=True) if len(some)]
    recorded = read_config(RunFolder(folder, resume=True))["data"].get("normalization")
    return rebuild(
        data.test,
        x=np.concatenate([part.x[some] for part, some in left]),
        y=np.concatenate([part.y[some] for part, some in left]),
        sample_weight=None,
        normalization=Normalization.from_dict(recorded) if recorded else data.normalization,
    )
