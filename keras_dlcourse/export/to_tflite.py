"""From a Keras model to a `.tflite` file that describes itself."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_dlcourse import layers
from keras_dlcourse._files import user_path, write_bytes
from keras_dlcourse.data import Examples, take
from keras_dlcourse.edge.description.labels import Labels
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.export.checking.inspection import float_islands
from keras_dlcourse.export.conversion.calibration import calibration_examples, calibration_inputs
from keras_dlcourse.export.conversion.class_map import OUTPUTS, with_class_map
from keras_dlcourse.export.conversion.converter import convert
from keras_dlcourse.export.conversion.device_model import (
    as_the_device_sees,
    device_model,
    in_float32,
    input_shape,
    is_image_shape,
    model_hash,
    with_folded_transposes,
    with_pixel_range,
)
from keras_dlcourse.export.conversion.entrance import check_learned_range
from keras_dlcourse.export.conversion.integer_form import has_baking, integer_form
from keras_dlcourse.export.conversion.provenance import find_labels, find_normalization
from keras_dlcourse.export.conversion.schemes import Scheme, choose_dtype, scheme
from keras_dlcourse.export.conversion.sources import is_fake_quantized, load_model
from keras_dlcourse.export.writing.metadata import Description, describe_file
from keras_dlcourse.export.writing.outputs import described_outputs, in_order, scores_of
from keras_dlcourse.graph.head import is_embedding
from keras_dlcourse.layers.compression.fake_quantize import is_quantized
from keras_dlcourse.models import without_auxiliary


@dataclass(frozen=True)
class ExportResult:
    """What `to_tflite` wrote.

    Attributes:
        path: The file.
        quantization: How numbers are stored in it.
        bytes: Its size.
        normalization: What pixels went through in training; None for a model that takes no images.
        normalization_source: Where that was taken from: `"preprocessing"`, `"calibration"`,
            `"model"`, or `"graph"` if the model's first layers take raw pixels; None without one.
        labels: Class names in the file, or None.
        float_islands: Operations left in float in an integer file.
        class_map: Height, width and classes of the map that is the second output, or None.
        keras_hash: SHA-256 of the Keras model's weights, also in the file.
        seconds: How long it took.
    """

    path: Path
    quantization: str
    bytes: int
    normalization: Normalization | None
    normalization_source: str | None
    labels: tuple[str, ...] | None
    float_islands: tuple[str, ...]
    keras_hash: str
    seconds: float
    class_map: tuple[int, int, int] | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.bytes:,} bytes, {self.quantization}, in {self.seconds:.1f} s",
        ]
        if self.normalization_source == "graph":
            lines.append("pixels: as they are, the model's first layers scale them")
        elif self.normalization is not None:
            lines.append(
                f"pixels: mean {_numbers(self.normalization.mean)}, "
                f"standard deviation {_numbers(self.normalization.std)} "
                f"(from {self.normalization_source})"
            )
        if self.class_map is not None:
            height, width, classes = self.class_map
            lines.append(f"class map: {height} x {width} for each of {classes:,} classes")
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
    preprocessing: Normalization | None = None,
    rgb: bool | None = None,
    batch: int | None = 1,
    input_dtype: str | None = None,
    output_dtype: str | None = None,
    class_map: bool = False,
    score_thresholds: Sequence[float] | float | None = None,
) -> ExportResult:
    """Write a Keras model as a `.tflite` file of builtin operations that describes itself.

    The file carries standard TFLite metadata (normalization, sizes, labels), so that MediaPipe
    Tasks and `keras_dlcourse.edge.ImageClassifier` (or `ImageEmbedder`) open it as it is. It is
    written beside and renamed: on any error `path` is as it was.

    Integer files take pixels as a camera gives them: a pixel p is stored as p, and the input
    tensor's scale and zero point are the normalization. (A mean that is not a whole grey level
    is rounded to one there: at most half a grey level.) Normalization per channel, for which
    TFLite metadata and MediaPipe have no place, is computed inside the graph.

    Args:
        model: A built Keras model with one input of fixed size; for images `(height, width,
            1 or 3)`. Or a `.keras` file of one, or the folder of a SavedModel, e.g. of a Keras 2
            model that tensorflow-model-optimization prepared.
        path: The file to write.
        quantization: `"float32"`, `"float16"`, `"dynamic"`, `"int8"` (all integer) or `"int16x8"`.
            By default `"int8"` for a model that was made quantization-aware, else `"float32"`.
        calibration: The training data: anything that `fit` takes, normalised as in training. Needed
            for `"int8"` and `"int16x8"`: at least 100 examples, of which a seeded 200 are used. A
            model trained with fake quantization knows its ranges and needs none.
        labels: Class names, one for each output: a list, a dictionary of numbers to names or of
            names to numbers, or an open text file; by default those recorded in the model or
            carried by `calibration`. Models that end in a vector of length 1, or were made by
            `kd.models.embedding_model`, have none.
        preprocessing: What pixels from 0 to 255 go through before the model;
            `Normalization.identity()` if it takes them as they are. By default what `calibration`
            carries, else what the model records (builders of `kd.models` do, see
            `kd.layers.ImageDescription`); and a model whose first layers are `Rescaling`,
            `Normalization` or arithmetic with constants takes raw pixels. It must be known for
            images; models of other inputs have none.
        rgb: Whether a model of grey images takes RGB, the conversion to grey inside the graph: by
            default True, because phones deliver RGB and MediaPipe Tasks take nothing else. False
            for a camera that gives grey, as on many microcontrollers.
        batch: Static batch size, which browsers and microcontrollers need; None for an open one.
        input_dtype: Type of the input tensor; for `"int8"` one of `"uint8"` (default), `"int8"`,
            `"float32"`.
        output_dtype: Type of the output tensor, as `input_dtype`.
        class_map: Add the class activation maps as a second output, `(batch, height, width,
            classes)` at the resolution of the last feature maps: `M_c = sum_k w_k^c f_k`, without
            the bias. For models that end in global average or maximum pooling and one Dense layer
            or 1x1 convolution. The scores are those of the plain file, the weights stand once. A
            model that was made quantization-aware needs `calibration` for it.
        score_thresholds: For each class the score from 0 to 1 from which on the device lists it,
            or one number for all: those of `kd.training.choose_thresholds` for images with any
            number of labels, that of `kd.training.threshold_for` for one sigmoid or for a softmax,
            where an image of which no class reaches its threshold is unknown. One above the highest
            score of an integer file is lowered to that, with a warning. MediaPipe Tasks, which
            know one threshold for all, go by the least of them.

    Returns:
        An `ExportResult`; it can be used as a path.

    Raises:
        ExportError: If the model cannot run with builtin operations, naming layer and reason.
        ValueError: If an argument does not fit the model, or nothing says what the pixels of an
            image model went through; nothing is written then.

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
    path = user_path(path)
    _check_path(path)
    model = without_auxiliary(load_model(model))
    ranges_known = is_quantized(model) or is_fake_quantized(model)
    row = scheme(quantization or ("int8" if ranges_known else "float32"))
    types = {
        "input_dtype": choose_dtype("input_dtype", input_dtype, row),
        "output_dtype": choose_dtype("output_dtype", output_dtype, row),
    }
    shape = input_shape(model)
    rgb = _checked_rgb(rgb, shape)

    examples = _examples(row, calibration, ranges_known)
    recorded = layers.describe(model)
    outputs = described_outputs(model)
    normalization, source = find_normalization(model, preprocessing, examples, recorded, shape)
    if normalization is not None and is_image_shape(shape):
        check_learned_range(model, normalization)
    # One mean and one deviation stand in the metadata; one a channel has no place there.
    in_graph = normalization is not None and not normalization.is_scalar

    core = (
        integer_form(in_float32(model), row.name == "int8")
        if has_baking(model)
        else with_folded_transposes(model)
    )
    if class_map:
        core = _with_class_map(core, examples, shape, normalization)
    graph = device_model(
        core, normalization=normalization if in_graph else None, rgb=rgb, batch=batch
    )
    if ranges_known and row.name == "int8":
        at_input = Normalization.identity() if in_graph else normalization
        graph = with_pixel_range(graph, at_input, own_range=graph is core)
    # Whoever gives labels wants a classifier; those of the data are not those of a vector.
    embedding = labels is None and not outputs and is_embedding(model)
    scores = None if embedding else scores_of(graph, outputs)
    names = None if scores is None else find_labels(labels, recorded, examples, scores.shape[-1])
    thresholds = _checked_thresholds(score_thresholds, scores, row)
    inputs = None
    if examples is not None and row.calibrated:
        inputs = calibration_inputs(examples, shape, normalization)
        inputs = as_the_device_sees(inputs, normalization if in_graph else None, rgb)
    with _progress(f"{path.name}: calibrating", inputs) as tick:
        content = convert(graph, row, batch=batch, calibration=inputs, progress=tick, **types)
    if class_map:
        content = in_order(content, OUTPUTS)
    elif outputs:
        content = in_order(content, {name: name for name, _ in outputs})

    file = ModelFile.read(content)
    # A grey image may come without its axis of channels; a series has no normalization of pixels.
    grey = len(shape) == 2 and normalization is not None
    image = is_image_shape(shape) or grey
    description = Description(
        name=model.name,
        image_size=(shape[0], shape[1]) if image else None,
        channels=1 if grey else file.inputs[0].shape[-1] if image else None,
        input_normalization=_input_normalization(file, normalization, in_graph),
        trained_normalization=normalization,
        normalization_in_graph=in_graph,
        labels=names,
        quantization=row.name,
        rgb=rgb,
        keras_hash=model_hash(model),
        class_map=class_map,
        embedding=embedding,
        outputs=outputs,
        score_thresholds=thresholds,
    )
    content = describe_file(content, description)
    write_bytes(path, content)
    return ExportResult(
        path=path,
        quantization=row.name,
        bytes=len(content),
        normalization=normalization,
        normalization_source=source,
        labels=names,
        float_islands=_warned_of(float_islands(file), path, row),
        keras_hash=description.keras_hash,
        seconds=time.monotonic() - started,
        class_map=_map_shape(file) if class_map else None,
    )


