"""Proof that what was trained is what runs: Keras and the device runtime on the same examples."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_dlcourse._files import user_path
from keras_dlcourse.data import Examples, take
from keras_dlcourse.data.multilabel import multi_hot, names_one_class
from keras_dlcourse.edge import ModelFile
from keras_dlcourse.edge.graph import Tensor
from keras_dlcourse.edge.image_model import ImageModel
from keras_dlcourse.edge.latency import measure
from keras_dlcourse.edge.metadata import CLASS_MAP, EMBEDDING
from keras_dlcourse.edge.quantization import dequantize, quantize
from keras_dlcourse.edge.runtime import interpreter, runtime_name
from keras_dlcourse.export.class_map import class_maps
from keras_dlcourse.export.device_model import as_the_device_sees, input_shape, model_hash
from keras_dlcourse.export.inspection import in_graph, own_record
from keras_dlcourse.export.sources import load_model
from keras_dlcourse.graph.head import is_embedding

LATENCY_RUNS = 30
MAP_EXAMPLES = 100  # maps are compared on so many: they are large


class VerificationError(AssertionError):
    """A `.tflite` file that differs from its Keras model by more than was allowed."""


@dataclass(frozen=True)
class Verification:
    """How far a `.tflite` file is from the Keras model it was made of.

    Errors are between the two models' outputs. A quantization step is the scale of the file's
    output tensor; without one, errors in steps are None. Latencies are medians for one image.

    Attributes:
        path: The file.
        quantization: How numbers are stored in it, if it says so.
        runtime: What ran it.
        examples: How many examples were compared.
        max_error: Largest absolute difference.
        mean_error: Mean absolute difference.
        max_error_steps: `max_error` in quantization steps.
        mean_error_steps: `mean_error` in quantization steps.
        agreement: Share of examples with the same top class; for images with any number of labels
            the share of labels on which both agree; None for embeddings and other numbers.
        keras_accuracy: Accuracy of the Keras model, None without labels; likewise of each label.
        accuracy: Accuracy of the file.
        keras_bytes: Size of the Keras model's weights in memory.
        bytes: Size of the file.
        keras_latency_ms: Time of Keras for one image.
        latency_ms: Time of the runtime for one image, on one thread.
        latency_p90_ms: Nine of ten images took no longer.
        same_weights: Whether the file was made of exactly these weights; None if it does not say.
        max_map_error: For a file with class maps, their largest absolute difference over the first
            100 examples; else None.
        max_map_error_steps: The same in quantization steps of the map.
        min_cosine: For embeddings, the least cosine between the two models' vectors; else None.
        mean_cosine: The mean of these cosines.
        is_multilabel: Whether images have any number of labels: the labels say so, or the file has
            thresholds of scores and the labels are no class numbers. Likewise of one score that is
            for a thing that is there (1) or not (0).
        coordinate_errors: For a file with boxes or keypoints, the largest and the mean absolute
            difference of each, by the name of the output; in shares of the image or of the box.
    """

    path: Path
    quantization: str | None
    runtime: str
    examples: int
    max_error: float
    mean_error: float
    max_error_steps: float | None
    mean_error_steps: float | None
    agreement: float | None
    keras_accuracy: float | None
    accuracy: float | None
    keras_bytes: int
    bytes: int
    keras_latency_ms: float
    latency_ms: float
    latency_p90_ms: float
    same_weights: bool | None
    max_map_error: float | None = None
    max_map_error_steps: float | None = None
    min_cosine: float | None = None
    mean_cosine: float | None = None
    is_multilabel: bool = False
    coordinate_errors: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def size_ratio(self) -> float:
        """How many times smaller the file is than the Keras weights."""
        return self.keras_bytes / self.bytes

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-able values."""
        return asdict(self) | {"path": str(self.path), "size_ratio": self.size_ratio}

    def require(
        self,
        *,
        max_error: float | None = None,
        max_error_steps: float | None = None,
        min_agreement: float | None = None,
        max_accuracy_loss: float | None = None,
        min_cosine: float | None = None,
    ) -> Verification:
        """Raise an error if a limit is passed; return the verification itself.

        Args:
            max_error: Largest absolute difference allowed.
            max_error_steps: The same in quantization steps.
            min_agreement: Smallest share of equal top classes, from 0 to 1.
            max_accuracy_loss: How much accuracy may fall, from 0 to 1.
            min_cosine: Smallest cosine allowed between an embedding and that of Keras.

        Raises:
            VerificationError: Naming every limit that is passed.
            ValueError: If a limit is given for a figure that could not be measured.
        """
        loss = None
        if self.accuracy is not None and self.keras_accuracy is not None:
            loss = self.keras_accuracy - self.accuracy
        limits = (
            ("max_error", self.max_error, max_error, 1),
            ("max_error_steps", self.max_error_steps, max_error_steps, 1),
            ("min_agreement", self.agreement, min_agreement, -1),
            ("max_accuracy_loss", loss, max_accuracy_loss, 1),
            ("min_cosine", self.min_cosine, min_cosine, -1),
        )
        passed = []
        for name, value, limit, sign in limits:
            if limit is None:
                continue
            if value is None:
                raise ValueError(
                    f"{name} was asked for, but these data or this file do not give it"
                )
            if sign * value > sign * limit:
                passed.append(f"{name}={limit:g}, measured {value:.6g}")
        if passed:
            raise VerificationError(f"{self.path} passes a limit: {'; '.join(passed)}")
        return self

    def __str__(self) -> str:
        from keras_dlcourse._tables import text_table

        rows = [
            [
                "size in bytes",
                f"{self.keras_bytes:,}",
                f"{self.bytes:,} ({_times(self.size_ratio)})",
            ],
            ["one image, median", f"{self.keras_latency_ms:.2f} ms", f"{self.latency_ms:.2f} ms"],
            *self._agreement_rows(),
            ["largest error", "", _error(self.max_error, self.max_error_steps)],
            ["mean error", "", _error(self.mean_error, self.mean_error_steps)],
        ]
        if self.agreement is not None:
            rows.insert(0, ["accuracy", _percent(self.keras_accuracy), _percent(self.accuracy)])
        if self.max_map_error is not None:
            error = _error(self.max_map_error, self.max_map_error_steps)
            rows.append(["largest error of the class map", "", error])
        for name, (largest, mean) in self.coordinate_errors.items():
            rows.append([f"{name}: largest, mean error", "", f"{largest:.4f}, {mean:.4f}"])
        title = f"{self.path} on {self.runtime}, {self.examples:,} examples"
        table = text_table(["", "Keras", self.quantization or "file"], rows, title=title)
        if self.same_weights is False:
            table += "\nThe file was made of other weights than this model's."
        return table

    def _agreement_rows(self) -> list[list[str]]:
        """Return what is the same in both models' answers: the top class, or the direction."""
        if self.agreement is not None:
            same = "same labels" if self.is_multilabel else "same top class"
            return [[same, "", _percent(self.agreement)]]
        if self.min_cosine is None or self.mean_cosine is None:
            return []
        return [
            ["cosine, least", "", f"{self.min_cosine:.5f}"],
            ["cosine, mean", "", f"{self.mean_cosine:.5f}"],
        ]


