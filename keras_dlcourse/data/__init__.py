"""Read images and labels, split them, and turn them into data for `Model.fit`."""

from typing import TYPE_CHECKING

from keras_dlcourse._lazy import load_on_use

if TYPE_CHECKING:
    from keras_dlcourse.data._api import *

load_on_use(__name__, shared=("pipeline", "split"))
