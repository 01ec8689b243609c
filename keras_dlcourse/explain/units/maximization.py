"""The image that activates a unit of a network most, by gradient ascent from noise."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_integer, check_number
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse._progress import track
from keras_dlcourse.explain.engine.scores import Scores
from keras_dlcourse.graph.places import find_place
from keras_dlcourse.graph.running import Network

_NOISE = 0.01  # standard deviation of the initial image, as a fraction of the range
_WINDOW = 20  # steps to average before comparing; single steps vary because of the jitter
_MEAN, _SQUARE = 0.9, 0.99  # decay rates of Adam's two averages
_ROUNDING = 1e-4  # smooths the total variation at 0, where its slope jumps
_BLUR = np.array([1, 4, 6, 4, 1], "float32") / 16


@dataclass(frozen=True, eq=False)
class Maximization:
    """Images that activate a unit.

    Attributes:
        images: `(n, height, width, channels)`, float32, in the model's input range.
        values: Activation of the unit for each image, `(n,)`.
        start_values: Activation for the initial noise of each image, `(n,)`.
        steps: Number of steps taken, the same for all images.
        converged: Whether the values converged; if not, `steps` was too small or there was no
            gradient (which gives a warning).
    """

    images: np.ndarray
    values: np.ndarray
    start_values: np.ndarray
    steps: int
    converged: bool


@renamed_arguments(n="samples")
def activation_maximization(
    model: keras.Model,
    layer: str | None,
    unit: int,
    *,
    position: tuple[int, int] | None = None,
    steps: int = 300,
    learning_rate: float = 0.02,
    jitter: int = 1,
    variation: float = 0.02,
    frequency: float = 0.2,
    size: tuple[int, int] | None = None,
    low: float = -1.0,
    high: float = 1.0,
    seed: int = 0,
    samples: int = 1,
    tolerance: float = 1e-3,
) -> Maximization:
    """Find images that activate a unit most, by gradient ascent from faint noise.

    Each step is an Adam step along the gradient of the unit's value, scaled to a root mean square
    of 1, minus the gradient of two penalties against noise that has no meaning to the eye. Pixels
    stay between `low` and `high`. Because of the scaling, the same penalties suit any unit. Plain
    gradient ascent is `jitter=0, variation=0, frequency=0`.

    Args:
        model: A functional or Sequential model with one input, of the shape (height, width,
            channels); it may have nested models.
        layer: Name of the layer, with or without the names of its nested models. None maximizes a
            class score before softmax or sigmoid.
        unit: Index of the channel, or of the class.
        position: Row and column in the layer's maps. None uses the mean over all locations.
        steps: Maximum number of steps.
        learning_rate: Learning rate of Adam, as a fraction of the range from `low` to `high`.
        jitter: Maximum random shift of the image before each step, in pixels.
        variation: Weight of the total variation: the sum of differences between neighbors.
        frequency: Weight of high frequencies: the squares of what a 5x5 blur removes.
        size: Height and width, for a model with an unknown input size.
        low: Smallest pixel value that the model takes.
        high: Largest pixel value.
        seed: Seed of the noise and the shifts.
        samples: Number of images, each from its own noise.
        tolerance: The ascent stops when, for all images, the mean value of the last 20 steps
            differs from that of the 20 steps before by less than this fraction. 0 runs all steps.

    Returns:
        A `Maximization`. The mean of a channel typically gives a texture; a class, its typical
        parts.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If there is no such layer, unit or position, or an argument is out of range.

    Warns:
        UserWarning: If the unit has no gradient for the noise, as after an inactive ReLU. Use the
            layer before the ReLU, or another seed.

    Example:
        >>> model = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=5)
        >>> found = activation_maximization(model, "conv1", 3, steps=20)
        >>> found.images.shape, found.steps, bool(found.values[0] > found.start_values[0])
        ((1, 32, 32, 3), 20, True)

    Reference:
        Erhan et al. (2009), Visualizing Higher-Layer Features of a Deep Network; jitter, total
        variation and frequency penalties as compared by Olah, Mordvintsev and Schubert (2017),
        Feature Visualization, https://distill.pub/2017/feature-visualization
    """
    check_integer("steps", steps)
    check_integer("samples", samples)
    check_integer("jitter", jitter, least=0)
    check_integer("unit", unit, least=0)
    check_number("learning_rate", learning_rate, above=0)
    check_number("variation", variation, least=0)
    check_number("frequency", frequency, least=0)
    check_number("tolerance", tolerance, least=0)
    if not check_number("low", low) < check_number("high", high):
        raise ValueError(f"low must be below high. Received: {low!r} and {high!r}.")
    network = Network(model)
    shape = _image_shape(network.model, size)
    value = _value(network, layer, unit, position, shape)

    def in_range(shares: Any) -> Any:
        return value(low + (high - low) * shares)

    program = _program(network, in_range, learning_rate, variation, frequency)
    shares, values, taken, converged = _ascend(
        program, shape, samples, steps, jitter, seed, tolerance
    )
    images = (low + (high - low) * shares).clip(low, high).astype("float32")
    return Maximization(images, values[-1], values[0], taken, converged)


def _ascend(
    program: Callable[..., Any],
    shape: tuple[int, int, int],
    n: int,
    steps: int,
    jitter: int,
    seed: int,
    tolerance: float,
) -> tuple[np.ndarray, list[np.ndarray], int, bool]:
    """Return images scaled to 0..1, the values of all steps, the step count and convergence."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.5, _NOISE, (n, *shape)).clip(0, 1).astype("float32")
    state: Any = (noise, np.zeros_like(noise), np.zeros_like(noise))
    unmoved = [np.arange(side, dtype="int32") for side in shape[:2]]
    # Values are from before a step, so those of the last image need one more call.
    start, slope = (_numbers(x) for x in program(*state, np.float32(1), *unmoved)[3:])
    if not slope.all():
        warnings.warn(
            f"The unit has no gradient for the noise of {int((slope == 0).sum())} of {n} images, "
            "as after an inactive ReLU. Use the layer before it, or another seed.",
            stacklevel=4,
        )
    values = [start]
    for number in track(range(1, steps + 1), steps, "Activation maximization"):
        shifts = rng.integers(-jitter, jitter + 1, 2)
        moved = [np.roll(rows, shift) for rows, shift in zip(unmoved, shifts, strict=True)]
        *state, now, _ = program(*state, np.float32(number), *moved)
        values.append(_numbers(now))
        if _has_settled(values[1:], tolerance):
            break
    last, slope = (_numbers(x) for x in program(*state, np.float32(1), *unmoved)[3:])
    # Without a gradient the values are constant too, but not at a maximum.
    converged = _has_settled(values[1:], tolerance) and bool(slope.all())
    return _numbers(state[0]), [*values, last], number, converged


