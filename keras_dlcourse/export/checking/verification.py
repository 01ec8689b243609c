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
from keras_dlcourse.edge.runtime.interpreter import runtime_name
from keras_dlcourse.edge.runtime.latency import measure
from keras_dlcourse.edge.tflite.metadata import CLASS_MAP
from keras_dlcourse.export.checking.causes import EXAMPLES, Case, find_cause
from keras_dlcourse.export.checking.inspection import own_record
from keras_dlcourse.export.checking.output_kinds import (
    FLOAT,
    HALF,
    KINDS,
    LIMITS,
    Figures,
    check_limits,
    find_missed_limits,
    storage_of,
)
from keras_dlcourse.export.checking.output_pairs import compare_outputs
from keras_dlcourse.export.checking.roads import find_road
from keras_dlcourse.export.conversion.device_model import input_shape, model_hash
from keras_dlcourse.export.conversion.sources import load_model

LATENCY_RUNS = 30


class VerificationError(AssertionError):
    """Raised if a `.tflite` file differs from its Keras model by more than is allowed."""


@dataclass(frozen=True)
class Verification:
    """Result of `verify`: how closely a `.tflite` file matches the Keras model it was made from.

    Errors are differences between the two models' outputs. A quantization step is the scale of the
    file's output tensor; without one, errors in steps are None. Latencies are medians for one
    image.

    Attributes:
        path: Path of the file.
        quantization: Quantization scheme of the file, if recorded in it.
        runtime: The runtime that ran the file.
        examples: Number of examples compared.
        from_pixels: Whether the file was given pixels, as on a device.
        kind: What the first output holds: `"classes"`, `"labels"` (each value is a yes or no),
            `"embedding"`, or `"numbers"`.
        cause: Why the file does not agree; None if it does.
        failures: Each limit that is not met, with the measured value.
        limits: The limits for the first output.
        notes: What could not be measured, and why.
        max_error: Largest absolute difference.
        mean_error: Mean absolute difference.
        max_error_steps: `max_error` in quantization steps.
        mean_error_steps: `mean_error` in quantization steps.
        max_relative_error: Largest difference as a fraction of the largest score; for other
            numbers, as a fraction of the range of each number in the outputs of Keras.
        mean_relative_error: Mean difference as such a fraction; with several numbers, the mean of
            the worst one.
        agreement: Fraction of equal answers: top classes, or for multi-label images the labels on
            which both agree; for masks and sequences, at each position. None for embeddings and
            other numbers.
        class_agreement: The mean of that fraction over the answers that Keras gives, so that rare
            and common classes count the same. Answers with a margin below a quantization step are
            excluded.
        keras_accuracy: Accuracy of the Keras model, None without labels; for multi-label images,
            accuracy over all labels.
        accuracy: Accuracy of the file.
        keras_bytes: Size of the Keras model's weights in memory.
        bytes: Size of the file.
        keras_latency_ms: Time of Keras for one image.
        latency_ms: Time of the runtime for one image, on one thread.
        latency_p90_ms: 90th percentile of the runtime's time for one image.
        accuracy_loss: `keras_accuracy` minus `accuracy`.
        same_weights: Whether the file was made from exactly these weights; None if the file does
            not record it.
        max_map_error: For a file with class maps, their largest absolute difference over the first
            100 examples; else None.
        max_map_error_steps: The same in quantization steps of the map.
        min_cosine: For embeddings, the smallest cosine between the two models' vectors; else None.
        mean_cosine: The mean of these cosines.
        coordinate_errors: For a file with several outputs, the largest and the mean absolute
            difference of each after the first, by its name; those of boxes and keypoints as a
            fraction of the image or of the box.
        positions: Whether the first output gives an answer at several positions: masks, sequences.
    """

    path: Path
    quantization: str | None
    runtime: str
    examples: int
    from_pixels: bool
    kind: str
    cause: str | None
    failures: tuple[str, ...]
    limits: dict[str, float | None]
    keras_bytes: int
    bytes: int
    keras_latency_ms: float
    latency_ms: float
    latency_p90_ms: float
    same_weights: bool | None
    max_error: float
    mean_error: float
    max_relative_error: float
    mean_relative_error: float
    max_error_steps: float | None = None
    mean_error_steps: float | None = None
    agreement: float | None = None
    class_agreement: float | None = None
    keras_accuracy: float | None = None
    accuracy: float | None = None
    accuracy_loss: float | None = None
    min_cosine: float | None = None
    mean_cosine: float | None = None
    max_map_error: float | None = None
    max_map_error_steps: float | None = None
    coordinate_errors: dict[str, tuple[float, float]] = field(default_factory=dict)
    positions: bool = False
    notes: tuple[str, ...] = ()

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
        """Return the figures as JSON-able values."""
        return asdict(self) | {
            "path": str(self.path),
            "size_ratio": self.size_ratio,
            "passed": self.passed,
            "is_multilabel": self.is_multilabel,
        }

    def require(self, **limits: float | None) -> Verification:
        """Raise an error if a limit is not met; return the verification itself.

        Args:
            **limits: Any of the limits of `verify`, e.g. `min_agreement=0.97`; they are applied
                exactly.

        Raises:
            VerificationError: If a limit is not met; names every such limit.
            ValueError: If a limit is unknown, or given for a figure that was not measured.
        """
        values = {figure: getattr(self, figure) for figure, _ in LIMITS.values()}
        figures = Figures({name: value for name, value in values.items() if value is not None})
        check_limits(limits, figures)
        missed = find_missed_limits(figures, {}, limits)
        if missed:
            raise VerificationError(f"{self.path} does not meet these limits: {'; '.join(missed)}")
        return self

    def __str__(self) -> str:
        from keras_dlcourse._tables import text_table

        rows = [
            *self._answer_rows(),
            [
                "size in bytes",
                f"{self.keras_bytes:,}",
                f"{self.bytes:,} ({_times(self.size_ratio)})",
            ],
            ["one image, median", f"{self.keras_latency_ms:.2f} ms", f"{self.latency_ms:.2f} ms"],
            [
                "largest error",
                "",
                _error(self.max_error, self.max_error_steps, self.max_relative_error),
            ],
            [
                "mean error",
                "",
                _error(self.mean_error, self.mean_error_steps, self.mean_relative_error),
            ],
        ]
        if self.max_map_error is not None:
            error = _error(self.max_map_error, self.max_map_error_steps)
            rows.append(["largest error of the class map", "", error])
        for name, (largest, mean) in self.coordinate_errors.items():
            rows.append([f"{name}: largest, mean error", "", f"{largest:.4f}, {mean:.4f}"])
        way = "from pixels" if self.from_pixels else "from arrays"
        title = f"{self.path} on {self.runtime}, {self.examples:,} examples, {way}"
        lines = [text_table(["", "Keras", self.quantization or "file"], rows, title=title)]
        lines += self.notes
        if self.same_weights is False and self.passed:
            lines.append("The file was made from weights other than this model's.")
        if self.failures:
            lines.append(f"limits not met: {'; '.join(self.failures)}")
        return "\n".join([*lines, self.verdict])

    def _answer_rows(self) -> list[list[str]]:
        """Return the rows on how both models' answers compare: by class, or by direction."""
        if self.agreement is not None:
            same = KINDS[self.kind].same + (" at a position" if self.positions else "")
            return [
                ["accuracy", _percent(self.keras_accuracy), _percent(self.accuracy)],
                [same, "", _percent(self.agreement)],
                ["the same, mean over classes", "", _percent(self.class_agreement)],
            ]
        if self.min_cosine is None or self.mean_cosine is None:
            return []
        return [
            ["smallest cosine", "", f"{self.min_cosine:.5f}"],
            ["mean cosine", "", f"{self.mean_cosine:.5f}"],
        ]


