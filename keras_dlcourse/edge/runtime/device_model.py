"""A `.tflite` file, ready to run: real values in, real values out, whatever they mean."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from keras_dlcourse.edge.runtime.interpreter import (
    ModelStopped,
    Session,
    check_threads,
    memory_size,
)
from keras_dlcourse.edge.runtime.latency import Latency, measure
from keras_dlcourse.edge.runtime.sandbox import Limits, Sandbox
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel
from keras_dlcourse.edge.tflite.graph import Tensor
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.tflite.quantization import decoder, is_quantized, quantize

# Examples passed at once to a model with a variable batch size.
CHUNK = 32

_TYPES = ("float16", "float32", "float64", "bool") + tuple(
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
)
_QUANTIZED = ("int8", "uint8", "int16")
_Arrays = list[np.ndarray]


class TensorSpec(NamedTuple):
    """An input or output of a model.

    Attributes:
        name: Its name.
        shape: Its shape; None for a size that may differ between calls, such as that of the batch.
        dtype: NumPy name of the type of its values, e.g. `"float32"`: real values of quantized
            tensors, otherwise the values as they are stored.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class DeviceModel:
    """Runs a `.tflite` file on any inputs: vectors, sequences, token numbers, several at once.

    The file is read into memory and checked before the interpreter sees it. Inputs and outputs are
    real values: inputs of integer files are quantized, and their outputs dequantized. One object
    can be shared between threads; calls run one at a time.

    The first axis of all inputs and outputs is the batch, n examples. If the first axes of the
    inputs differ, or an input has no other axis, such as a waveform, the file has no batch:
    `inputs` gives the shapes that it takes, and a call runs it once.

    Args:
        model: Path or bytes of a `.tflite` file, or a `ModelFile`.
        threads: Number of threads; None leaves it to the runtime, which uses one.
        untrusted: Whether to run the model in a separate process, so that this process survives if
            the model crashes or takes too much time or memory: True, or the `Limits`.

    Raises:
        InvalidModel: If the file is damaged or not a `.tflite` file, or the runtime rejects it;
            `ModelStopped` if it is untrusted and crashed or was stopped.
        TypeError: If `threads` or `untrusted` has the wrong type.
        ValueError: If `threads` is below 1, or an input or output does not hold numbers, such as
            text.
        OSError: If the file cannot be read.
        ImportError: If no interpreter is installed.

    Example:
        >>> model = DeviceModel("prices.int8.tflite")  # doctest: +SKIP
        >>> model.inputs  # doctest: +SKIP
        (TensorSpec(name='features', shape=(None, 13), dtype='float32'),)
        >>> (prices,) = model.run(features)  # shape (n, 13)  # doctest: +SKIP
        >>> prices.shape  # doctest: +SKIP
        (506, 1)
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | ModelFile,
        *,
        threads: int | None = None,
        untrusted: bool | Limits = False,
    ) -> None:
        threads, untrusted = check_threads(threads), _check_untrusted(untrusted)
        self._file = read_model(model)
        self._options: dict[str, Any] = {"threads": threads, "untrusted": untrusted}
        _check_tensors(self._file)
        self._batch, self._open_batch = _find_batch(self._file.inputs)
        self._inputs = self._specs(self._file.inputs, self._file.input_names)
        self._outputs = self._specs(self._file.outputs, self._file.output_names)
        self._decoders = [_decoder(tensor) for tensor in self._file.outputs]
        self._threads = threads
        self._lock = threading.Lock()
        self._session = _open_session(self._file, threads, untrusted)
        self._closed = False

    def close(self) -> None:
        """Free the interpreter, and end its process if the model is untrusted.

        This also happens at the end of a `with` block, and when the model is garbage-collected.
        """
        with self._lock:
            self._closed = True
            self._session.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the file's content and the options; the copy opens its own interpreter."""
        return _reopen, (type(self), self._file, self._options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and type of each input, in the order of the file."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and type of each output, in the order of the file."""
        return self._outputs

    @property
    def runtime(self) -> str:
        """Name and version of the interpreter that runs the model."""
        return self._session.runtime

    @property
    def model_file(self) -> ModelFile:
        """The model file with its metadata."""
        return self._file

    def run(self, inputs: Any) -> list[np.ndarray]:
        """Return all outputs of the model.

        Args:
            inputs: An array of shape (n, ...) for a file with one input; for several, a list of
                arrays in the order of the file, or a dictionary of arrays by name. Values for float
                and quantized inputs are real numbers; values for other integer inputs, such as
                token numbers, are integers.

        Returns:
            One array per output, in the order of the file, examples on the first axis. Quantized
            outputs are dequantized to float32; others have the type of the file.

        Raises:
            TypeError: If values are not numbers, or not integers where the file takes integers.
            ValueError: If a shape or a name is wrong, a value is not finite or outside the range of
                the file's integers, or the file cannot run n examples.

        Example:
            >>> model.run([images, ages])  # doctest: +SKIP
            >>> model.run({"image": images, "age": ages})  # doctest: +SKIP
        """
        specs = self._inputs
        given = _list_inputs(inputs, [spec.name for spec in specs])
        arrays = [
            _encode(values, tensor, spec)
            for values, tensor, spec in zip(given, self._file.inputs, specs, strict=True)
        ]
        if self._batch is not None and len(set(map(len, arrays))) > 1:
            counts = ", ".join(f"{s.name!r}: {len(a)}" for s, a in zip(specs, arrays, strict=True))
            raise ValueError(
                f"inputs must have the same number of examples. Received: {counts}. Pass one row "
                "per example in each input."
            )
        return self._run(arrays)

    def benchmark(self, runs: int = 50) -> Latency:
        """Return the latency of the model for one input of its size; sizes that may vary are 1.

        Args:
            runs: Number of calls to measure, after some warm-up calls.
        """
        inputs = self._example()
        return measure(lambda: self.run(inputs), runs, self.runtime, self._threads)

    def _example(self) -> Any:
        """Return one input for `run`: random numbers, and zeros for integers."""
        rng = np.random.default_rng(0)
        arrays = []
        for spec in self._inputs:
            values = rng.standard_normal([size or 1 for size in spec.shape])
            arrays.append(values if "float" in spec.dtype else np.zeros(values.shape, spec.dtype))
        return arrays if len(arrays) > 1 else arrays[0]

    def _specs(self, tensors: Sequence[Tensor], names: Sequence[str]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                name,
                tuple(
                    None if size == -1 or (axis == 0 and tensor.shape[0] == self._batch) else size
                    for axis, size in enumerate(tensor.shape_signature)
                ),
                "float32" if is_quantized(tensor) else tensor.dtype,
            )
            for tensor, name in zip(tensors, names, strict=True)
        )

    def _run(self, values: _Arrays) -> _Arrays:
        """Return the outputs for stored values, one array per input."""
        with self._lock:
            outputs = self._run_stored(values)
        return [decode(output) for decode, output in zip(self._decoders, outputs, strict=True)]

    def _run_stored(self, values: _Arrays) -> _Arrays:
        """Run the interpreter as often as the number of examples needs; the lock is held."""
        if self._batch is None or len(values[0]) == self._batch:
            return self._invoke(values)
        count = len(values[0])
        size = min(count, CHUNK) if self._open_batch else self._batch
        parts = [
            self._run_part([array[start : start + size] for array in values], size)
            for start in range(0, count, size)
        ]
        shapes = {tuple(output.shape[1:] for output in part) for part in parts}
        if len(shapes) > 1:
            raise ValueError(
                f"the outputs of {self._file.what} must have the same shape for all examples to "
                f"run several. Received: the shapes {', '.join(map(str, sorted(shapes)))}. Pass "
                f"{self._batch} at a time."
            )
        return [*map(np.concatenate, zip(*parts, strict=True))]

    def _run_part(self, values: _Arrays, size: int) -> _Arrays:
        """Return the outputs for at most `size` examples, one row each."""
        count = len(values[0])
        if not self._open_batch and count < size:  # fill up with the last example
            values = [array.take(range(size), axis=0, mode="clip") for array in values]
        outputs = self._invoke(values)
        if any(len(output) != len(values[0]) for output in outputs):
            raise ValueError(
                f"the outputs of {self._file.what} must have the batch on their first axis to run "
                f"several examples. Received: for a batch of {len(values[0])}, the shapes "
                f"{[output.shape for output in outputs]}. Pass {self._batch} at a time."
            )
        return [output[:count] for output in outputs]

    def _invoke(self, values: _Arrays) -> _Arrays:
        """Run the interpreter once; the lock is held."""
        if self._closed:
            raise ValueError(f"{self._file.what} is closed. Open it again.")
        outputs = [*map(np.atleast_1d, self._session.run(*values))]
        if len(outputs) != len(self._decoders):
            raise InvalidModel(
                f"{self._file.what} is damaged: it has {len(self._decoders)} outputs, but returns "
                f"the shapes {[output.shape for output in outputs]}"
            )
        return outputs