def _times(ratio: float) -> str:
    return f"{ratio:.2f}x smaller" if ratio >= 1 else f"{1 / ratio:.2f}x larger"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def _error(error: float, steps: float | None) -> str:
    return f"{error:.3g}" + ("" if steps is None else f" ({steps:.2f} steps)")


def verify(
    model: keras.Model | str | os.PathLike[str],
    path: str | os.PathLike[str],
    data: Any,
    *,
    limit: int | None = None,
) -> Verification:
    """Run Keras and the device runtime side by side on the same examples.

    For embeddings, which have no top class, the cosine between the two vectors is measured.

    Where `data` carries pixels (a `kd.data.pipeline`), the file gets the pixels, as on a device,
    and Keras what the pipeline makes of them; so the file's normalization is tested too. Arrays
    are taken as normalised, and quantized for the file's input.

    Args:
        model: The Keras model, or a `.keras` file or SavedModel folder of it.
        path: The `.tflite` file, or what `to_tflite` returned.
        data: Anything that `fit` takes; with integer labels, accuracies are measured too.
        limit: Compare only the first so many examples.

    Returns:
        A `Verification`: an object with the figures that prints as a table.

    Raises:
        ValueError: If there are no examples, or model, file and data do not fit together.

    Example:
        >>> print(kd.export.verify(model, "model.int8.tflite", data.test))  # doctest: +SKIP
    """
    model = load_model(model)
    examples = take(data, limit)
    expected = input_shape(model)
    if examples.inputs.shape[1:] != expected:
        raise ValueError(
            f"data has examples of shape {examples.inputs.shape[1:]}, but the model takes "
            f"{expected}"
        )
    file = ModelFile.read(os.fspath(path))
    device = _pixel_device(file, examples) or _array_device(file, examples)
    predicted = model.predict(examples.inputs, batch_size=64, verbose=0)
    places = file.metadata.places
    names = file.metadata.outputs if places else ()
    _check_names(predicted, names, file)
    ours = np.asarray(predicted[names[0]] if names else predicted, "float32")
    theirs, maps, others = _run_all(
        device, len(ours), has_maps=CLASS_MAP in file.metadata.outputs, others=names[1:]
    )
    found = {names[0]: theirs, **others} if names else {}
    if ours.shape != theirs.shape:
        raise ValueError(
            f"the Keras model gives outputs of shape {ours.shape[1:]}, but {file.what} gives "
            f"{theirs.shape[1:]}: they are not the same model"
        )
    map_error, map_steps = None, None
    if maps is not None:
        expected_maps = class_maps(model, examples.inputs[: len(maps)])
        map_error = float(np.abs(expected_maps - maps).max())
        map_steps = _in_steps(map_error, file.outputs[1])
    error = np.abs(ours - theirs)
    # The largest number of an embedding is no class.
    embedding = not names and (EMBEDDING in file.metadata.outputs or is_embedding(model))
    cosines = _cosines(ours, theirs) if embedding else None
    categorical = not embedding and not (names and names[0] in places)
    labels, thresholds = examples.labels, file.metadata.score_thresholds
    if isinstance(labels, Mapping):
        labels = labels.get(names[0]) if names else None
    one = not names and ours[0].size == 1
    if one and labels is not None:
        labels = np.asarray(labels).reshape(len(ours), -1)
    multilabel = categorical and _is_multilabel(labels, thresholds, one)
    # One number that is no share of yes and no has no classes to agree on.
    categorical = categorical and (multilabel or not one)
    agreement, keras_accuracy, accuracy = (
        _judged(ours, theirs, labels, thresholds, multilabel) if categorical else (None, None, None)
    )
    record = own_record(file)
    keras_latency = measure(
        lambda: model.predict_on_batch(examples.inputs[:1]), LATENCY_RUNS, keras.backend.backend()
    )
    latency = measure(lambda: device(0), LATENCY_RUNS, runtime_name(), threads=1)
    return Verification(
        path=user_path(path),
        quantization=record.get("quantization"),
        runtime=runtime_name(),
        examples=len(ours),
        max_error=float(error.max()),
        mean_error=float(error.mean()),
        max_error_steps=_in_steps(float(error.max()), file.outputs[0]),
        mean_error_steps=_in_steps(float(error.mean()), file.outputs[0]),
        agreement=agreement,
        keras_accuracy=keras_accuracy,
        accuracy=accuracy,
        keras_bytes=sum(int(np.prod(w.shape)) * _item_size(w.dtype) for w in model.weights),
        bytes=len(file.content),
        keras_latency_ms=keras_latency.median_ms,
        latency_ms=latency.median_ms,
        latency_p90_ms=latency.p90_ms,
        same_weights=record["keras_hash"] == model_hash(model) if "keras_hash" in record else None,
        max_map_error=map_error,
        max_map_error_steps=map_steps,
        min_cosine=None if cosines is None else float(cosines.min()),
        mean_cosine=None if cosines is None else float(cosines.mean()),
        is_multilabel=multilabel,
        coordinate_errors={
            name: _largest_and_mean(np.abs(predicted[name] - found[name])) for name in places
        },
    )


