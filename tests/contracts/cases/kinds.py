"""What the contract checks need in order to run on a part: one class per kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np


@dataclass(frozen=True)
class LayerCase:
    """A layer and arguments for it.

    Attributes:
        layer: The class.
        arguments: Every argument of its `__init__`, none at its default.
        input_shape: Without the batch; more than one channel, and height unlike width.
        output_shape: What must come out, without the batch.
        suffix: Tells two cases of one layer apart.
        has_weights: Whether it has weights.
        steady: Weights that a training step leaves as they are, by name, with the reason.
        either: Weights that rounding alone moves or does not, by name, with the reason.
        is_composite: Whether it is made of other layers, into which its `call` can be opened.
        exports: Whether it is exported as it is, and not baked into another layer first.
    """

    layer: type[keras.layers.Layer]
    arguments: dict[str, Any]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    suffix: str = ""
    has_weights: bool = True
    steady: dict[str, str] = field(default_factory=dict)
    either: dict[str, str] = field(default_factory=dict)
    is_composite: bool = True
    exports: bool = True

    @property
    def id(self) -> str:
        return self.layer.__name__ + self.suffix


@dataclass(frozen=True)
class ModelCase:
    """A family of models.

    Attributes:
        name: In `kd.models.names()`.
        builder: The function.
        small: Arguments that make a model small enough for many checks.
        features: Channels of the last feature map of the small model.
        stride: By how much the last feature map is smaller than a large image.
        rounds_up: Whether it is as large as all strides under "same" padding make it.
        steady: Weights that training leaves as they are, by name.
        least: A height and width from which on it works with all its strides.
    """

    name: str
    builder: Callable[..., keras.Model]
    small: dict[str, Any]
    features: int
    stride: int = 32
    rounds_up: bool = True
    steady: tuple[str, ...] = ()
    least: int = 64

    @property
    def id(self) -> str:
        return self.name


@dataclass(frozen=True)
class SegmenterCase:
    """A builder of models that predict the class of each pixel.

    Attributes:
        builder: The function.
        small: Arguments that make a model small enough for many checks, of three classes.
        suffix: Tells two cases of one builder apart.
        backbone: Returns a new backbone for each model, if it is given one.
        lost: Rows and columns that the output has less than the image.
        multiple: Number of pixels that the image is padded to a multiple of.
        has_open_size: Whether it can be built for images of any size.
        elsewhere: Whether other backends check it as well: compiling takes a while.
    """

    builder: Callable[..., keras.Model]
    small: dict[str, Any]
    suffix: str = ""
    backbone: Callable[[], keras.Model] | None = None
    lost: int = 0
    multiple: int = 1
    has_open_size: bool = True
    elsewhere: bool = False

    @property
    def id(self) -> str:
        return self.builder.__name__ + self.suffix


@dataclass(frozen=True)
class CallbackCase:
    """A callback for `model.fit`.

    Attributes:
        callback: The class.
        make: Called with an empty folder and the images `fit` gets; returns a new callback.
        invalid: Arguments that `__init__` must refuse, each with what its message must hold.
        required: Arguments without a default, for the `invalid` calls.
        has_state: Whether it has `state_dict` and `load_state_dict`.
    """

    callback: type[keras.callbacks.Callback]
    make: Callable[[Path, np.ndarray], keras.callbacks.Callback]
    invalid: tuple[tuple[dict[str, Any], str], ...]
    required: dict[str, Any] = field(default_factory=dict)
    has_state: bool = False

    @property
    def id(self) -> str:
        return self.callback.__name__


@dataclass(frozen=True)
class MetricCase:
    """A metric.

    Attributes:
        metric: The class.
        arguments: Every argument of its `__init__` but `name` and `dtype`, none at its default.
        true: What is true of six examples.
        predicted: What a model says of them.
        invalid: Arguments that `__init__` must refuse, each with what its message must hold.
        compiles: Whether it can be computed in compiled code.
    """

    metric: type[keras.metrics.Metric]
    arguments: dict[str, Any]
    true: np.ndarray
    predicted: np.ndarray
    invalid: tuple[tuple[dict[str, Any], str], ...]
    compiles: bool = True

    @property
    def id(self) -> str:
        return self.metric.__name__


@dataclass(frozen=True)
class LossCase:
    """A loss.

    Attributes:
        loss: The class.
        arguments: Arguments of its `__init__` but `name`, `dtype` and `reduction`, none at its
            default; all of them over the cases of one class.
        true: What is true of ten rows.
        predicted: What a model says of them, float32.
        invalid: Arguments that `__init__` must refuse, each with what its message must hold.
        activation: What brings outputs of a model into the range of `predicted`.
        silent: Arguments that change nothing on one device, with the test that covers them.
        suffix: Tells two cases of one loss apart.
        held: Why the gradient is not that of differences, with the test that covers it.
    """

    loss: type[keras.losses.Loss]
    arguments: dict[str, Any]
    true: np.ndarray
    predicted: np.ndarray
    invalid: tuple[tuple[dict[str, Any], str], ...]
    activation: str | None = None
    silent: dict[str, str] = field(default_factory=dict)
    suffix: str = ""
    held: str = ""

    @property
    def id(self) -> str:
        return self.loss.__name__ + self.suffix
