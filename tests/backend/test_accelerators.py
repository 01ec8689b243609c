"""The accelerators that a backend sees."""

from __future__ import annotations

import keras

from keras_dlcourse import backend


def test_accelerators_are_those_that_keras_would_use():
    if keras.backend.backend() == "torch":  # for which Keras lists no devices
        import torch

        expected = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    else:
        devices = keras.distribution.list_devices()
        expected = sum(not one.startswith("cpu") for one in devices)
    found = backend.accelerators()
    assert len(found) == expected
    assert all(isinstance(name, str) and name for name in found)