# Runs the file on the example of that number and returns each of its outputs, shape (1, ...).
Device = Callable[[int], list[np.ndarray]]


def _run_all(
    device: Device, examples: int, has_maps: bool, others: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray]]:
    """Return the first output of all examples, the class maps of some, and the other outputs."""
    scores, maps, rest = [], [], []
    for index in range(examples):
        outputs = device(index)
        scores.append(outputs[0])
        rest.append(outputs[1 : 1 + len(others)])
        if has_maps and index < MAP_EXAMPLES:
            maps.append(outputs[1])
    joined = [np.concatenate(column) for column in zip(*rest, strict=True)]
    by_name = dict(zip(others, joined, strict=True)) if others else {}
    return np.concatenate(scores), np.concatenate(maps) if maps else None, by_name


def _check_names(predicted: Any, names: Sequence[str], file: ModelFile) -> None:
    """Raise unless the model has the outputs that the file names, and is to have none other."""
    has = set(predicted) if isinstance(predicted, dict) else set()
    if has != set(names):
        raise ValueError(
            f"the Keras model has the outputs {sorted(has) or 'one without a name'}, but "
            f"{file.what} {sorted(names) or 'one without a name'}: they are not the same model"
        )


def _largest_and_mean(error: np.ndarray) -> tuple[float, float]:
    return float(error.max()), float(error.mean())


