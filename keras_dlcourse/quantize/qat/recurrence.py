"""Unrolled recurrent layers, rewritten step by step with dense layers and arithmetic.

A recurrent layer computes intermediate values that cannot be rounded from outside. In the rewritten
form, each of them has its own range. The state before the first step is zero, so that step has
fewer terms.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse.quantize.qat.opening import refuse_options

State = list[Any]
# Takes the input's contribution to a step and the previous state, None for the first step.
StepFunction = Callable[[Any, State | None], State]


def why_not(layer: Any) -> str:
    """Return why a recurrent layer cannot be rewritten; empty if it can."""
    if not layer.unroll:
        return "it is a loop, which integer runtimes do not support; build it with unroll=True"
    if type(layer) not in _CELLS:
        return f"only LSTM, GRU and SimpleRNN can be rewritten, not {type(layer).__name__}"
    if layer.stateful or layer.return_state:
        return "it exposes its state (stateful or return_state)"
    if layer.dropout or layer.recurrent_dropout:
        return "it has dropout between its steps"
    if layer.get_build_config()["input_shape"][1] is None:
        return "its number of steps is not fixed"
    if type(layer) is keras.layers.GRU and not layer.reset_after:
        return "only GRU with reset_after=True can be rewritten"
    return ""


def unroll(layer: Any) -> Callable[..., Any]:
    """Return a function of the input that computes the same as an unrolled recurrent layer."""
    step = _CELLS[type(layer)](layer)
    steps = layer.get_build_config()["input_shape"][1]
    contribution = _dense(f"{layer.name}_inputs", layer, layer.cell.kernel, _input_bias(layer))

    def compute(x: Any, *args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(layer.call).bind(x, *args, **kwargs).arguments
        refuse_options(layer, {k: given.get(k) for k in ("initial_state", "mask")})
        contributions = contribution(x)  # of all steps at once
        state: State | None = None
        outputs = []
        order = range(steps - 1, -1, -1) if layer.go_backwards else range(steps)
        for number in order:
            state = step(contributions[:, number], state)
            outputs.append(state[0])
        return ops.stack(outputs, axis=1) if layer.return_sequences else outputs[-1]

    return compute


def _lstm(layer: Any) -> StepFunction:
    cell = layer.cell
    recurrent = _dense(f"{layer.name}_state", layer, cell.recurrent_kernel)

    def step(x: Any, state: State | None) -> State:
        z = x if state is None else ops.add(x, recurrent(state[0]))
        i, f, c, o = ops.split(z, 4, axis=-1)
        new = ops.multiply(cell.recurrent_activation(i), cell.activation(c))
        if state is not None:
            new = ops.add(ops.multiply(cell.recurrent_activation(f), state[1]), new)
        return [ops.multiply(cell.recurrent_activation(o), cell.activation(new)), new]

    return step


def _gru(layer: Any) -> StepFunction:
    cell = layer.cell
    bias = _numbers(cell.bias)[1] if cell.use_bias else None
    recurrent = _dense(f"{layer.name}_state", layer, cell.recurrent_kernel, bias)

    def step(x: Any, state: State | None) -> State:
        x_z, x_r, x_h = ops.split(x, 3, axis=-1)
        if state is None:
            h_z, h_r, h_h = np.split(np.zeros(3 * cell.units) if bias is None else bias, 3)
        else:
            h_z, h_r, h_h = ops.split(recurrent(state[0]), 3, axis=-1)
        z = cell.recurrent_activation(ops.add(x_z, h_z))
        r = cell.recurrent_activation(ops.add(x_r, h_r))
        candidate = cell.activation(ops.add(x_h, ops.multiply(r, h_h)))
        new = ops.multiply(ops.subtract(1.0, z), candidate)
        return [new if state is None else ops.add(ops.multiply(z, state[0]), new)]

    return step


def _simple(layer: Any) -> StepFunction:
    cell = layer.cell
    recurrent = _dense(f"{layer.name}_state", layer, cell.recurrent_kernel)

    def step(x: Any, state: State | None) -> State:
        return [cell.activation(x if state is None else ops.add(x, recurrent(state[0])))]

    return step


_CELLS: dict[type, Callable[[Any], StepFunction]] = {
    keras.layers.LSTM: _lstm,
    keras.layers.GRU: _gru,
    keras.layers.SimpleRNN: _simple,
}


def _input_bias(layer: Any) -> Any:
    """Return the bias added to the inputs; GRU has another one for its state."""
    if not layer.cell.use_bias:
        return None
    bias = _numbers(layer.cell.bias)
    return bias[0] if bias.ndim == 2 else bias


def _dense(name: str, layer: Any, kernel: Any, bias: Any = None) -> Any:
    """Return a dense layer with part of a recurrent layer's weights."""
    values = _numbers(kernel)
    dense = keras.layers.Dense(
        values.shape[1],
        use_bias=bias is not None,
        dtype=layer.dtype_policy,
        trainable=layer.trainable,
        name=name,
    )
    dense.build((None, values.shape[0]))
    dense.set_weights([values] if bias is None else [values, bias])
    return dense


def _numbers(variable: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(variable), "float32")