def _times(ratio: float) -> str:
    return f"{ratio:.2f}x smaller" if ratio >= 1 else f"{1 / ratio:.2f}x larger"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def _error(error: float, steps: float | None, share: float | None = None) -> str:
    more = [] if steps is None else [f"{steps:.2f} steps"]
    more += [] if share is None else [f"{share:.2g} of the range"]
    return f"{error:.3g}" + (f" ({', '.join(more)})" if more else "")


def verify(
    model: keras.Model | str | os.PathLike[str],
    path: str | os.PathLike[str],
    data: Any,
    *,
    limit: int | None = None,
    limits: Mapping[str, float | None] | None = None,
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
    | scores of classes or labels, also of masks and sequences | `max_relative_error` 0.001 | \
`min_class_agreement` 0.97, `max_accuracy_loss` 0.01, `max_mean_relative_error` 0.02 | \
0.95, 0.02, 0.1 |
    | embeddings | `min_cosine` 0.9999 | `min_cosine` 0.98, `min_mean_cosine` 0.99 | 0.9, 0.97 |
    | other numbers | `max_relative_error` 0.001 | `max_mean_relative_error` 0.02 | 0.05 |

    The default limits for agreement and accuracy allow for the random error of a small sample (2.33
    standard errors). If the file does not agree, the cause is searched for: other weights,
    normalization, channel order, labels in another order, values outside the int8 range. Arrays and
    class names that do not fit the file are a cause even if the outputs agree.

    Args:
        model: The Keras model, or the path of its `.keras` file or SavedModel folder.
        path: The `.tflite` file, or the result of `to_tflite`.
        data: Anything that `fit` takes; if it has matching labels, accuracies are measured too.
        limit: Maximum number of examples to compare, taken from the start; None for all.
        limits: Limits by name that replace or extend the default ones, applied exactly; None as a
            value removes a limit. `max_error`, `max_error_steps` and `min_agreement` can be given
            as well.

    Returns:
        A `Verification`, which holds the figures and prints as a table whose last line is "agrees",
        or "does not agree" with the cause; see `passed`.

    Raises:
        ValueError: If there are no examples, or model, file and data do not fit together, e.g. if
            data and file have different normalizations.

    Example:
        >>> print(kd.export.verify(model, "model.int8.tflite", data.test))  # doctest: +SKIP
    """
    model = load_model(model)
    examples = take(data, limit)
    expected = input_shape(model)
    if examples.inputs.shape[1:] != expected:
        raise ValueError(
            f"data must have examples of the model's input shape {expected}. Received: examples of "
            f"shape {examples.inputs.shape[1:]}"
        )
    file = ModelFile.read(os.fspath(path))
    road = find_road(file, examples)
    device = road.device(file)
    outputs, note = compare_outputs(model, file, examples, device)
    storage = storage_of(file)
    if storage == FLOAT and _computes_in_half(model):
        storage = HALF
    main, given = outputs[0], dict(limits or {})
    figures = [KINDS[one.kind].measure(one.compared) for one in outputs]
    check_limits(given, figures[0])
    failures = [
        f"{one.name}: {failure}" if one.name else failure
        for one, found in zip(outputs, figures, strict=True)
        for failure in find_missed_limits(found, KINDS[one.kind].limits[storage], given)
    ]
    record = own_record(file)
    same_weights = record["keras_hash"] == model_hash(model) if "keras_hash" in record else None
    cause = find_cause(
        Case(
            failed=bool(failures),
            file=file,
            road=road,
            compared=main.compared.take_first(EXAMPLES),
            kind=KINDS[main.kind],
            storage=storage,
            same_weights=same_weights,
            class_names=_class_names(model, examples),
        )
    )
    keras_latency = measure(
        lambda: model.predict_on_batch(examples.inputs[:1]), LATENCY_RUNS, keras.backend.backend()
    )
    latency = measure(lambda: device(0), LATENCY_RUNS, runtime_name(), threads=1)
    others = {one.name: found.values for one, found in zip(outputs, figures, strict=True)}
    maps = others.get(CLASS_MAP, {})
    return Verification(
        path=user_path(path),
        quantization=record.get("quantization"),
        runtime=runtime_name(),
        examples=len(main.compared.ours),
        from_pixels=road.pixels is not None,
        kind=main.kind,
        cause=cause,
        failures=tuple(failures),
        limits={**KINDS[main.kind].limits[storage], **given},
        keras_bytes=sum(int(np.prod(w.shape)) * _item_size(w.dtype) for w in model.weights),
        bytes=len(file.content),
        keras_latency_ms=keras_latency.median_ms,
        latency_ms=latency.median_ms,
        latency_p90_ms=latency.p90_ms,
        same_weights=same_weights,
        **figures[0].values,
        max_map_error=maps.get("max_error"),
        max_map_error_steps=maps.get("max_error_steps"),
        coordinate_errors={
            one.name: (found.values["max_error"], found.values["mean_error"])
            for one, found in zip(outputs, figures, strict=True)
            if one.name in file.metadata.places or one.name not in ("", CLASS_MAP, main.name)
        },
        positions=math.prod(main.compared.ours.shape[1:-1]) > 1,
        notes=() if note is None else (note,),
    )


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
