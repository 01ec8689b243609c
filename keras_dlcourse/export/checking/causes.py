"""Find why a `.tflite` file does not agree with its Keras model, by cheap tests in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_dlcourse.edge.description.layouts import DETECTION, SEGMENTATION
from keras_dlcourse.edge.tflite.graph import Tensor
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.export.checking.kernels import ALIKE
from keras_dlcourse.export.checking.roads import Road, convert_inputs
from keras_dlcourse.export.outputs.kind import INTEGER, Compared, Kind
from keras_dlcourse.export.outputs.limits import find_missed_limits
from keras_dlcourse.export.writing.output import Output

EXAMPLES = 100  # number of examples the tests run the file on
_OUTSIDE = 1e-3  # fraction of values that may lie outside an integer range
_FEWEST_STEPS = 16  # of a tensor of 256, for values that are not all the same


@dataclass(frozen=True)
class Case:
    """A comparison in which a cause is searched for.

    Attributes:
        failed: Whether a limit is not met. Some causes apply even if the outputs agree.
        file: The file.
        road: How the file was given the examples.
        number: The index of the first output that does not meet its limits, 0 if all do.
        output: That output of the file.
        compared: Its values, for at least the first `EXAMPLES` examples.
        read: Returns these values from all outputs of the file.
        kind: The kind of that output.
        storage: How the file stores numbers, which determines the limits.
        same_weights: Whether the file was made from these weights; None if it does not record it.
        likeness: How much its kernels are those of the model, see `measure_likeness`; None if that
            is unknown, or the comparison did not fail.
        class_names: The class names by their source: the data or the model.
    """

    failed: bool
    file: ModelFile
    road: Road
    number: int
    output: Output
    compared: Compared
    read: Callable[[list[np.ndarray]], np.ndarray]
    kind: Kind
    storage: str
    same_weights: bool | None
    likeness: float | None
    class_names: dict[str, tuple[str, ...]]

    def is_fixed_by(self, theirs: np.ndarray) -> bool:
        """Whether these outputs of the file agree with Keras, and clearly better than before."""
        before = self.compared.take_first(len(theirs))
        figures = [self.kind.measure(one) for one in (before, before.with_theirs(theirs))]
        errors = [one.values["mean_error"] for one in figures]
        missed = find_missed_limits(figures[1], self.kind.limits[self.storage], {})
        return not missed and errors[1] < errors[0] / 2

    def run_on(self, road: Road) -> np.ndarray:
        """Return that output of the file when run on another road."""
        device = road.device(self.file)
        values = [self.read(device(index)) for index in range(len(road.inputs[0]))]
        return np.concatenate(values)


def find_cause(case: Case) -> str | None:
    """Return the first cause found, as text; None if everything agrees."""
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
    """Compare the kernels, or if they are unknown, the hash in the file with the model's.

    A file with another hash may be that of a copy: then there may be another cause.
    """
    if not case.failed or case.same_weights:
        return None
    if case.likeness is None:
        is_other = case.same_weights is False
    else:
        is_other = case.likeness < ALIKE
    return f"other weights: {describe_weights(case.likeness)}" if is_other else None


def changed_weights(case: Case) -> str | None:
    """Compare the hash, if nothing else was found."""
    if not case.failed or case.same_weights is not False:
        return None
    return f"other weights: {describe_weights(case.likeness)}"


def describe_weights(likeness: float | None) -> str:
    """Return what a file was made from that has another hash than the model.

    Args:
        likeness: See `measure_likeness`.
    """
    if likeness is None or likeness < ALIKE:
        return "the file was made from weights other than this model's"
    return "the file was made from a copy of this model with other biases, scales or statistics"


def normalization(case: Case) -> str | None:
    """Check the arrays, and whether the file agrees on Keras's inputs but not on pixels."""
    if case.road.misfit is not None:
        return f"normalization: {case.road.misfit}"
    if not case.failed or case.road.pixels is None:
        return None
    arrays = Road(tuple(values[:EXAMPLES] for values in case.road.inputs))
    if not case.is_fixed_by(case.run_on(arrays)):
        return None
    return "normalization: the file agrees on the inputs of Keras, but not on the pixels"


def channel_order(case: Case) -> str | None:
    """Run the file on images with reversed channels."""
    first, *others = case.road.inputs
    if not case.failed or others or first.ndim != 4 or first.shape[-1] != 3:
        return None
    if not case.is_fixed_by(case.run_on(case.road.reverse_channels(EXAMPLES))):
        return None
    return "channel order: with red and blue swapped, the file agrees with Keras"


def label_order(case: Case) -> str | None:
    """Compare the class names, and test whether the outputs agree in another order."""
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
    if len(set(order)) < len(order) or not moved.size or not case.is_fixed_by(theirs[:, order]):
        return None
    return (
        f"labels in another order: output {moved[0]} of Keras is output {order[moved[0]]} of the "
        "file"
    )


def integer_range(case: Case) -> str | None:
    """Look for values outside the range that an integer tensor can hold."""
    if not case.failed:
        return None
    inputs = convert_inputs(case.file, tuple(values[:EXAMPLES] for values in case.road.inputs))
    ends = [("input", *one) for one in zip(case.file.inputs, inputs, strict=True)]
    # Values of masks are before the activation, those of detections before they are decoded.
    if case.output.kind not in (SEGMENTATION, DETECTION):
        ours = case.compared.ours[:EXAMPLES]
        ends.append(("output", case.file.outputs[case.number], ours))
    for what, tensor, values in ends:
        if not tensor.scales:
            continue
        low, high = _range(tensor)
        outside = float(((values < low) | (values > high)).mean())
        if outside > _OUTSIDE:
            return (
                f"{tensor.dtype.lstrip('u')} range: the {what} of the file holds values from "
                f"{low:.4g} to {high:.4g}, but those in Keras range from {values.min():.4g} to "
                f"{values.max():.4g} ({outside:.1%} outside)"
            )
    return None


def shared_scale(case: Case) -> str | None:
    """Look for values that are lost because others in the same tensor need a larger step.

    As with boxes in pixels beside scores from 0 to 1: relative to the range of the whole tensor,
    the errors of the scores are small, but all of them round to the same few numbers.
    """
    ours, step = case.compared.ours, case.compared.step
    if step is None or ours.ndim < 3 or case.output.kind != "numbers":
        return None
    steps = np.ptp(ours, axis=tuple(range(ours.ndim - 1))) / step
    lost = np.flatnonzero((steps > 0) & (steps < _FEWEST_STEPS))
    if not lost.size or steps.max() < _FEWEST_STEPS**2 / 2:
        return None
    numbers = ", ".join(map(str, lost[:5])) + (", …" if len(lost) > 5 else "")
    return (
        f"shared scale: on the last axis of the output, the values at {numbers} extend over at "
        f"most {steps[lost].max():.1f} steps of {step:.3g}, which others need, such as those at "
        f"{steps.argmax()}. Return them as two outputs: each then has a step of its own"
    )


def _range(tensor: Tensor) -> tuple[float, float]:
    """Return the range a tensor can hold, plus one step at each end, which rounds to it."""
    limits = np.iinfo(tensor.dtype)
    step, zero = tensor.scales[0], tensor.zero_points[0]
    return (limits.min - zero - 1) * step, (limits.max - zero + 1) * step


CAUSES: tuple[Callable[[Case], str | None], ...] = (
    other_weights,
    normalization,
    channel_order,
    label_order,
    integer_range,
    shared_scale,
    changed_weights,
)
