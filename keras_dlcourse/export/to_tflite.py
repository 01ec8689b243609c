"""Export a Keras model to a self-describing `.tflite` file."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_dlcourse import layers
from keras_dlcourse._checks import check_flag, check_integer
from keras_dlcourse._files import check_writable, write_bytes
from keras_dlcourse.data import Examples, take
from keras_dlcourse.edge.description.labels import Labels
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.description.suppression import NonMaxSuppression
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.export.checking.inspection import float_islands
from keras_dlcourse.export.conversion.calibration import (
    calibration_examples,
    calibration_inputs,
    prepare_calibration,
)
from keras_dlcourse.export.conversion.class_map import add_class_map
from keras_dlcourse.export.conversion.converter import convert, list_input_keys
from keras_dlcourse.export.conversion.device_model import (
    convert_to_float32,
    device_model,
    fold_transposes,
    model_hash,
    set_pixel_ranges,
)
from keras_dlcourse.export.conversion.errors import ExportError
from keras_dlcourse.export.conversion.integer_form import has_baking, integer_form
from keras_dlcourse.export.conversion.schemes import Scheme, choose_dtype, find_scheme
from keras_dlcourse.export.conversion.sources import is_fake_quantized, load_model
from keras_dlcourse.export.conversion.structure import list_inputs
from keras_dlcourse.export.conversion.suppression import (
    add_suppression,
    check_nms,
    find_suppression,
)
from keras_dlcourse.export.inputs import KINDS as INPUTS
from keras_dlcourse.export.inputs.find import find_inputs
from keras_dlcourse.export.outputs import KINDS as OUTPUTS
from keras_dlcourse.export.outputs.find import (
    assign_labels,
    assign_thresholds,
    find_outputs,
    list_output_keys,
)
from keras_dlcourse.export.outputs.segmentation import find_mask
from keras_dlcourse.export.writing.flatbuffer_writer import Table
from keras_dlcourse.export.writing.input import Input
from keras_dlcourse.export.writing.metadata import Description, describe_file
from keras_dlcourse.export.writing.order import reorder_tensors
from keras_dlcourse.export.writing.output import Output
from keras_dlcourse.graph.logits import cut_last_activation
from keras_dlcourse.layers.compression.fake_quantize import is_quantized
from keras_dlcourse.models import without_auxiliary


@dataclass(frozen=True)
class ExportResult:
    """Result of `to_tflite`. It can be used as a path.

    Attributes:
        path: Path of the file.
        quantization: Quantization scheme of the file.
        bytes: Size of the file in bytes.
        inputs: The inputs of the file, in order.
        outputs: The outputs of the file, in order.
        float_islands: Operations left in float in an integer file.
        keras_hash: SHA-256 of the Keras model's weights, also stored in the file.
        seconds: Time that the export took, in seconds.
    """

    path: Path
    quantization: str
    bytes: int
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    float_islands: tuple[str, ...]
    keras_hash: str
    seconds: float

    @property
    def normalization(self) -> Normalization | None:
        """The normalization applied to pixels in training, of the first image; None without one."""
        return next((one.normalization for one in self.inputs if one.normalization), None)

    @property
    def normalization_source(self) -> str | None:
        """Where it comes from: `"preprocessing"`, `"calibration"`, `"model"`, or `"graph"`.

        The last is that of a model whose first layers take raw pixels; None if there is none.
        """
        found = (one.normalization_source for one in self.inputs)
        return next((source for source in found if source), None)

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names of the first output that has any, or None."""
        return next((one.labels for one in self.outputs if one.labels is not None), None)

    @property
    def class_map(self) -> tuple[int | None, ...] | None:
        """Height, width and number of classes of the class map; None without one."""
        return next((one.shape for one in self.outputs if one.kind == "class_map"), None)

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.bytes:,} bytes, {self.quantization}, in {self.seconds:.1f} s",
        ]
        lines += [_format_pixels(one) for one in self.inputs if one.normalization is not None]
        if self.class_map is not None:
            height, width, classes = self.class_map
            lines.append(f"class map: {height} x {width} for each of {classes:,} classes")
        if len(self.outputs) > 1 and self.class_map is None:
            lines.append(f"outputs: {', '.join(one.name for one in self.outputs)}")
        if self.float_islands:
            lines.append(f"left in float: {', '.join(self.float_islands)}")
        return "\n".join(lines)


