"""Why a `.tflite` file does not agree with its Keras model: cheap tests, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_dlcourse.edge.tflite.graph import Tensor
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.export.checking.inspection import in_graph
from keras_dlcourse.export.checking.output_kinds import INTEGER, Compared, Kind, missed_limits
from keras_dlcourse.export.checking.roads import Road
from keras_dlcourse.export.conversion.device_model import as_the_device_sees

EXAMPLES = 100  # what the tests run the file on
_OUTSIDE = 1e-3  # share of numbers that an integer range may miss


@dataclass(frozen=True)
class Case:
    """What the causes are looked for in.

    Attributes:
        failed: Whether a limit is not met. Some causes hold although the numbers agree.
        file: The file.
        road: How it was given the examples.
        compared: The first output, of at least the first `EXAMPLES` examples.
        kind: What it holds.
        storage: How the file stores numbers, which the limits depend on.
        same_weights: Whether the file was made of these weights; None if it does not say.
        class_names: What data and model call the classes, by who says so.
    """

    failed: bool
    file: ModelFile
    road: Road
    compared: Compared
    kind: Kind
    storage: str
    same_weights: bool | None
    class_names: dict[str, tuple[str, ...]]

    def mended_by(self, theirs: np.ndarray) -> bool:
        """Whether these outputs of the file agree with Keras, and clearly better."""
        before = self.compared.first(len(theirs))
        figures = [self.kind.measure(one) for one in (before, before.with_theirs(theirs))]
        errors = [one.values["mean_error"] for one in figures]
        missed = missed_limits(figures[1], self.kind.limits[self.storage], {})
        return not missed and errors[1] < errors[0] / 2

    def run_on(self, road: Road) -> np.ndarray:
        """Return the first output on another road."""
        device = road.device(self.file)
        return np.concatenate([device(index)[0] for index in range(len(road.inputs))])


def find_cause(case: Case) -> str | None:
    """Return the first cause that is found, in words; None if all agrees."""
    for cause in CAUSES:
        found = cause(case)
        if found is not None:
            return found
    if not case.failed:
        return None
    if case.storage == INTEGER:
        return "unknown cause: run kd.quantize.diagnose(model, file, data)"
    return "unknown cause: the file computes something other than this model"


def other_weights(case: Case) -> str | None:
    """By the hash in the file."""
    if not case.failed or case.same_weights is not False:
        return None
    return "other weights: the file was made from other weights than this model's"


def normalization(case: Case) -> str | None:
    """By the arrays themselves; or if the file agrees on what Keras gets, but not on pixels."""
    if case.road.misfit is not None:
        return f"normalization: {case.road.misfit}"
    if not case.failed or case.road.pixels is None:
        return None
    arrays = Road(case.road.inputs[:EXAMPLES])
    if not case.mended_by(case.run_on(arrays)):
        return None
    return "normalization: the file agrees on the inputs of Keras, but not on the pixels"


def channel_order(case: Case) -> str | None:
    """By images whose channels are reversed."""
    inputs = case.road.inputs
    if not case.failed or inputs.ndim != 4 or inputs.shape[-1] != 3:
        return None
    if not case.mended_by(case.run_on(case.road.first(EXAMPLES, reverse=True))):
        return None
    return "channel order: with red and blue exchanged, the file gives what Keras gives"


def label_order(case: Case) -> str | None:
    """By the names of the classes; or if outputs in another order agree."""
    names = case.file.metadata.labels
    for whose, others in case.class_names.items():
        if names is not None and names != others and sorted(names) == sorted(others):
            at = [one != other for one, other in zip(names, others, strict=True)].index(True)
            return (
                f"labels in another order: class {at} is {names[at]!r} in the file, but "
                f"{others[at]!r} in {whose}"
            )
    ours, theirs = (values[:EXAMPLES] for values in (case.compared.ours, case.compared.theirs))
    if not case.failed or ours.ndim != 2 or ours.shape[1] < 2:
        return None
    distances = [np.abs(theirs - column[:, None]).mean(axis=0) for column in ours.T]
    order = np.argmin(distances, axis=1)
    moved = np.flatnonzero(order != np.arange(len(order)))
    if len(set(order)) < len(order) or not moved.size or not case.mended_by(theirs[:, order]):
        return None
    return (
        f"labels in another order: output {moved[0]} of Keras is output {order[moved[0]]} of the "
        "file"
    )


def integer_range(case: Case) -> str | None:
    """By numbers that lie outside of what an integer tensor can hold."""
    if not case.failed:
        return None
    inputs = as_the_device_sees(case.road.inputs[:EXAMPLES], *in_graph(case.file))
    ends = (
        ("input", case.file.inputs[0], inputs),
        ("output", case.file.outputs[0], case.compared.ours[:EXAMPLES]),
    )
    for what, tensor, values in ends:
        if not tensor.scales:
            continue
        low, high = _range(tensor)
        outside = float(((values < low) | (values > high)).mean())
        if outside > _OUTSIDE:
            return (
                f"{tensor.dtype.lstrip('u')} range: the {what} of the file holds numbers from "
                f"{low:.4g} to {high:.4g}, but Keras has {values.min():.4g} to "
                f"{values.max():.4g} ({outside:.1%} outside)"
            )
    return None


def _range(tensor: Tensor) -> tuple[float, float]:
    """Return what a tensor can hold, with the step that rounds to its ends."""
    limits = np.iinfo(tensor.dtype)
    step, zero = tensor.scales[0], tensor.zero_points[0]
    return (limits.min - zero - 1) * step, (limits.max - zero + 1) * step


CAUSES: tuple[Callable[[Case], str | None], ...] = (
    other_weights,
    normalization,
    channel_order,
    label_order,
    integer_range,
)
