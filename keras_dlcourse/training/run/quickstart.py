"""The first run for newcomers: real images, one command, minutes on a laptop without a GPU."""

from __future__ import annotations

import os
from collections.abc import Callable

from keras_dlcourse import data
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.training.run.recipe import Recipe
from keras_dlcourse.training.run.run import Run, run
from keras_dlcourse.training.run.run_folder import first_free

DATA = "fashion_mnist_small"
BATCH_SIZE = 64
# Measured to give the highest accuracy within the time: a ResNet trains twice as fast on a CPU as a
# MobileNet of the same accuracy, and with few steps a high rate and strong weight decay are best.
RECIPE = Recipe(
    model="resnet18",
    alpha=0.25,
    weights="none",
    epochs=12,
    batch_size=BATCH_SIZE,
    learning_rate=5e-3,
    weight_decay=0.5,
    label_smoothing=0.05,
)


@renamed_arguments(output="folder")
def quickstart(
    folder: str | os.PathLike[str] | None = None, say: Callable[[str], None] | None = None
) -> Run:
    """Train, export, verify and describe a small ResNet on the bundled Fashion-MNIST images.

    Args:
        folder: The folder to create; defaults to the first unused one of `runs/quickstart`,
            `runs/quickstart-2` and so on.
        say: Called with one line of text at each step; by default the lines are printed.

    Returns:
        A `Run`.

    Raises:
        FileExistsError: If the folder is not empty.

    Example:
        >>> quickstart().accuracy  # doctest: +SKIP
        0.90
    """
    folder = first_free("runs/quickstart") if folder is None else folder
    return run(data.load(DATA, batch_size=BATCH_SIZE), folder, RECIPE, say)
