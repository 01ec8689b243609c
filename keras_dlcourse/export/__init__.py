"""Write, inspect, verify and bundle `.tflite` files."""

from typing import TYPE_CHECKING

from keras_dlcourse._lazy import load_on_use

if TYPE_CHECKING:
    from keras_dlcourse.export._api import *

load_on_use(__name__, shared=("to_tflite",))
