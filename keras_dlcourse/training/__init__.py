"""Recipes on top of `model.fit`: from images to a folder with a trained and exported model."""

from __future__ import annotations

from keras_dlcourse._extras import require

require("keras_dlcourse.training", "tensorflow", "keras", "matplotlib", "rich")

from keras_dlcourse.training.augmentation.hidden_trace import HiddenTrace, hidden_trace
from keras_dlcourse.training.augmentation.invariance import Invariance, invariance
from keras_dlcourse.training.decisions.choose_thresholds import choose_thresholds
from keras_dlcourse.training.decisions.temperature_scaling import TemperatureScaling
from keras_dlcourse.training.decisions.threshold_for import OperatingPoint, threshold_for
from keras_dlcourse.training.run.held_out import find_held_out
from keras_dlcourse.training.run.history import HistoryFile
from keras_dlcourse.training.run.quickstart import quickstart
from keras_dlcourse.training.run.recipe import Recipe
from keras_dlcourse.training.run.run import Run, run
from keras_dlcourse.training.run.run_folder import RunFolder, first_free
from keras_dlcourse.training.run.task import Evidence, Task
from keras_dlcourse.training.schedules import warmup_cosine
from keras_dlcourse.training.search import (
    CrossValidation,
    NestedSelection,
    Selection,
    cross_validate,
    nested,
    select,
    select_weight_decay,
)
from keras_dlcourse.training.search.select_alpha import AlphaChoice, select_alpha
from keras_dlcourse.training.search.weight_decay import decay_weights
from keras_dlcourse.training.transfer import Transfer, transfer

__all__ = [
    "AlphaChoice",
    "CrossValidation",
    "Evidence",
    "HiddenTrace",
    "HistoryFile",
    "Invariance",
    "NestedSelection",
    "OperatingPoint",
    "Recipe",
    "Run",
    "RunFolder",
    "Selection",
    "Task",
    "TemperatureScaling",
    "Transfer",
    "choose_thresholds",
    "cross_validate",
    "decay_weights",
    "find_held_out",
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
