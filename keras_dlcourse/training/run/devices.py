"""Training on several devices, which share each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from keras_dlcourse import backend
from keras_dlcourse._checks import check_one_of
from keras_dlcourse.data import Pipeline
from keras_dlcourse.data.pipeline import rebuild
from keras_dlcourse.saving.state import capture, restore


def find_devices(devices: str | None, say: Callable[[str], None]) -> list[str]:
    """Return the names of the devices to train on.

    Args:
        devices: None for one, as Keras does by itself, or `"all"`.
        say: Called with a line about those found.

    Returns:
        Two or more names, such as `"gpu:0"`; none if training is as usual.

    Raises:
        ValueError: If the backend cannot do it.
    """
    if devices is None:
        return []
    check_one_of("devices", devices, ("all",))
    names = backend.list_devices()
    if len(names) == 1:
        say(f"devices=all: there is only {names[0]}, so training is as usual")
        return []
    say(f"devices=all: {', '.join(names)} share each batch")
    return names


def share_evenly(data: Any, devices: Sequence[str], *, keep_size: bool) -> Any:
    """Return data whose batches all devices can share evenly.

    JAX refuses others. On TensorFlow, each device would average over its own share, so an example
    in a small one would count more than others.

    Args:
        data: A `kd.data.Pipeline`.
        devices: Names of devices; with none, `data` is returned.
        keep_size: Whether to keep the size of batches, and omit the rest that fills no batch.
            Otherwise, the size is changed so that less than one batch of all devices is omitted.

    Raises:
        TypeError: If the data is something else.
        ValueError: If the size of batches is no multiple of the number of devices.
    """
    if not devices:
        return data
    if not isinstance(data, Pipeline):
        raise TypeError(
            "With devices='all', the parts of data must be made by kd.data.pipeline. Received: "
            f"{type(data).__name__}"
        )
    size, count = data.batch_size, len(devices)
    if not keep_size:
        sizes = range(count, max(size, count) + 1, count)
        size = min(sizes, key=lambda one: (data.examples % one, -one))
    elif size % count:
        raise ValueError(
            f"batch_size must be a multiple of the number of devices, {count}. Received: {size}. "
            f"Pass e.g. batch_size={size + count - size % count}"
        )
    return rebuild(data, batch_size=size, drop_remainder=True)


@contextmanager
def spread(
    model: keras.Model, devices: Sequence[str], compile_options: Mapping[str, Any]
) -> Iterator[keras.Model]:
    """Yield a copy of a model to be trained on several devices; its weights are copied back.

    The model itself stays on one device, so that it can be evaluated and exported as usual.

    Args:
        model: The model.
        devices: Names of devices; with none, the model itself is yielded.
        compile_options: Arguments of `Model.compile`, besides the optimizer.

    Yields:
        The copy. It must be compiled when it has been trained.
    """
    if not devices:
        yield model
        return
    with backend.share_batches(devices):
        copy = keras.models.clone_model(model)
        restore(copy, capture(model), "variables")
        yield copy
        state = capture(copy)
    optimizer = type(copy.optimizer).from_config(copy.optimizer.get_config())
    model.compile(optimizer, **compile_options)
    restore(model, state, "variables", "optimizer")
