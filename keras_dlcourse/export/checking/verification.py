"""Verify that what was trained is what runs: Keras and the device runtime on the same examples."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_dlcourse import layers
from keras_dlcourse._files import user_path
from keras_dlcourse.data import Examples, take
from keras_dlcourse.edge import ModelFile
from keras_dlcourse.edge.description.layouts import DETECTION
from keras_dlcourse.edge.runtime.interpreter import runtime_name
from keras_dlcourse.edge.runtime.latency import measure
from keras_dlcourse.export.checking.causes import EXAMPLES, Case, describe_weights, find_cause
from keras_dlcourse.export.checking.inspection import own_record, read_inputs
from keras_dlcourse.export.checking.kernels import find_kernels, measure_likeness
from keras_dlcourse.export.checking.output_pairs import Pair, compare_outputs
from keras_dlcourse.export.checking.roads import find_road
from keras_dlcourse.export.conversion.device_model import model_hash
from keras_dlcourse.export.conversion.sources import load_model
from keras_dlcourse.export.conversion.structure import arrange_inputs, list_inputs, pack_inputs
from keras_dlcourse.export.outputs import KINDS
from keras_dlcourse.export.outputs.kind import FLOAT, HALF, Figures
from keras_dlcourse.export.outputs.limits import check_limits, find_missed_limits
from keras_dlcourse.export.outputs.storage import storage_of
from keras_dlcourse.models import without_auxiliary

LATENCY_RUNS = 30
Limit = float | None


class VerificationError(AssertionError):
    """Raised if a `.tflite` file differs from its Keras model by more than is allowed."""


@dataclass(frozen=True)
class ComparedOutput:
    """How closely one output of a `.tflite` file matches that of Keras.

    Errors are differences between the two models' outputs. A quantization step is the scale of the
    file's output tensor.

    Attributes:
        name: Its name; empty if the file has only one.
        kind: `"classes"`, `"labels"` (each value is a yes or no), `"embedding"`, `"segmentation"`,
            `"detection"`, `"box"`, `"keypoints"`, `"class_map"`, or `"numbers"`.
        figures: What was measured, by name; what could not be measured is missing. `max_error` and
            `mean_error`, also in steps (`max_error_steps`) and as a fraction of the largest score,
            or of the range of each other number in the outputs of Keras (`max_relative_error`);
            `agreement`, the fraction of equal answers, `class_agreement`, its mean over the answers
            of Keras, so that rare and common classes count the same, and, with labels,
            `keras_accuracy`, `accuracy` and `accuracy_loss`; `min_cosine` and `mean_cosine`; of
            masks `mask_iou`, the mean over classes of the IoU of Keras's mask and the file's, and,
            with labels, `keras_iou`, `iou` and `iou_loss`; of detections `matched`, the fraction of
            boxes with a score of at least 0.3 on either side that are also on the other one, with
            the same class and an IoU of at least 0.5, `box_iou`, the mean of that IoU, and the
            errors of the scores, where a box without a partner counts with its whole score in
            `mean_error`.
        limits: The limits that apply.
        failures: Each limit that is not met, with the measured value.
        positions: Whether it gives an answer at several positions: masks, sequences.
        by_class: The figures of the masks of each class, by its name: `mask_iou`, `keras_iou` and
            `iou`; empty for other kinds.
    """

    name: str
    kind: str
    figures: dict[str, float]
    limits: dict[str, float | None]
    failures: tuple[str, ...]
    positions: bool = False
    by_class: dict[str, dict[str, float]] = field(default_factory=dict)

    def rows(self) -> list[list[str]]:
        """Return the rows of the table."""
        before = f"{self.name}: " if self.name and self.kind != "class_map" else ""
        rows, kind = [], KINDS[self.kind]
        for title, *rest in [*kind.rows(self.figures), *kind.class_rows(self.by_class)]:
            where = " at a position" if self.positions and title.startswith("same ") else ""
            rows.append([f"{before}{title}{where}", *rest])
        return rows


def _figure(name: str, text: str) -> Any:
    """Return a property: a figure of the first output, None if it was not measured."""
    return property(
        lambda self: self.outputs[0].figures.get(name), doc=f"{text} of the first output."
    )


@dataclass(frozen=True)
class Verification:
    """Result of `verify`: how closely a `.tflite` file matches the Keras model it was made from.

    The figures of the first output are also attributes, such as `agreement`, `accuracy`,
    `max_error` and `max_error_steps`; None if they could not be measured.

    Attributes:
        path: Path of the file.
        quantization: Quantization scheme of the file, if recorded in it.
        runtime: The runtime that ran the file.
        examples: Number of examples compared.
        from_pixels: Whether the file was given pixels, as on a device.
        outputs: The comparison of each output, in the order of the file.
        cause: Why the file does not agree; None if it does.
        keras_bytes: Size of the Keras model's weights in memory.
        bytes: Size of the file.
        keras_latency_ms: Time of Keras for one image, median.
        latency_ms: Time of the runtime for one image, on one thread, median.
        latency_p90_ms: 90th percentile of the runtime's time for one image.
        same_weights: Whether the file was made from exactly these weights; None if the file does
            not record it.
        notes: What could not be measured, and why; and what the file was made from, if not from
            exactly these weights.
    """

    path: Path
    quantization: str | None
    runtime: str
    examples: int
    from_pixels: bool
    outputs: tuple[ComparedOutput, ...]
    cause: str | None
    keras_bytes: int
    bytes: int
    keras_latency_ms: float
    latency_ms: float
    latency_p90_ms: float
    same_weights: bool | None
    notes: tuple[str, ...] = ()

    max_error = _figure("max_error", "Largest absolute difference")
    mean_error = _figure("mean_error", "Mean absolute difference")
    max_error_steps = _figure("max_error_steps", "`max_error` in quantization steps")
    mean_error_steps = _figure("mean_error_steps", "`mean_error` in quantization steps")
    max_relative_error = _figure("max_relative_error", "`max_error` as a fraction of the range")
    mean_relative_error = _figure("mean_relative_error", "`mean_error` as such a fraction")
    agreement = _figure("agreement", "Fraction of equal answers")
    class_agreement = _figure("class_agreement", "Mean of that fraction over the answers")
    keras_accuracy = _figure("keras_accuracy", "Accuracy of Keras")
    accuracy = _figure("accuracy", "Accuracy of the file")
    accuracy_loss = _figure("accuracy_loss", "`keras_accuracy` minus `accuracy`")
    mask_iou = _figure("mask_iou", "IoU of the masks of both, mean over classes,")
    keras_iou = _figure("keras_iou", "Mean IoU of Keras and the labels")
    iou = _figure("iou", "Mean IoU of the file and the labels")
    iou_loss = _figure("iou_loss", "`keras_iou` minus `iou`")
    matched = _figure("matched", "Fraction of boxes of either side that are also on the other one,")
    box_iou = _figure("box_iou", "Mean IoU of the boxes that are on both sides")
    min_cosine = _figure("min_cosine", "Smallest cosine between the vectors")
    mean_cosine = _figure("mean_cosine", "Mean cosine between the vectors")

    @property
    def kind(self) -> str:
        """The kind of the first output."""
        return self.outputs[0].kind

    @property
    def limits(self) -> dict[str, float | None]:
        """The limits of the first output."""
        return self.outputs[0].limits

    @property
    def positions(self) -> bool:
        """Whether the first output gives an answer at several positions: masks, sequences."""
        return self.outputs[0].positions

    @property
    def failures(self) -> tuple[str, ...]:
        """Each limit that is not met, with the measured value and the name of the output."""
        return tuple(
            f"{one.name}: {failure}" if one.name else failure
            for one in self.outputs
            for failure in one.failures
        )

    @property
    def max_map_error(self) -> float | None:
        """Largest absolute difference of the class map, None without one."""
        return self._map_figure("max_error")

    @property
    def max_map_error_steps(self) -> float | None:
        """The same in quantization steps of the map."""
        return self._map_figure("max_error_steps")

    def _map_figure(self, name: str) -> float | None:
        found = (one.figures.get(name) for one in self.outputs if one.kind == "class_map")
        return next(found, None)

    @property
    def coordinate_errors(self) -> dict[str, tuple[float, float]]:
        """Largest and mean absolute difference of each output after the first, and of coordinates.

        By name; those of boxes and keypoints are fractions of the image or of the box.
        """
        return {
            one.name: (one.figures["max_error"], one.figures["mean_error"])
            for number, one in enumerate(self.outputs)
            if one.kind != "class_map" and (number or one.kind in ("box", "keypoints"))
        }

    @property
    def passed(self) -> bool:
        """Whether the file agrees with the Keras model."""
        return self.cause is None

    @property
    def verdict(self) -> str:
        """The last line of the table: "agrees", or "does not agree" and the cause."""
        return "agrees" if self.cause is None else f"does not agree: {self.cause}"

    @property
    def is_multilabel(self) -> bool:
        """Whether each value of the first output is a yes or no of its own."""
        return self.kind == "labels"

    @property
    def size_ratio(self) -> float:
        """Size of the Keras weights divided by the size of the file."""
        return self.keras_bytes / self.bytes

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-able values, those of the first output beside the others."""
        return asdict(self) | {
            "path": str(self.path),
            "size_ratio": self.size_ratio,
            "passed": self.passed,
            "is_multilabel": self.is_multilabel,
            **{name: getattr(self, name) for name in _OF_FIRST},
        }

    def require(self, **limits: float | None) -> Verification:
        """Raise an error if the first output does not meet a limit; return the verification itself.

        Args:
            **limits: Any of the limits of `verify`, e.g. `min_agreement=0.97`; they are applied
                exactly.

        Raises:
            VerificationError: If a limit is not met; names every such limit.
            ValueError: If a limit is unknown, or given for a figure that was not measured.
        """
        figures = Figures(self.outputs[0].figures)
        check_limits(limits, figures)
        missed = find_missed_limits(figures, {}, limits)
        if missed:
            raise VerificationError(f"{self.path} does not meet these limits: {'; '.join(missed)}")
        return self

    def __str__(self) -> str:
        from keras_dlcourse._tables import text_table

        rows = [row for one in self.outputs for row in one.rows()]
        rows += [
            [
                "size in bytes",
                f"{self.keras_bytes:,}",
                f"{self.bytes:,} ({_times(self.size_ratio)})",
            ],
            ["one image, median", f"{self.keras_latency_ms:.2f} ms", f"{self.latency_ms:.2f} ms"],
        ]
        way = "from pixels" if self.from_pixels else "from arrays"
        title = f"{self.path} on {self.runtime}, {self.examples:,} examples, {way}"
        lines = [text_table(["", "Keras", self.quantization or "file"], rows, title=title)]
        lines += self.notes
        if self.failures:
            lines.append(f"limits not met: {'; '.join(self.failures)}")
        return "\n".join([*lines, self.verdict])