def _has_settled(values: list[np.ndarray], tolerance: float) -> bool:
    if not tolerance or len(values) < 2 * _WINDOW:
        return False
    before = np.mean(values[-2 * _WINDOW : -_WINDOW], axis=0)
    now = np.mean(values[-_WINDOW:], axis=0)
    return bool(np.all(np.abs(now - before) <= tolerance * np.abs(now)))


def _program(
    network: Network,
    value: Callable[[Any], Any],
    learning_rate: float,
    variation: float,
    frequency: float,
) -> Callable[..., Any]:
    """Return a compiled Adam ascent step, which also gives the values before it and slopes."""

    def of_shifted(shares: Any, rows: Any, columns: Any) -> tuple[Any, Any]:
        moved = ops.take(ops.take(shares, rows, axis=1), columns, axis=2)
        values = value(moved)
        return ops.sum(values), values

    penalties = partial(_roughness, variation=variation, frequency=frequency)

    def step(shares: Any, mean: Any, square: Any, number: Any, rows: Any, columns: Any) -> Any:
        pull, values = backend.gradient(of_shifted)(shares, rows, columns)
        size = ops.sqrt(ops.mean(ops.square(pull), axis=(1, 2, 3), keepdims=True))
        slope = pull / ops.where(size > 0, size, 1.0)
        slope = slope - backend.gradient(penalties)(shares)[0]
        mean = _MEAN * mean + (1 - _MEAN) * slope
        square = _SQUARE * square + (1 - _SQUARE) * ops.square(slope)
        spread = ops.sqrt(square / (1 - _SQUARE**number)) + 1e-8
        change = mean / (1 - _MEAN**number) / spread
        shares = ops.clip(shares + learning_rate * change, 0.0, 1.0)
        return shares, mean, square, values, size[:, 0, 0, 0]

    return backend.compiled(step, network.model.variables)