def read_model(model: str | os.PathLike[str] | bytes | ModelFile) -> ModelFile:
    """Return a model file, read and checked if it is given by path or bytes."""
    return model if isinstance(model, ModelFile) else ModelFile.read(model)


def _reopen(kind: type[DeviceModel], file: ModelFile, options: dict[str, Any]) -> DeviceModel:
    """Open a model from its pickled state."""
    return kind(file, **options)


def _open_session(
    file: ModelFile, threads: int | None, untrusted: bool | Limits
) -> Session | Sandbox:
    """Open a file in this process or in a separate one."""
    limits = untrusted if isinstance(untrusted, Limits) else Limits()
    there = limits.memory if untrusted else memory_size()
    if file.working_bytes > there:
        raise ModelStopped(
            f"{file.what} needs at least {file.working_bytes >> 20} MiB of memory for its values, "
            f"but only {there >> 20} MiB are available"
        )
    if not untrusted:
        return Session(file.content, file.what, threads)
    return Sandbox(file.content, file.what, threads, limits)


def _check_untrusted(untrusted: bool | Limits) -> bool | Limits:
    if not isinstance(untrusted, bool | Limits):
        raise TypeError(f"untrusted must be True, False or Limits. Received: {untrusted!r}")
    return untrusted


def _check_tensors(file: ModelFile) -> None:
    """Validate that inputs and outputs hold numbers that NumPy has, and that inputs hold any."""
    for name, tensor in zip(
        file.input_names + file.output_names, file.inputs + file.outputs, strict=True
    ):
        if tensor.dtype not in _TYPES:
            raise ValueError(
                f"inputs and outputs of a model must be of one of the types {', '.join(_TYPES)}. "
                f"Received: {name!r} of {file.what}, which is {tensor.dtype}. Convert the model "
                "with inputs and outputs of one of these types."
            )
    for name, tensor in zip(file.input_names, file.inputs, strict=True):
        if 0 in tensor.shape:
            raise ValueError(
                f"inputs of a model must have sizes of at least 1. Received: {name!r} of "
                f"{file.what}, of shape {tensor.shape}. Convert the model with a larger size."
            )
        if is_quantized(tensor) and (len(tensor.scales) > 1 or tensor.dtype not in _QUANTIZED):
            raise ValueError(
                f"quantized inputs of a model must be {', '.join(_QUANTIZED)} with one scale. "
                f"Received: {name!r} of {file.what}, {tensor.dtype} with {len(tensor.scales)} "
                "scales. Convert the model with float inputs."
            )