def to_tflite(
    model: keras.Model | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    quantization: str | None = None,
    calibration: Any = None,
    labels: Labels | None = None,
    preprocessing: Normalization | Mapping[str, Normalization] | None = None,
    rgb: bool | None = None,
    batch: int | None = 1,
    input_dtype: str | None = None,
    output_dtype: str | None = None,
    class_map: bool = False,
    score_thresholds: Sequence[float] | float | None = None,
    nms: str | NonMaxSuppression = "outside",
) -> ExportResult:
    """Write a Keras model as a self-describing `.tflite` file that uses builtin operations only.

    The file carries standard TFLite metadata (normalization, sizes, labels), so MediaPipe Tasks and
    `keras_dlcourse.edge.ImageClassifier` (or `ImageEmbedder`, ...) open it directly.
    It is written to a temporary file first and then renamed: on any error, `path` is left
    unchanged.

    Integer files take raw camera pixels: a pixel p is stored as p, and the input tensor's scale and
    zero point encode the normalization. (In these files, a mean that is not a whole gray level is
    rounded to one, which changes it by at most half a gray level.) Per-channel normalization, which
    TFLite metadata and MediaPipe cannot express, is computed inside the graph.

    The only output of a model of one image is a mask if it ends in a softmax over the last of
    height, width and classes, or if `kd.layers.OutputDescription("segmentation")` declares it, as
    it must for the sigmoid of a single class. Its file has the values before that softmax or
    sigmoid, and says which one follows, as MediaPipe's ImageSegmenter needs it.

    A model that declares its boxes with `kd.layers.OutputDescription("detection")` is an object
    detector. Its file has the boxes and scores of all anchors, each with its own scale in integer
    files, and says how to decode them, for MediaPipe's ObjectDetector and
    `keras_dlcourse.edge.ObjectDetector`; or it chooses among the boxes itself, see `nms`.

    Args:
        model: A built Keras model with inputs of fixed size; images are `(height, width, 1 or 3)`.
            Or the path of a `.keras` file or of a SavedModel folder, e.g. of a Keras 2 model that
            was prepared with tensorflow-model-optimization. Several inputs or outputs are in the
            file in Keras's order and with Keras's names.
        path: The file to write.
        quantization: `"float32"`, `"float16"`, `"dynamic"`, `"int8"` (all integer) or `"int16x8"`.
            Defaults to `"int8"` for a quantization-aware model, else to `"float32"`.
        calibration: The training data: anything that `fit` takes, normalized as in training.
            Required for `"int8"` and `"int16x8"`: at least 100 examples, of which 200 are drawn
            with a fixed seed. A model trained with fake quantization knows its ranges and needs
            none.
        labels: Class names, one per score: a list, a dictionary that maps indices to names or
            names to indices, or an open text file. Defaults to the names recorded in the model or
            carried by `calibration`. A mask of a single class has its name, or two: those of
            background and class. Models that end in a unit-length vector, or were made by
            `kd.models.embedding_model`, have none. If a model has several outputs, which the file
            has in Keras's order, the labels are those of the first, or a dictionary from names of
            outputs to the labels of each.
        preprocessing: The normalization applied to pixels from 0 to 255 before the model;
            `Normalization.identity()` if the model takes raw pixels. If several inputs are images,
            it is that of each, or a dictionary from names of inputs to normalizations. Defaults to
            the one carried by `calibration`, else to the one recorded in the model (builders of
            `kd.models` record it, see `kd.layers.ImageDescription`); a model whose first layers are
            `Rescaling`, `Normalization` or arithmetic with constants takes raw pixels. It must be
            known for images; models with other inputs have none.
        rgb: Whether a model of grayscale images takes RGB and converts it to gray inside the graph.
            Defaults to True, because phones deliver RGB and MediaPipe Tasks accept nothing else.
            Pass False for a grayscale camera, as on many microcontrollers.
        batch: Static batch size, which browsers and microcontrollers need; None for a dynamic one.
        input_dtype: Data type of the input tensor; for `"int8"` one of `"uint8"` (default),
            `"int8"`, `"float32"`. Integer inputs that are not images, such as the token numbers of
            an `Embedding`, are always int32.
        output_dtype: Data type of the output tensor; same choices as for `input_dtype`.
        class_map: Whether to add the class activation maps as a second output, `(batch, height,
            width, classes)` at the resolution of the last feature maps: `M_c = sum_k w_k^c f_k`,
            without the bias. For models that end in global average or maximum pooling and one Dense
            layer or 1x1 convolution. The scores are the same as without maps, and the weights are
            stored only once. A quantization-aware model needs `calibration` for its maps.
        score_thresholds: For each class, the minimum score, from 0 to 1, at which the device lists
            it, or one number for all classes. Use `kd.training.choose_thresholds` for multi-label
            images, and `kd.training.threshold_for` for one sigmoid or for a softmax, where an image
            for which no class reaches its threshold is unknown. None for those that the model
            records, see `kd.layers.record_thresholds`. A threshold above the highest score
            of an integer file is lowered to that score, with a warning. MediaPipe Tasks support
            only one threshold for all classes and use the lowest one; for objects, none.
        nms: For object detectors, where boxes that overlap are chosen from. `"outside"`: on the
            device, behind the file. MediaPipe then ignores classes: of two objects that overlap by
            more than 0.3, it loses one. `"inside"`: in the file, by builtin operations that compute
            in floats, also in integer files, with the settings of `NonMaxSuppression()`; or other
            settings. The outputs are then floats.

    Returns:
        An `ExportResult`, which can be used as a path.

    Raises:
        ExportError: If the model cannot run with builtin operations; names the layer and the
            reason.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument does not fit the model, or the normalization of an image model is
            unknown; nothing is written then.

    Example:
        >>> import keras, tempfile
        >>> import keras_dlcourse as kd
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(),
        ...                           keras.layers.Dense(2, activation="softmax")])
        >>> result = kd.export.to_tflite(model, tempfile.mkdtemp() + "/model.tflite",
        ...     labels=["cat", "dog"], preprocessing=kd.data.Normalization((127.5,), (127.5,)))
        >>> kd.edge.ImageClassifier(result.path).labels
        ('cat', 'dog')
    """
    started = time.monotonic()
    path = check_writable("path", path)
    batch = None if batch is None else check_integer("batch", batch)
    rgb = None if rgb is None else check_flag("rgb", rgb)
    check_flag("class_map", class_map)
    check_nms(nms)
    model = without_auxiliary(load_model(model))
    ranges_known = is_quantized(model) or is_fake_quantized(model)
    if quantization is None:
        quantization = "int8" if ranges_known else "float32"
    row = find_scheme(quantization)
    types = {
        "input_dtype": choose_dtype("input_dtype", input_dtype, row),
        "output_dtype": choose_dtype("output_dtype", output_dtype, row),
    }
    several = len(list_inputs(model)) > 1
    examples = _take_examples(row, calibration, ranges_known, several)
    inputs = find_inputs(model, row, preprocessing=preprocessing, examples=examples, rgb=rgb)
    _check_input_dtype(input_dtype, inputs)
    graph = _build_graph(model, row, examples, inputs, batch=batch, class_map=class_map)
    outputs = find_outputs(model, graph, class_map=class_map, has_labels=labels is not None)
    recorded = layers.describe(model)
    outputs = assign_labels(outputs, labels, recorded, examples)
    outputs = assign_thresholds(outputs, score_thresholds, recorded, row)
    chosen = find_suppression(nms, outputs, batch, output_dtype)
    if chosen is not None:
        types["output_dtype"] = "float32"
    measured = None
    if examples is not None and row.calibrated:
        measured = prepare_calibration(model, inputs, examples)
    with _show_progress(f"{path.name}: calibrating", measured) as tick:
        content = convert(
            graph, row, inputs, batch=batch, calibration=measured, progress=tick, **types
        )
    content = _order_tensors(content, graph, inputs, outputs)
    islands = _find_islands(_read_converted(content), path, row)
    if chosen is not None:
        content, outputs = add_suppression(content, outputs, chosen)
    keras_hash = model_hash(model)
    description = Description(model.name, row.name, keras_hash, inputs, outputs, chosen)
    file = _read_converted(content)
    content = describe_file(content, description, *_list_tables(file, inputs, outputs))
    write_bytes(path, content)
    return ExportResult(
        path=path,
        quantization=row.name,
        bytes=len(content),
        inputs=inputs,
        outputs=outputs,
        float_islands=islands,
        keras_hash=keras_hash,
        seconds=time.monotonic() - started,
    )


