"""What `keras.ops` lacks or does slowly: the same few functions for every backend."""

from keras_dlcourse._extras import require

require("keras_dlcourse.backend", "tensorflow", "keras")

import keras  # noqa: E402

from keras_dlcourse.backend import portable  # noqa: E402

if keras.backend.backend() == "tensorflow":
    from keras_dlcourse.backend.tensorflow import (
        fake_quantize,
        fake_quantize_per_channel,
        l2_normalize,
    )
else:
    from keras_dlcourse.backend.portable import (
        fake_quantize,
        fake_quantize_per_channel,
        l2_normalize,
    )

__all__ = ["fake_quantize", "fake_quantize_per_channel", "l2_normalize", "portable"]