def _find_batch(inputs: Sequence[Tensor]) -> tuple[int | None, bool]:
    """Return the batch size of a file, None without one, and whether it is variable (and then 1).

    Several numbers on a single axis, such as a waveform, are one example: in parts they could mean
    something else.
    """
    first = {tensor.shape_signature[:1] for tensor in inputs}
    is_vector = [len(t.shape) == 1 and t.shape_signature != (1,) for t in inputs]
    if len(first) > 1 or first == {()} or any(is_vector):
        return None, False
    return inputs[0].shape[0], first == {(-1,)}


def _decoder(tensor: Tensor) -> Callable[[np.ndarray], np.ndarray]:
    return decoder(tensor) if is_quantized(tensor) else _keep


def _keep(values: np.ndarray) -> np.ndarray:
    return values


def _list_inputs(inputs: Any, names: list[str]) -> list[Any]:
    """Return the inputs in the order of the names."""
    if isinstance(inputs, Mapping):
        if len(inputs) == len(names) and set(inputs) == set(names):
            return [inputs[name] for name in names]
        raise ValueError(
            f"inputs must have the names {', '.join(map(repr, names))}. Received: "
            f"{', '.join(map(repr, inputs)) or 'none'}. Pass one array for each name, or a list in "
            "this order."
        )
    if len(names) == 1:
        return [inputs]
    if isinstance(inputs, list | tuple) and len(inputs) == len(names):
        return list(inputs)
    is_list = isinstance(inputs, list | tuple)
    received = f"{len(inputs)} of them" if is_list else type(inputs).__name__
    raise ValueError(
        f"inputs must be a list of {len(names)} arrays. Received: {received}. Pass a list in the "
        f"order {', '.join(map(repr, names))}, or a dictionary with these names."
    )