def _build_graph(
    model: keras.Model,
    row: Scheme,
    examples: Examples | None,
    inputs: tuple[Input, ...],
    *,
    batch: int | None,
    class_map: bool,
) -> keras.Model:
    """Return the model as it is converted: in inference, with the inputs of a device."""
    core = (
        integer_form(convert_to_float32(model), row.name == "int8")
        if has_baking(model)
        else fold_transposes(model)
    )
    if class_map:  # before anything is added to the input
        if len(inputs) > 1:
            raise ExportError(
                f"class_map=True needs a model with one input. Received: model {model.name!r} with "
                f"{len(inputs)}. Omit class_map"
            )
        measured = None
        if examples is not None and is_quantized(core):
            first = inputs[0]
            measured = calibration_inputs(examples.inputs, first.shape, first.normalization)
        core = add_class_map(convert_to_float32(core), measured)
    if find_mask(model) is not None:
        core = cut_last_activation(core)
    graph = device_model(core, inputs, batch=batch)
    if row.name == "int8" and (is_quantized(model) or is_fake_quantized(model)):
        graph = set_pixel_ranges(graph, inputs, own_ranges=graph is core)
    return graph


def _order_tensors(
    content: bytes, graph: keras.Model, inputs: tuple[Input, ...], outputs: tuple[Output, ...]
) -> bytes:
    """Return the file with several inputs or outputs in Keras's order and with Keras's names."""
    names = (
        _name_keys(list_input_keys(inputs), inputs),
        _name_keys(list_output_keys(graph, outputs), outputs),
    )
    return reorder_tensors(content, *names) if any(names) else content


