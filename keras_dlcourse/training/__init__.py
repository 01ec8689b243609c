"""Recipes over `model.fit`: from images to a folder with a trained, exported and verified model."""

from __future__ import annotations

from keras_dlcourse._extras import require

require("keras_dlcourse.training", "tensorflow", "keras", "matplotlib", "rich")

from keras_dlcourse.training.choose_thresholds import choose_thresholds  # noqa: E402
from keras_dlcourse.training.hidden_trace import HiddenTrace, hidden_trace  # noqa: E402
from keras_dlcourse.training.history import HistoryFile  # noqa: E402
from keras_dlcourse.training.invariance import Invariance, invariance  # noqa: E402
from keras_dlcourse.training.quickstart import quickstart  # noqa: E402
from keras_dlcourse.training.recipe import Recipe, warmup_cosine  # noqa: E402
from keras_dlcourse.training.run import Run, run  # noqa: E402
from keras_dlcourse.training.run_folder import RunFolder, first_free  # noqa: E402
from keras_dlcourse.training.search import (  # noqa: E402
    CrossValidation,
    NestedSelection,
    Selection,
    cross_validate,
    nested,
    select,
    select_weight_decay,
)
from keras_dlcourse.training.select_alpha import AlphaChoice, select_alpha  # noqa: E402
from keras_dlcourse.training.temperature_scaling import TemperatureScaling  # noqa: E402
from keras_dlcourse.training.threshold_for import OperatingPoint, threshold_for  # noqa: E402
from keras_dlcourse.training.transfer import Transfer, transfer  # noqa: E402
from keras_dlcourse.training.weight_decay import decay_weights  # noqa: E402

__all__ = [
    "AlphaChoice",
    "CrossValidation",
    "HiddenTrace",
    "HistoryFile",
    "Invariance",
    "NestedSelection",
    "OperatingPoint",
    "Recipe",
    "Run",
    "RunFolder",
    "Selection",
    "TemperatureScaling",
    "Transfer",
    "choose_thresholds",
    "cross_validate",
    "decay_weights",
    "first_free",
    "hidden_trace",
    "invariance",
    "nested",
    "quickstart",
    "run",
    "select",
    "select_alpha",
    "select_weight_decay",
    "threshold_for",
    "transfer",
    "warmup_cosine",
]