_OF_FIRST = (
    "kind", "limits", "positions", "failures", "coordinate_errors", "max_map_error",
    "max_map_error_steps", "max_error", "mean_error", "max_error_steps", "mean_error_steps",
    "max_relative_error", "mean_relative_error", "agreement", "class_agreement", "keras_accuracy",
    "accuracy", "accuracy_loss", "mask_iou", "keras_iou", "iou", "iou_loss", "matched", "box_iou",
    "min_cosine", "mean_cosine",
)  # fmt: skip


def _times(ratio: float) -> str:
    return f"{ratio:.2f}x smaller" if ratio >= 1 else f"{1 / ratio:.2f}x larger"


def verify(
    model: keras.Model | str | os.PathLike[str],
    path: str | os.PathLike[str],
    data: Any,
    *,
    limit: int | None = None,
    limits: Mapping[str, Limit | Mapping[str, Limit]] | None = None,
) -> Verification:
    """Compare Keras and the device runtime on the same examples, and judge whether they agree.

    If `data` carries pixels (a `kd.data.pipeline`, or uint8 arrays for a model that takes raw
    pixels), the file gets the pixels, as on a device, and Keras gets the pipeline's output; this
    tests the file's normalization too. Arrays that the file's normalization can produce from pixels
    are converted back to pixels. Other arrays are quantized for the file's input; the file does not
    agree with arrays that its normalization cannot produce.

    The file agrees if each output is within the limits for its kind:

    | | float32 | float16, dynamic | int8, int16x8 |
    |---|---|---|---|
    | scores of classes or labels, also of sequences | `max_relative_error` 0.001 | \
`min_class_agreement` 0.97, `max_accuracy_loss` 0.01, `max_mean_relative_error` 0.02 | \
0.95, 0.02, 0.1 |
    | masks of a segmenter | `max_error` 0.001, `min_mask_iou` 0.99 | \
`min_class_agreement` 0.97, `min_mask_iou` 0.95, `max_iou_loss` 0.01, \
`max_mean_relative_error` 0.02 | 0.95, 0.85, 0.02, 0.1 |
    | boxes of a detector | `max_error` 0.001, `min_matched` 0.99, `min_box_iou` 0.99 | \
`min_matched` 0.97, `min_box_iou` 0.95, `max_mean_relative_error` 0.02 | 0.9, 0.85, 0.1 |
    | embeddings | `min_cosine` 0.9999 | `min_cosine` 0.98, `min_mean_cosine` 0.99 | 0.9, 0.97 |
    | other numbers | `max_relative_error` 0.001 | `max_mean_relative_error` 0.02 | 0.05 |

    The default limits for agreement and accuracy allow for the random error of a small sample (2.33
    standard errors). If the file does not agree, the cause is searched for: other weights,
    normalization, channel order, labels in another order, values outside the int8 range. Arrays and
    class names that do not fit the file are a cause even if the outputs agree; so are values that
    share an integer tensor with others whose range is much larger, as scores do with boxes in
    pixels.

    Args:
        model: The Keras model, or the path of its `.keras` file or SavedModel folder.
        path: The `.tflite` file, or the result of `to_tflite`.
        data: Anything that `fit` takes; if it has matching labels, accuracies are measured too.
            They are too high on examples that the model was trained on, which this function cannot
            know: `kd.training.find_held_out` returns the images that a run held out.
        limit: Maximum number of examples to compare, taken from the start; None for all.
        limits: Limits by name that replace or extend the default ones, applied exactly; None as a
            value removes a limit. `max_error`, `max_error_steps` and `min_agreement` can be given
            as well. They apply to every output that has the figure; those of one output are given
            by its name, e.g. `{"box": {"max_error": 0.05}}`.

    Returns:
        A `Verification`, which holds the figures and prints as a table whose last line is "agrees",
        or "does not agree" with the cause; see `passed`.

    Raises:
        ValueError: If there are no examples, or model, file and data do not fit together, e.g. if
            data and file have different normalizations.

    Example:
        >>> print(kd.export.verify(model, "model.int8.tflite", data.test))  # doctest: +SKIP
    """
    model = without_auxiliary(load_model(model))
    examples = take(data, limit, several_inputs=len(list_inputs(model)) > 1)
    inputs = _list_values(model, examples)
    file = ModelFile.read(os.fspath(path))
    _check_inputs(model, file)
    road = find_road(file, examples, inputs)
    device = road.device(file)
    pairs, notes = compare_outputs(model, file, inputs, examples.labels, device)
    storage = storage_of(file)
    if storage == FLOAT and _computes_in_half(model):
        storage = HALF
    outputs = _judge(pairs, storage, dict(limits or {}))
    record = own_record(file)
    same_weights = record["keras_hash"] == model_hash(model) if "keras_hash" in record else None
    failed = [number for number, one in enumerate(outputs) if one.failures]
    number = failed[0] if failed else 0
    unsure = same_weights is False or (failed and same_weights is None)
    likeness = _find_likeness(model, file) if unsure else None
    cause = find_cause(
        Case(
            failed=bool(failed),
            file=file,
            road=road,
            number=number,
            output=pairs[number].output,
            compared=pairs[number].compared.take_first(EXAMPLES),
            read=pairs[number].read,
            kind=KINDS[outputs[number].kind],
            storage=storage,
            same_weights=same_weights,
            likeness=likeness,
            class_names=_class_names(model, examples),
        )
    )
    if same_weights is False and cause is None:
        said = describe_weights(likeness)
        notes = (*notes, f"{said[0].upper()}{said[1:]}.")
    one = pack_inputs(model, [values[:1] for values in inputs])
    keras_latency = measure(
        lambda: model.predict_on_batch(one), LATENCY_RUNS, keras.backend.backend()
    )
    latency = measure(lambda: device(0), LATENCY_RUNS, runtime_name(), threads=1)
    return Verification(
        path=user_path(path),
        quantization=record.get("quantization"),
        runtime=runtime_name(),
        examples=len(examples),
        from_pixels=road.pixels is not None,
        outputs=outputs,
        cause=cause,
        keras_bytes=sum(int(np.prod(w.shape)) * _item_size(w.dtype) for w in model.weights),
        bytes=len(file.content),
        keras_latency_ms=keras_latency.median_ms,
        latency_ms=latency.median_ms,
        latency_p90_ms=latency.p90_ms,
        same_weights=same_weights,
        notes=notes,
    )