def _cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the cosine between the two vectors of each example; two of zeros agree."""
    ours, theirs = (values.reshape(len(values), -1).astype("float64") for values in (ours, theirs))
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    both_zero = ~ours.any(axis=1) & ~theirs.any(axis=1)
    products = np.einsum("nd,nd->n", ours, theirs)
    return np.where(both_zero, 1.0, products / np.where(lengths == 0, 1, lengths))


def _in_steps(error: float, tensor: Tensor) -> float | None:
    return error / tensor.scales[0] if tensor.scales else None


def _pixel_device(file: ModelFile, examples: Examples) -> Device | None:
    """Run the file as a device does, from pixels; None if the data does not have them."""
    pixels = examples.pixels
    if pixels is None or examples.normalization is None or len(file.outputs[0].shape) != 2:
        return None
    if file.inputs[0].shape[-1] == 3 and pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)  # a grey image, as a camera gives it
    device = ImageModel(file, threads=1)
    return lambda index: device.run(pixels[index : index + 1])


def _array_device(file: ModelFile, examples: Examples) -> Device:
    """Run the file on normalised arrays, quantized for its input."""
    given = file.inputs[0]
    inputs = as_the_device_sees(examples.inputs, *in_graph(file))
    if inputs.shape[1:] != given.shape[1:]:
        raise ValueError(
            f"data has examples of shape {inputs.shape[1:]}, but {file.what} takes "
            f"{given.shape[1:]}"
        )
    stored = quantize(inputs, given)
    runtime = interpreter(file.content, threads=1)
    source, targets = runtime.get_input_details()[0], runtime.get_output_details()

    def run(index: int) -> list[np.ndarray]:
        runtime.set_tensor(source["index"], stored[index : index + 1])
        runtime.invoke()
        return [
            dequantize(runtime.get_tensor(target["index"]), tensor)
            for target, tensor in zip(targets, file.outputs, strict=True)
        ]

    return run


def _is_multilabel(labels: Any, thresholds: tuple[float, ...] | None, one: bool) -> bool:
    """Whether each class is there or not by itself, by the labels, or else by the file.

    Of a file with `one` score the labels are `(n, 1)`.
    """
    if labels is None:
        return thresholds is not None
    labels = np.asarray(labels)
    if thresholds is not None:
        return labels.shape[1:] == (len(thresholds),)
    if not one and (labels.ndim != 2 or labels.shape[1] < 2 or names_one_class(labels)):
        return False
    return bool(((labels == 0) | (labels == 1) | ~(labels >= 0)).all())  # no shares of classes


def _judged(
    ours: np.ndarray, theirs: np.ndarray, labels: Any, thresholds: Any, multilabel: bool
) -> tuple[float, float | None, float | None]:
    """Return the share of answers that are the same, and the shares of right ones.

    An answer is the class of the highest score, or for each class whether it is there.
    """
    if multilabel:
        least = 0.5 if thresholds is None else np.array(thresholds, "float32")
        answers = [scores.reshape(len(scores), -1) >= least for scores in (ours, theirs)]
        truth = None if labels is None else multi_hot(labels, "the labels")
    else:
        answers = [scores.reshape(len(scores), -1).argmax(1) for scores in (ours, theirs)]
        truth = None if labels is None else _class_numbers(labels)
    agreement = float(np.mean(answers[0] == answers[1]))
    if truth is None:
        return agreement, None, None
    known = truth >= 0  # which NaN is not
    if not known.any():
        return agreement, None, None
    right = [float(np.mean((answer == truth)[known])) for answer in answers]
    return agreement, right[0], right[1]


def _class_numbers(labels: Any) -> np.ndarray:
    """Return labels as class numbers."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] > 1:  # one-hot
        return labels.argmax(1)
    return labels.reshape(len(labels), -1)[:, 0]


def _item_size(dtype: str) -> int:
    return 2 if "16" in dtype else np.dtype(dtype).itemsize
