"""Model selection by cross-validation: hyperparameters, weight decay, nested evaluation."""

from keras_dlcourse.training.search.cross_validate import CrossValidation, cross_validate
from keras_dlcourse.training.search.nested import NestedSelection, nested
from keras_dlcourse.training.search.select import select
from keras_dlcourse.training.search.select_weight_decay import select_weight_decay
from keras_dlcourse.training.search.selection import Selection

__all__ = [
    "CrossValidation",
    "NestedSelection",
    "Selection",
    "cross_validate",
    "nested",
    "select",
    "select_weight_decay",
]