def _roughness(shares: Any, variation: float, frequency: float) -> tuple[Any, Any]:
    down = shares[:, 1:] - shares[:, :-1]
    right = shares[:, :, 1:] - shares[:, :, :-1]
    total = sum(ops.sum(ops.sqrt(ops.square(x) + _ROUNDING)) for x in (down, right))
    high = ops.sum(ops.square(shares - _blur(shares)))
    return variation * total + frequency * high, ()


def _blur(shares: Any) -> Any:
    channels = shares.shape[-1]
    kernel = np.tile(np.outer(_BLUR, _BLUR)[..., None, None], (1, 1, channels, 1))
    border = [[0, 0], [2, 2], [2, 2], [0, 0]]
    padded = ops.pad(shares, border, mode="symmetric")
    return ops.depthwise_conv(padded, kernel, padding="valid", data_format="channels_last")


def _value(
    network: Network,
    layer: str | None,
    unit: int,
    position: tuple[int, int] | None,
    shape: tuple[int, int, int],
) -> Callable[[Any], Any]:
    """Return a function from images to the unit's values, `(n,)`."""
    dtype = network.model.inputs[0].dtype
    if layer is None:
        scores = Scores(network)
        _check_unit(unit, scores.classes, "classes of the model")
        if position is not None:
            raise ValueError(
                f"position must be None for a class. Received: {position!r}. "
                "Pass a layer to use it."
            )

        def score(images: Any) -> Any:
            return scores.of(network.run([ops.cast(images, dtype)], scores.call))[:, unit]

        return score
    place = find_place(network, layer)
    first = getattr(place.node.operation, "data_format", None) == "channels_first"
    _check_unit(
        unit, int(place.node.outputs[0].shape[1 if first else -1]), f"channels of layer {layer!r}"
    )

    def maps(images: Any) -> Any:
        made = network.output_at(place, [ops.cast(images, dtype)])
        return ops.cast(made[:, unit] if first else made[..., unit], "float32")

    if position is None:
        return lambda images: ops.mean(maps(images), axis=(1, 2))
    row, column = _check_position(position, maps(ops.zeros((1, *shape))).shape, layer)
    return lambda images: maps(images)[:, row, column]


def _image_shape(model: keras.Model, size: tuple[int, int] | None) -> tuple[int, int, int]:
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in model.inputs)
        raise ValueError(
            "activation_maximization needs a model with one input of shape (n, height, width, "
            f"channels). Received: {model.name!r} with {shapes}."
        )
    shape = tuple(model.inputs[0].shape[1:])
    if size is None and None not in shape:
        return shape
    if size is None:
        raise ValueError(f"model {model.name!r} takes any size. Pass size=(height, width).")
    wanted = (*size, shape[-1])
    fits = len(wanted) == 3 and all(
        isinstance(side, int) and side > 0 and given in (None, side)
        for side, given in zip(wanted, shape, strict=True)
    )
    if not fits:
        raise ValueError(f"size must be (height, width) of images {shape}. Received: {size!r}.")
    return wanted


def _check_position(position: Any, shape: tuple[int, int, int], layer: str) -> tuple[int, int]:
    _, height, width = shape
    pair = tuple(position) if isinstance(position, tuple | list) else ()
    inside = len(pair) == 2 and all(
        isinstance(at, int) and 0 <= at < side
        for at, side in zip(pair, (height, width), strict=True)
    )
    if not inside:
        raise ValueError(
            f"position must be (row, column) in the {height}x{width} maps of layer {layer!r}. "
            f"Received: {position!r}."
        )
    return pair[0], pair[1]


def _check_unit(unit: int, count: int, of: str) -> None:
    if unit >= count:
        raise ValueError(f"unit must be below {count}, the number of {of}. Received: {unit}.")


def _numbers(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor))