def _list_values(model: keras.Model, examples: Examples) -> tuple[np.ndarray, ...]:
    """Return the values of each input, after checking that they fit the model."""
    inputs = arrange_inputs(model, examples.inputs)
    for one, values in zip(list_inputs(model), inputs, strict=True):
        if values.shape[1:] != one.shape:
            raise ValueError(
                f"data must have examples of the model's input shape {one.shape}. Received: "
                f"examples of shape {values.shape[1:]}"
            )
    return inputs


def _check_inputs(model: keras.Model, file: ModelFile) -> None:
    """Raise ValueError unless the file has as many inputs as the model, with the same names."""
    names = [one.name for one in list_inputs(model)]
    found = [one.name for one in read_inputs(file)]
    if len(names) != len(found) or (len(names) > 1 and names != found):
        raise ValueError(
            f"the Keras model has the inputs {', '.join(names)}, but {file.what} has "
            f"{', '.join(found) or 'one without a name'}: they are not the same model"
        )


def _judge(
    pairs: list[Pair], storage: str, limits: dict[str, Limit | Mapping[str, Limit]]
) -> tuple[ComparedOutput, ...]:
    """Measure each output, and find which limits it does not meet."""
    figures = [KINDS[pair.output.kind].measure(pair.compared) for pair in pairs]
    given = _limits_by_output([pair.output.name for pair in pairs], figures, limits)
    judged = []
    for pair, found, own in zip(pairs, figures, given, strict=True):
        defaults = KINDS[pair.output.kind].limits[storage]
        judged.append(
            ComparedOutput(
                name=pair.output.name,
                kind=pair.output.kind,
                figures=found.values,
                limits={**defaults, **own},
                failures=find_missed_limits(found, defaults, own),
                positions=pair.output.kind != DETECTION
                and math.prod(pair.compared.ours.shape[1:-1]) > 1,
                by_class=found.by_class,
            )
        )
    return tuple(judged)


