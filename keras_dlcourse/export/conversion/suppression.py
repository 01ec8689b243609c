"""Add to the file of a detector the choice among its boxes, with builtin operations.

The body of the file may compute in integers. What follows does not: it begins where the body's
outputs have been converted to floats. In integers, boxes, scores and class numbers would each lose
what a common step is too large for: class 4 becomes 3.9882, which readers cut down to 3.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as tflite

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.edge.description.layouts import BOX_LAYOUTS, SIGMOID, DetectionLayout
from keras_dlcourse.edge.description.suppression import NonMaxSuppression
from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.edge.tflite.metadata import CATEGORY, COUNT, LOCATION, SCORE
from keras_dlcourse.export.conversion.converter import convert, list_input_keys
from keras_dlcourse.export.conversion.schemes import SCHEMES
from keras_dlcourse.export.writing.input import Input
from keras_dlcourse.export.writing.metadata import pack_model
from keras_dlcourse.export.writing.order import reorder_tensors
from keras_dlcourse.export.writing.output import Output

_APART = 4.0  # boxes are from -1 to 2: further than that, those of two classes cannot overlap
_NAMES = ("boxes", "classes", "scores", "count")


def check_nms(nms: Any) -> None:
    """Raise an error unless `nms` says where boxes are chosen."""
    if not isinstance(nms, NonMaxSuppression):
        check_one_of("nms", nms, ("outside", "inside"), ", or a NonMaxSuppression")


def find_suppression(
    nms: str | NonMaxSuppression,
    outputs: tuple[Output, ...],
    batch: int | None,
    output_dtype: str | None,
) -> NonMaxSuppression | None:
    """Return how a file chooses among its boxes; None if it does not.

    Raises:
        ValueError: If the model is not a detector, or the file could not have such outputs.
    """
    if nms == "outside":
        return None
    faults = [
        ("the model must declare its boxes with an OutputDescription", "other outputs",
         all(not isinstance(one.layout, DetectionLayout) for one in outputs)),
        ("batch must be 1", batch, batch != 1),
        ("output_dtype must be float32", output_dtype, output_dtype not in (None, "float32")),
    ]  # fmt: skip
    for must, received, is_wrong in faults:
        if is_wrong:
            raise ValueError(
                f"{must} for a file that chooses among its boxes. Received: {received}. Omit it, "
                "or pass nms='outside'"
            )
    return nms if isinstance(nms, NonMaxSuppression) else NonMaxSuppression()


def add_suppression(
    content: bytes, outputs: tuple[Output, ...], nms: NonMaxSuppression
) -> tuple[bytes, tuple[Output, ...]]:
    """Return a file that chooses among its boxes, and its outputs.

    Args:
        content: A file with two float outputs: scores `(1, anchors, classes)` and the values of the
            boxes `(1, anchors, 4)`.
        outputs: These outputs.
        nms: How to choose.

    Returns:
        The file with four outputs instead: top, left, bottom and right `(1, n, 4)`, class numbers
        `(1, n)`, scores `(1, n)`, 0 behind the last box, and the number of boxes `(1,)`.
    """
    (layout,) = (one.layout for one in outputs if isinstance(one.layout, DetectionLayout))
    (classes,) = (one.shape[-1] for one in outputs if one.layout is None)
    chosen = choose_outputs(outputs, results(layout, nms))
    content = _append(content, layout, int(classes or 0), nms)
    names = dict(zip(_NAMES, (one.name for one in chosen), strict=True))
    return reorder_tensors(content, {}, names), chosen


def _append(content: bytes, layout: DetectionLayout, classes: int, nms: NonMaxSuppression) -> bytes:
    anchors = len(layout.anchors)
    scores = keras.Input((anchors, classes), batch_size=1, name="scores")
    values = keras.Input((anchors, 4), batch_size=1, name="values")
    outputs = _Choice(layout, nms, name="non_max_suppression")([scores, values])
    tail = keras.Model([scores, values], dict(zip(_NAMES, outputs, strict=True)))
    inputs = tuple(Input(one.name, "numbers", tuple(one.shape[1:])) for one in tail.inputs)
    return join_files(content, convert(tail, SCHEMES["float32"], inputs), list_input_keys(inputs))


def choose_outputs(outputs: tuple[Output, ...], count: int) -> tuple[Output, ...]:
    """Return the outputs of a detector that chooses among its boxes, in MediaPipe's order.

    Args:
        outputs: Those of the same detector without.
        count: The number of boxes that it returns.
    """
    (scores,) = (one for one in outputs if one.layout is None)
    thresholds = scores.score_thresholds
    return (
        Output(LOCATION, "detection", (count, 4), BOX_LAYOUTS["rel_yxyx"]),
        Output(CATEGORY, "detection_classes", (count,), labels=scores.labels),
        Output(SCORE, "detection_scores", (count,), score_thresholds=thresholds),
        Output(COUNT, "detection_count", ()),
    )


def results(layout: DetectionLayout, nms: NonMaxSuppression) -> int:
    """Return the number of boxes in the outputs."""
    return min(nms.max_results, len(layout.anchors))


class _Choice(keras.layers.Layer):
    """Decodes the boxes of one image and chooses among them, as `choose_boxes` does on a device."""

    def __init__(self, layout: DetectionLayout, nms: NonMaxSuppression, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layout, self.nms = layout, nms

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        count = results(self.layout, self.nms)
        scores, values = (tf.squeeze(one, 0) for one in inputs)
        best = tf.reduce_max(scores, axis=1)
        if self.layout.activation == SIGMOID:
            best = tf.sigmoid(best)
        classes = tf.cast(tf.argmax(scores, axis=1, output_type=tf.int32), "float32")
        edges = self._edges(values)
        apart = 0.0 if self.nms.class_agnostic else _APART
        chosen, number = tf.raw_ops.NonMaxSuppressionV4(
            boxes=edges + apart * classes[:, None],
            scores=best,
            max_output_size=count,
            iou_threshold=self.nms.iou_threshold,
            score_threshold=self.nms.score_threshold,
            pad_to_max_output_size=True,
        )
        is_box = tf.cast(tf.range(count) < number, "float32")
        return (
            tf.reshape(tf.clip_by_value(tf.gather(edges, chosen), 0, 1), (1, count, 4)),
            tf.reshape(tf.gather(classes, chosen) * is_box, (1, count)),
            tf.reshape(tf.gather(best, chosen) * is_box, (1, count)),
            tf.reshape(tf.cast(number, "float32"), (1,)),
        )

    def _edges(self, values: Any) -> Any:
        """Return top, left, bottom and right, as `DetectionLayout.edges` does."""
        import tensorflow as tf

        anchors = np.array(self.layout.anchors, "float32")[:, [1, 0, 3, 2]]
        values = values / np.array(self.layout.scales, "float32")
        centers = values[:, :2] * anchors[:, 2:] + anchors[:, :2]
        halves = tf.exp(values[:, 2:]) * anchors[:, 2:] / 2
        edges = tf.concat([centers - halves, centers + halves], axis=1)
        return tf.clip_by_value(edges, -1, 2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        count = results(self.layout, self.nms)
        return (1, count, 4), (1, count), (1, count), (1,)


def join_files(content: bytes, tail: bytes, names: list[str]) -> bytes:
    """Return a file that runs one file and then another on its outputs.

    Args:
        content: The first file.
        tail: The second one, of a single graph.
        names: The inputs of the second in its signature, in the order of the outputs of the first.
    """
    model, added = (tflite.ModelT.InitFromPackedBuf(one, 0) for one in (content, tail))
    (signature,), (after,) = model.signatureDefs, added.signatureDefs
    graph, (more,) = model.subgraphs[signature.subgraphIndex], added.subgraphs
    given = {one.name.decode(): one.tensorIndex for one in after.inputs}
    place = dict(zip((given[name] for name in names), graph.outputs, strict=True))
    for number, tensor in enumerate(more.tensors):
        if number in place:
            continue
        place[number] = len(graph.tensors)
        # Buffer 0 is that of all tensors without constants.
        tensor.buffer += len(model.buffers) - 1 if tensor.buffer else 0
        tensor.name = b"non_max_suppression/" + tensor.name
        graph.tensors.append(tensor)
    for operator in more.operators:
        operator.opcodeIndex += len(model.operatorCodes)
        operator.inputs = [place.get(int(index), -1) for index in operator.inputs]
        operator.outputs = [place[int(index)] for index in operator.outputs]
        graph.operators.append(operator)
    model.buffers += added.buffers[1:]
    model.operatorCodes += added.operatorCodes
    for one in after.outputs:
        one.tensorIndex = place[one.tensorIndex]
    signature.outputs = after.outputs
    graph.outputs = [one.tensorIndex for one in after.outputs]
    _set_runtime(model, max(_runtime(model), _runtime(added), key=_as_numbers))
    return pack_model(model, len(content) + len(tail))


def _runtime_buffer(model: tflite.ModelT) -> tflite.BufferT | None:
    """Return the buffer with the oldest runtime that runs a file."""
    named = {one.name.decode(): one.buffer for one in model.metadata or []}
    number = named.get(schema.MIN_RUNTIME_NAME)
    return None if number is None else model.buffers[number]


def _runtime(model: tflite.ModelT) -> bytes:
    buffer = _runtime_buffer(model)
    return b"" if buffer is None or buffer.data is None else bytes(bytearray(buffer.data))


def _set_runtime(model: tflite.ModelT, version: bytes) -> None:
    buffer = _runtime_buffer(model)
    if buffer is not None:
        buffer.data = np.frombuffer(version, np.uint8)


def _as_numbers(version: bytes) -> list[int]:
    return [int(part) for part in version.rstrip(b"\0").split(b".") if part.isdigit()]
