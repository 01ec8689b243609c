"""Choose the images that show how good a model is: those that it was not trained on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from keras_dlcourse.cli.model_input import LabeledImages
    from keras_dlcourse.data import Pipeline


def choose_held_out(
    images: LabeledImages, model: str | os.PathLike[str], folder: str | os.PathLike[str]
) -> tuple[Pipeline, str]:
    """Return the images to score a model on, and one line that says which these are.

    Args:
        images: All images of a folder.
        model: The file of the model. If it is in the folder of a run, the record of that run tells
            the images that the run held out.
        folder: The folder of the images.

    Returns:
        The images that the run did not use for training or to choose weights; without labels, so
        that no accuracy is measured, if it used all of them. Without a record, the images of the
        test part if the folder has one, else all.
    """
    from keras_dlcourse.training.run.split_record import (
        NUMBERS,
        PIXELS,
        RunFolder,
        SplitRecord,
        is_used,
    )

    record, total = SplitRecord.read(Path(model).parent), f"{len(images):,} images"
    if record is None or record.of == NUMBERS:
        if "test" in images.parts:
            chosen = images.choose(images.parts == "test")
            return chosen.pipeline(), f"scores the {len(chosen):,} of {total} in its test part"
        why = f"there is no {RunFolder.SPLIT} of a run beside {model}"
        if record is not None:
            why = f"{RunFolder.SPLIT} beside {model} does not record pixels"
        return images.pipeline(), _warn_of_training(why)
    uses = record.find_uses(images.paths, images.pixels)
    used = is_used(uses)
    told = " and ".join(
        text.format((uses == part).sum()) for part, text in _USES.items() if (uses == part).any()
    )
    if used.all():
        return (
            images.pipeline(with_labels=False),
            f"measures no accuracy: of the {total} in {folder}, {told}. Pass a folder with images "
            "that the run held out, or with new ones",
        )
    if not (uses != "").any():
        if record.of == PIXELS:  # the same image may have been decoded or resized differently
            why = f"{RunFolder.SPLIT} beside {model} records pixels, and no image here has the same"
            return images.pipeline(), _warn_of_training(why)
        return images.pipeline(), f"scores all {total}: the run used none of them"
    chosen = images.choose(~used)
    new = np.count_nonzero(uses == "")
    rest = f"; {new:,} of them are new to it" if new else ""
    return (
        chosen.pipeline(),
        f"scores the {len(chosen):,} of {total} that the run held out{rest}",
    )


_USES = {"train": "{:,} were used for training", "validation": "{:,} to choose the weights"}


def _warn_of_training(why: str) -> str:
    return (
        f"some of these images may have been used for training: {why}. If so, the accuracies are "
        "too high: pass images that were not"
    )