def _encode(values: Any, tensor: Tensor, spec: TensorSpec) -> np.ndarray:
    """Return the values of an input as its tensor stores them, after checking them."""
    label = f"input {spec.name!r}"
    try:
        values = np.asarray(values)
    except ValueError:  # rows of different lengths
        raise _type_error(label, "an array of numbers", "rows of different shapes") from None
    kind = np.dtype(spec.dtype).kind
    if kind == "f":
        if values.dtype.kind not in "iuf":
            raise _type_error(label, "numbers", values.dtype)
    elif kind == "b":
        if values.dtype.kind != "b":
            raise _type_error(label, "bool", values.dtype)
    elif values.dtype.kind not in "iu":
        raise _type_error(label, f"integers, as the file takes {spec.dtype}", values.dtype)
    _check_shape(label, values, spec.shape)
    if kind == "f":
        with np.errstate(over="ignore"):  # infinite values are found or, quantized, clipped
            values = values.astype(spec.dtype, copy=False)
            if not np.isfinite(values).all():
                raise ValueError(
                    f"{label} must have finite {spec.dtype} values. Received: "
                    f"{values[~np.isfinite(values)].flat[0]}. Replace or omit such examples."
                )
            return quantize(values, tensor)
    if not np.can_cast(values.dtype, spec.dtype):
        limits = np.iinfo(spec.dtype)
        low, high = int(values.min()), int(values.max())
        if low < limits.min or high > limits.max:
            raise ValueError(
                f"{label} must be from {limits.min} to {limits.max}, the range of {spec.dtype}. "
                f"Received: values from {low} to {high}. Check how these numbers were made."
            )
    return values.astype(spec.dtype, copy=False)


def _type_error(label: str, expected: str, received: object) -> TypeError:
    return TypeError(f"{label} must be {expected}. Received: {received}. Convert the array first.")


def _check_shape(label: str, values: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Validate a shape; sizes that are None may be any from 1."""
    fits = len(values.shape) == len(shape) and all(
        size >= 1 if expected is None else size == expected
        for size, expected in zip(values.shape, shape, strict=True)
    )
    if fits:
        return
    meaning = ", where None is any size of at least 1" if None in shape else ""
    advice = ""
    if shape[:1] == (None,) and len(values.shape) == len(shape) - 1:
        advice = " Pass a single example as a batch of one: array[None]."
    raise ValueError(
        f"{label} must have the shape {shape}{meaning}. Received: {values.shape}.{advice}"
    )
