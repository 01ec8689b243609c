"""Files that other people's tools make: custom operators, variables, sizes left open."""

from __future__ import annotations

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as tflite
from flatbuffers import flexbuffers


def tensor(name: str, shape: tuple[int, ...], buffer: int = 0) -> tflite.TensorT:
    made = tflite.TensorT()
    made.name, made.shape, made.buffer = name, list(shape), buffer
    made.type = tflite.TensorType.FLOAT32
    return made


def custom(name, inputs, outputs, constants=(), options: bytes = b"") -> bytes:
    """A graph of one custom operator; `constants` are further inputs of it, with their values."""
    model, graph, code = tflite.ModelT(), tflite.SubGraphT(), tflite.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = tflite.BuiltinOperator.CUSTOM
    code.customCode = name
    model.buffers = [tflite.BufferT()]
    for value in constants:
        model.buffers.append(tflite.BufferT())
        model.buffers[-1].data = np.frombuffer(value.tobytes(), "uint8")
    graph.tensors = [
        *(tensor(f"x{i}", shape) for i, shape in enumerate(inputs)),
        *(tensor(f"c{i}", value.shape, i + 1) for i, value in enumerate(constants)),
        *(tensor(f"y{i}", shape) for i, shape in enumerate(outputs)),
    ]
    given = len(inputs) + len(constants)
    operator = tflite.OperatorT()
    operator.inputs = list(range(given))
    operator.outputs = list(range(given, given + len(outputs)))
    operator.customOptions = np.frombuffer(options, "uint8") if options else None
    graph.operators, graph.inputs = [operator], list(range(len(inputs)))
    graph.outputs = operator.outputs
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def detection_end() -> bytes:
    """What SSD detectors end in: boxes of 8 anchors and scores of 2 classes, at most 3 objects."""
    options = flexbuffers.Builder()
    with options.Map():
        for name, number in (
            ("max_detections", 3), ("max_classes_per_detection", 1), ("num_classes", 2),
        ):  # fmt: skip
            options.Int(name, number)
        for name, value in (
            ("nms_score_threshold", 0.1), ("nms_iou_threshold", 0.5),
            ("y_scale", 10.0), ("x_scale", 10.0), ("h_scale", 5.0), ("w_scale", 5.0),
        ):  # fmt: skip
            options.Float(name, value)
    anchors = np.linspace(0.1, 0.9, 32, dtype="float32").reshape(8, 4)
    return custom(
        "TFLite_Detection_PostProcess",
        [(1, 8, 4), (1, 8, 3)],
        [(1, 3, 4), (1, 3), (1, 3), (1,)],
        [anchors],
        bytes(options.Finish()),
    )


def unknown_operator() -> bytes:
    return custom("Nonsense", [(1, 4)], [(1, 4)])


def with_state() -> bytes:
    """A running mean, as in wake word networks: operators that give nothing, two graphs."""

    class Mean(tf.Module):
        def __init__(self):
            self.state = tf.Variable(tf.zeros((1, 4)))

        @tf.function(input_signature=[tf.TensorSpec((1, 4))])
        def __call__(self, x):
            self.state.assign(self.state * 0.5 + x)
            return self.state + 0.0

    module = Mean()
    return converted(module.__call__, module)


def open_sides() -> bytes:
    """Images of any size of at least 9, which the converter writes as 1."""
    kernel = np.ones((9, 9, 3, 2), "float32")

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
    def means(x):
        return tf.reduce_mean(tf.nn.conv2d(x, kernel, 1, "VALID"), [1, 2])

    return converted(means)


def open_length() -> bytes:
    """Rows of any length, of which only 21 runs."""

    @tf.function(input_signature=[tf.TensorSpec((1, None))])
    def folded(x):
        return tf.reshape(x, (7, 3))

    return converted(folded)


def converted(function, module=None) -> bytes:
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], module
    )
    converter.experimental_enable_resource_variables = True
    return converter.convert()
