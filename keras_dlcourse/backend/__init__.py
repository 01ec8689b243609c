"""Functions that `keras.ops` lacks or that are slow there, with the same API on every backend."""

from keras_dlcourse._extras import require

require("keras_dlcourse.backend", "tensorflow", "keras")

import keras

from keras_dlcourse.backend import portable

_NAME = keras.backend.backend()
if _NAME == "tensorflow":
    from keras_dlcourse.backend.portable import list_devices
    from keras_dlcourse.backend.tensorflow import (
        accelerators,
        compiled,
        fake_quantize,
        fake_quantize_per_channel,
        gathered,
        gradient,
        is_between_replicas,
        is_known,
        is_slow_in_groups,
        l2_normalize,
        local_response_normalization,
        replica,
        search_by_row,
        share_batches,
        take_by_row,
    )
else:
    from keras_dlcourse.backend.portable import (
        fake_quantize,
        fake_quantize_per_channel,
        l2_normalize,
        local_response_normalization,
    )

    if _NAME == "jax":
        from keras_dlcourse.backend.jax import (
            accelerators,
            compiled,
            gathered,
            gradient,
            is_between_replicas,
            is_known,
            is_slow_in_groups,
            replica,
            search_by_row,
            share_batches,
            take_by_row,
        )
        from keras_dlcourse.backend.portable import list_devices
    else:
        from keras_dlcourse.backend.torch import (
            accelerators,
            compiled,
            gathered,
            gradient,
            is_between_replicas,
            is_known,
            is_slow_in_groups,
            list_devices,
            replica,
            search_by_row,
            share_batches,
            take_by_row,
        )

__all__ = [
    "accelerators",
    "compiled",
    "fake_quantize",
    "fake_quantize_per_channel",
    "gathered",
    "gradient",
    "is_between_replicas",
    "is_known",
    "is_slow_in_groups",
    "l2_normalize",
    "list_devices",
    "local_response_normalization",
    "portable",
    "replica",
    "search_by_row",
    "share_batches",
    "take_by_row",
]
