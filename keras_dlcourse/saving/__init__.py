"""Safe saving and loading: atomic writes, integrity checks, and files from untrusted sources."""

from typing import TYPE_CHECKING

from keras_dlcourse._lazy import load_on_use

if TYPE_CHECKING:
    from keras_dlcourse.saving._api import *

load_on_use(__name__, shared=("load",))