def _check_path(path: Path) -> None:
    """Refuse, before long work, a path that could not be written."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of the file to write")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise PermissionError(f"{path} cannot be written: {folder} is not a writable folder")


def _checked_rgb(rgb: bool | None, shape: tuple[int, ...]) -> bool:
    """Return whether the file turns RGB into grey."""
    grey = is_image_shape(shape) and shape[-1] == 1
    if rgb and not grey:
        raise ValueError(
            f"rgb=True converts colour to grey for models of one channel; this one takes {shape}"
        )
    return grey if rgb is None else rgb


def _checked_thresholds(
    given: Sequence[float] | float | None, scores: Any, row: Scheme
) -> tuple[float, ...] | None:
    """Return a threshold for each class that its scores can reach, or say what is wrong."""
    if given is None:
        return None
    if scores is None:
        raise ValueError("score_thresholds are for scores of classes, which this model has not")
    try:
        values = np.asarray(given, "float64")
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if values.ndim == 0:
        values = np.full(scores.shape[-1], values)
    if values.shape != (scores.shape[-1],) or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"score_thresholds must be {scores.shape[-1]} numbers from 0 to 1, one for each class, "
            f"or one for all; received {given!r}"
        )
    beyond = np.flatnonzero(values > row.highest_score).tolist()
    if beyond:
        warnings.warn(
            f"the thresholds of classes {beyond} are lowered to {row.highest_score:.4f}, the "
            f"highest score in {row.name}: it stands for all scores that round to it",
            stacklevel=3,
        )
    return tuple(np.minimum(values, row.highest_score).tolist())


def _examples(row: Scheme, calibration: Any, ranges_known: bool) -> Examples | None:
    """Take the examples to calibrate on; for other schemes one, for what the data says of it."""
    if ranges_known and row.name == "int16x8":
        raise ValueError(
            "the model was trained with fake quantization, whose ranges are of eight bits; export "
            "it with quantization='int8', or the float model with 'int16x8'"
        )
    if calibration is None:
        if row.calibrated and not ranges_known:
            raise ValueError(
                f"quantization={row.name!r} measures activation ranges on examples: pass "
                "calibration=, e.g. the training data"
            )
        return None
    return calibration_examples(calibration) if row.calibrated else take(calibration, 1)


def _with_class_map(
    model: keras.Model,
    examples: Examples | None,
    shape: tuple[int, ...],
    normalization: Normalization | None,
) -> keras.Model:
    """Add the map to the model, before anything is added to its input."""
    inputs = None
    if examples is not None and is_quantized(model):
        inputs = calibration_inputs(examples, shape, normalization)
    return with_class_map(in_float32(model), inputs)


def _map_shape(file: ModelFile) -> tuple[int, int, int]:
    height, width, classes = file.outputs[1].shape[1:]
    return height, width, classes


def _input_normalization(
    file: ModelFile, normalization: Normalization | None, in_graph: bool
) -> Normalization | None:
    """Return what a reader of the file has to do to pixels, None if it takes none.

    For eight-bit inputs that is what the tensor's scale and zero point say: then a pixel p is
    stored as p, also where the mean in training was not a whole grey level.
    """
    if normalization is None:
        return None
    if in_graph:
        return Normalization.identity()
    tensor = file.inputs[0]
    offset = {"uint8": 0, "int8": 128}.get(tensor.dtype)
    if offset is None:
        return Normalization(normalization.mean[0], normalization.std[0])
    return Normalization(tensor.zero_points[0] + offset, 1 / tensor.scales[0])


def _warned_of(islands: tuple[str, ...], path: Path, row: Scheme) -> tuple[str, ...]:
    """Return the float islands of a file that was to be all integer, after a warning."""
    if row.name != "int8":
        return ()
    if islands:
        warnings.warn(
            f"{path.name} is not all integer: {', '.join(islands)} stay in float, because the "
            "converter has no integer kernel for them",
            stacklevel=3,
        )
    return islands


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


@contextmanager
def _progress(task: str, examples: np.ndarray | None) -> Iterator[Callable[[int], None] | None]:
    """Show a bar while calibrating; nothing where there is no terminal or nothing to count."""
    if examples is None or not sys.stdout.isatty():
        yield None
        return
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        number = bar.add_task(task, total=len(examples))
        yield lambda done: bar.update(number, completed=done)