def _limits_by_output(
    names: list[str], figures: list[Figures], limits: dict[str, Limit | Mapping[str, Limit]]
) -> list[dict[str, Limit]]:
    """Return the limits given for each output, after checking them."""
    own = {name: dict(value) for name, value in limits.items() if isinstance(value, Mapping)}
    if strange := sorted(set(own) - set(names)):
        raise ValueError(
            f"limits of single outputs must have names of outputs as keys: {', '.join(names)}. "
            f"Received: {', '.join(strange)}"
        )
    every = {name: value for name, value in limits.items() if not isinstance(value, Mapping)}
    check_limits(every, Figures({k: v for found in figures for k, v in found.values.items()}))
    for name, found in zip(names, figures, strict=True):
        check_limits(own.get(name, {}), found)
    return [{**every, **own.get(name, {})} for name in names]


def _find_likeness(model: keras.Model, file: ModelFile) -> float | None:
    kernels = find_kernels(model)
    return None if kernels is None else measure_likeness(kernels, file)


def _class_names(model: keras.Model, examples: Examples) -> dict[str, tuple[str, ...]]:
    """Return the class names by their source: the data or the model."""
    recorded = layers.describe(model)
    names = {
        "the data": examples.class_names,
        "the model": None if recorded is None else recorded.class_names,
    }
    return {whose: tuple(given) for whose, given in names.items() if given is not None}


def _computes_in_half(model: keras.Model) -> bool:
    return any(layer.compute_dtype in ("float16", "bfloat16") for layer in model._flatten_layers())


def _item_size(dtype: str) -> int:
    return 2 if "16" in dtype else np.dtype(dtype).itemsize
