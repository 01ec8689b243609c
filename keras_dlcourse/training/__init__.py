"""Recipes over `model.fit`: from images to a folder with a trained, exported and verified model."""

from __future__ import annotations

from keras_dlcourse._extras import require

require("keras_dlcourse.training", "tensorflow", "keras", "matplotlib", "rich")

from keras_dlcourse.training.choose_thresholds import choose_thresholds  # noqa: E402
from keras_dlcourse.training.history import HistoryFile  # noqa: E402
from keras_dlcourse.training.quickstart import quickstart  # noqa: E402
from keras_dlcourse.training.recipe import Recipe, warmup_cosine  # noqa: E402
from keras_dlcourse.training.run import Run, run  # noqa: E402
from keras_dlcourse.training.run_folder import RunFolder, first_free  # noqa: E402
from keras_dlcourse.training.select_alpha import AlphaChoice, select_alpha  # noqa: E402

__all__ = [
    "AlphaChoice",
    "HistoryFile",
    "Recipe",
    "Run",
    "RunFolder",
    "choose_thresholds",
    "first_free",
    "quickstart",
    "run",
    "select_alpha",
    "warmup_cosine",
]
