"""Run a float file and an integer file of the same network side by side, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_dlcourse.edge.tflite.graph import Tensor
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.tflite.quantization import dequantize, quantize
from keras_dlcourse.quantize.diagnosis.cut_graph import CutGraph, reference_interpreter
from keras_dlcourse.quantize.diagnosis.matching import Matching, match_operators

# Operators that rearrange values and add no error of their own: errors in their outputs are
# attributed to the preceding operator.
_REARRANGING = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
_TINY = 1e-30
_INPUT = -1  # stands for the input in place of an operator number


@dataclass
class LayerSums:
    """Sums over all examples for one layer; arrays have one entry per channel.

    Channels are the last axis of the layer's output.

    Attributes:
        count: Number of values per channel.
        signal: Sum of squares in the float file.
        error: Sum of squared differences, integer minus float.
        bias: Sum of differences, integer minus float.
        own: Sum of squared differences to the output of the float operator on the integer file's
            inputs: the error that originates in this layer.
        own_bias: Sum of those differences.
        clipped: Sum of squared distances of values outside the integer tensor's range.
        outside: Number of values outside that range.
        low: Smallest value in the float file.
        high: Largest value in the float file.
        absolute: Sum of absolute differences, over all channels.
        largest: Largest absolute difference.
        codes: Number of occurrences of each code of an 8-bit tensor.
        passed: Maps each operator that reads this layer to the squared error that this layer's own
            error alone causes in the operator's output, and to the signal of that output.
    """

    count: int = 0
    signal: np.ndarray = field(default_factory=lambda: np.zeros(1))
    error: np.ndarray = field(default_factory=lambda: np.zeros(1))
    bias: np.ndarray = field(default_factory=lambda: np.zeros(1))
    own: np.ndarray = field(default_factory=lambda: np.zeros(1))
    own_bias: np.ndarray = field(default_factory=lambda: np.zeros(1))
    clipped: float = 0.0
    outside: int = 0
    low: np.ndarray = field(default_factory=lambda: np.full(1, np.inf))
    high: np.ndarray = field(default_factory=lambda: np.full(1, -np.inf))
    absolute: float = 0.0
    largest: float = 0.0
    codes: np.ndarray = field(default_factory=lambda: np.zeros(256, "int64"))
    passed: dict[int, np.ndarray] = field(default_factory=dict)

    def add(self, exact: np.ndarray, ours: np.ndarray, local: np.ndarray, tensor: Tensor) -> None:
        """Add one example.

        Args:
            exact: Output in the float file.
            ours: Output in the integer file, as real numbers.
            local: Output of the float operator on the integer file's inputs.
            tensor: The integer file's tensor.
        """
        exact, ours, local = (_group_by_channel(values) for values in (exact, ours, local))
        error, own = ours - exact, ours - local
        self.count += len(exact)
        self.signal = self.signal + (exact**2).sum(0)
        self.error = self.error + (error**2).sum(0)
        self.bias = self.bias + error.sum(0)
        self.own = self.own + (own**2).sum(0)
        self.own_bias = self.own_bias + own.sum(0)
        self.low = np.minimum(self.low, exact.min(0))
        self.high = np.maximum(self.high, exact.max(0))
        magnitude = np.abs(error)
        self.absolute += float(magnitude.sum())
        self.largest = max(self.largest, float(magnitude.max()))
        if (limits := code_limits(tensor)) is not None:
            beyond = exact - exact.clip(*limits)
            self.clipped += float((beyond**2).sum())
            self.outside += int((np.abs(beyond) > tensor.scales[0]).sum())

    def add_codes(self, stored: np.ndarray) -> None:
        """Count the codes of one example."""
        if stored.dtype.itemsize == 1:
            self.codes += np.bincount(
                stored.reshape(-1).astype("int64") - np.iinfo(stored.dtype).min, minlength=256
            )


@dataclass(frozen=True)
class Comparison:
    """The measurements on two files.

    Attributes:
        matching: Which operators correspond.
        layers: Sums for each pair of `matching`, in the same order.
        input: Sums of the network's input, whose own error comes from rounding the pixels.
        exact: Outputs of the float file, one row per example.
        ours: Outputs of the integer file, as real numbers.
    """

    matching: Matching
    layers: tuple[LayerSums, ...]
    input: LayerSums
    exact: np.ndarray
    ours: np.ndarray


def code_limits(tensor: Tensor) -> tuple[float, float] | None:
    """Return the smallest and largest real value that an integer tensor can hold."""
    if len(tensor.scales) != 1 or not np.issubdtype(np.dtype(tensor.dtype), np.integer):
        return None
    kind = np.iinfo(tensor.dtype)
    scale, zero = tensor.scales[0], tensor.zero_points[0]
    return (kind.min - zero) * scale, (kind.max - zero) * scale


def compare_layers(
    float_file: ModelFile, integer_file: ModelFile, inputs: Iterable[np.ndarray]
) -> Comparison:
    """Run two files on the same examples and sum up their differences at each layer.

    Besides the two files, a third graph runs: the float file cut into single operators. Its outputs
    on the integer file's values separate the error that originates in an operator from the error in
    its inputs. Its outputs on float values with one operator's error added show how much that error
    matters to the operators that read it.

    Args:
        float_file: A float32 file with one input and one graph.
        integer_file: An integer file of the same network.
        inputs: Real inputs, one example at a time, each of shape `(1, ...)`.

    Returns:
        A `Comparison`.
    """
    matching = match_operators(float_file, integer_file)
    runner = _Runner(float_file, integer_file, matching)
    for example in inputs:
        runner.add(np.asarray(example, "float32"))
    exact, ours = (np.concatenate(rows) for rows in zip(*runner.outputs, strict=True))
    return Comparison(matching, tuple(runner.sums), runner.input, exact, ours)


class _Runner:
    """The three graphs, and the sums so far."""

    def __init__(self, float_file: ModelFile, integer_file: ModelFile, matching: Matching) -> None:
        self.float_file, self.integer_file, self.matching = float_file, integer_file, matching
        self.float = reference_interpreter(float_file.content)
        self.integer = reference_interpreter(integer_file.content)
        self.cut = CutGraph(float_file)
        self.sums = [LayerSums() for _ in matching.pairs]
        self.input = LayerSums()
        self.outputs: list[tuple[np.ndarray, np.ndarray]] = []
        self.partner = dict(matching.pairs)
        self.place = {first: place for place, (first, _) in enumerate(matching.pairs)}

    def add(self, example: np.ndarray) -> None:
        """Run one example and add it to the sums."""
        exact = self._run(self.float, self.float_file, example)
        ours = self._run(self.integer, self.integer_file, example)
        outputs = [exact[operator.outputs[0]] for operator in self.float_file.operators]
        given = {port: self._integer_input(port, exact, ours) for port in self.cut.ports}
        local = self.cut.run(given)
        tensor = self.integer_file.inputs[0]
        self.input.add(example, ours[tensor.index], example, tensor)
        self.input.add_codes(self.integer.get_tensor(tensor.index))
        own = self._own_errors(outputs, ours, local)
        own[self.float_file.inputs[0].index] = _INPUT, ours[tensor.index] - example
        for place, (first, second) in enumerate(self.matching.pairs):
            tensor = self.integer_file.tensors[self.integer_file.operators[second].outputs[0]]
            self.sums[place].add(outputs[first], ours[tensor.index], local[first], tensor)
            self.sums[place].add_codes(self.integer.get_tensor(tensor.index))
        self._add_passed(outputs, exact, own)
        ends = exact[self.float_file.outputs[0].index], ours[self.integer_file.outputs[0].index]
        self.outputs.append(ends)

    def _run(self, runtime: Any, file: ModelFile, example: np.ndarray) -> dict[int, np.ndarray]:
        """Return all tensors that operators read or write, as real numbers."""
        given = file.inputs[0]
        runtime.set_tensor(given.index, quantize(example, given))
        runtime.invoke()
        indices = {given.index} | {index for op in file.operators for index in op.outputs}
        return {
            index: dequantize(runtime.get_tensor(index), file.tensors[index]) for index in indices
        }

    def _integer_input(
        self, port: tuple[int, int], exact: dict[int, np.ndarray], ours: dict[int, np.ndarray]
    ) -> np.ndarray:
        """Return the input of the integer file's operator; the float value if there is none."""
        number, place = port
        value = exact[self.float_file.operators[number].inputs[place]]
        if number not in self.partner:
            return value
        operator = self.integer_file.operators[self.partner[number]]
        index = operator.inputs[place] if place < len(operator.inputs) else -1
        found = ours.get(index)
        return found if found is not None and found.shape == value.shape else value

    def _own_errors(
        self, outputs: list[np.ndarray], ours: dict[int, np.ndarray], local: list[np.ndarray]
    ) -> dict[int, tuple[int, np.ndarray]]:
        """Map each float tensor to the operator that causes the error in it, and to the error."""
        own: dict[int, tuple[int, np.ndarray]] = {}
        for number, operator in enumerate(self.float_file.operators):
            target = operator.outputs[0]
            before = own.get(operator.inputs[0])
            if operator.name in _REARRANGING and before is not None:
                own[target] = before[0], before[1].reshape(outputs[number].shape)
            elif number in self.partner:
                written = self.integer_file.operators[self.partner[number]].outputs[0]
                own[target] = number, ours[written] - local[number]
        return own

    def _add_passed(
        self,
        outputs: list[np.ndarray],
        exact: dict[int, np.ndarray],
        own: dict[int, tuple[int, np.ndarray]],
    ) -> None:
        """Add the effect of each layer's own error alone on the operators that read it."""
        values = {}
        for number, place in self.cut.ports:
            index = self.float_file.operators[number].inputs[place]
            value = exact[index]
            values[number, place] = value + own[index][1] if index in own else value
        disturbed = self.cut.run(values)
        for number, operator in enumerate(self.float_file.operators):
            errors = {own[index][0]: own[index][1] for index in operator.inputs if index in own}
            if operator.name in _REARRANGING or not errors:
                continue
            error = float(((disturbed[number] - outputs[number]) ** 2).sum())
            signal = float((outputs[number] ** 2).sum())
            shares = {maker: float((value**2).sum()) for maker, value in errors.items()}
            for maker, share in shares.items():
                part = error * share / max(sum(shares.values()), _TINY)
                passed = self._sums_of(maker).passed
                passed[number] = passed.get(number, np.zeros(2)) + (part, signal)

    def _sums_of(self, maker: int) -> LayerSums:
        return self.input if maker == _INPUT else self.sums[self.place[maker]]


def _group_by_channel(values: np.ndarray) -> np.ndarray:
    """Return a float64 matrix with channels as columns."""
    columns = values.shape[-1] if values.ndim else 1
    return values.reshape(-1, columns).astype("float64")