def _name_keys(keys: list[str], ends: Sequence[Input | Output]) -> dict[str, str]:
    """Return the name of each key in the signature of a file; empty for a single one."""
    if len(ends) == 1:
        return {}
    return {key: one.name or key for key, one in zip(keys, ends, strict=True)}


def _list_tables(
    file: ModelFile, inputs: tuple[Input, ...], outputs: tuple[Output, ...]
) -> tuple[list[Table], list[Table]]:
    """Return the standard metadata of each input and each output."""
    return (
        [
            INPUTS[one.kind].describe(one, tensor)
            for one, tensor in zip(inputs, file.inputs, strict=True)
        ],
        [OUTPUTS[one.kind].describe(one) for one in outputs],
    )


def _check_input_dtype(input_dtype: str | None, inputs: tuple[Input, ...]) -> None:
    if input_dtype is not None and all(one.dtype == "int32" for one in inputs):
        raise ValueError(
            "input_dtype must be omitted for token numbers, which are int32 in every file. "
            f"Received: {input_dtype!r}"
        )


def _take_examples(
    row: Scheme, calibration: Any, ranges_known: bool, several: bool
) -> Examples | None:
    """Take the examples for calibration; for other schemes just one, to read what it carries."""
    if ranges_known and row.name == "int16x8":
        raise ValueError(
            "the model was trained with fake quantization, whose ranges are for 8 bits. Export it "
            "with quantization='int8', or export the float model with 'int16x8'"
        )
    if calibration is None:
        if row.calibrated and not ranges_known:
            raise ValueError(
                f"quantization={row.name!r} measures activation ranges on examples; pass "
                "calibration=, e.g. the training data"
            )
        return None
    if row.calibrated:
        return calibration_examples(calibration, several_inputs=several)
    return take(calibration, 1, several_inputs=several)


def _read_converted(content: bytes) -> ModelFile:
    """Read the file that the converter has written.

    Raises:
        ExportError: If no runtime could run it.
    """
    try:
        return ModelFile.read(content)
    except InvalidModel as error:
        raise ExportError(
            f"The converter wrote a file that runtimes cannot run: {error}. This happens if the "
            "outputs of a layer are nearly constant, as in a network that is not trained. Check "
            "the model and the calibration data, or export with quantization='float32'."
        ) from error


def _find_islands(file: ModelFile, path: Path, row: Scheme) -> tuple[str, ...]:
    """Return the float islands of a file that should be all integer, and warn of them."""
    islands = float_islands(file) if row.name == "int8" else ()
    if islands:
        warnings.warn(
            f"{path.name} is not all integer: {', '.join(islands)} stay in float, because the "
            "converter has no integer kernel for them",
            stacklevel=3,
        )
    return islands


def _format_pixels(one: Input) -> str:
    """Return the line about the pixels of an image."""
    name = f"pixels of {one.name}" if one.name else "pixels"
    if one.normalization_source == "graph" or one.normalization is None:
        return f"{name}: unchanged; the model's first layers scale them"
    return (
        f"{name}: mean {_format_numbers(one.normalization.mean)}, "
        f"standard deviation {_format_numbers(one.normalization.std)} "
        f"(from {one.normalization_source})"
    )


def _format_numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


@contextmanager
def _show_progress(
    task: str, measured: list[np.ndarray] | None
) -> Iterator[Callable[[int], None] | None]:
    """Show a progress bar during calibration; nothing without a terminal or examples."""
    if measured is None or not sys.stdout.isatty():
        yield None
        return
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        number = bar.add_task(task, total=len(measured[0]))
        yield lambda done: bar.update(number, completed=done)
