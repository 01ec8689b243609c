"""A float file with its operators separated, so that each can run on arbitrary inputs."""

from __future__ import annotations

import copy
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tflite
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from keras_dlcourse.edge.tflite.model_file import ModelFile

Port = tuple[int, int]
"""The number of an operator, and the position of one of its inputs."""


def reference_interpreter(content: bytes) -> Any:
    """Return an interpreter that runs operators one by one and keeps all their outputs.

    Delegates would compute several operators at once and hide the values between them.

    Args:
        content: A validated `.tflite` file.
    """
    made = Interpreter(
        model_content=content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    made.allocate_tensors()
    return made


class CutGraph:
    """All operators of a float file, each with its own inputs.

    They run as one graph in which no operator reads the output of another. This computes the output
    of an operator for given inputs, for example the inputs that it has in an integer file.

    Args:
        file: A float32 file with one graph.

    Attributes:
        ports: The required inputs: those that are not constants.
    """

    def __init__(self, file: ModelFile) -> None:
        content, self.ports = _cut(file)
        self._interpreter = reference_interpreter(content)
        self._inputs = [
            detail["index"]
            for detail in sorted(
                self._interpreter.get_input_details(),
                key=lambda detail: _port_number(detail["name"]),
            )
        ]
        self._outputs = [operator.outputs[0] for operator in file.operators]

    def run(self, values: dict[Port, np.ndarray]) -> list[np.ndarray]:
        """Compute all operators.

        Args:
            values: Maps each port to its tensor.

        Returns:
            The first output of each operator, in file order.
        """
        for index, port in zip(self._inputs, self.ports, strict=True):
            self._interpreter.set_tensor(index, values[port])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


_PREFIX = "port_"


def _port_number(name: str) -> int:
    return int(name.removeprefix(_PREFIX))


def _cut(file: ModelFile) -> tuple[bytes, list[Port]]:
    """Return the file of the cut graph, and its ports in input order."""
    model = tflite.ModelT.InitFromPackedBuf(file.content, 0)
    graph = model.subgraphs[0]
    ports: list[Port] = []
    inputs: list[int] = []
    for number, operator in enumerate(graph.operators):
        operator.inputs = np.array(operator.inputs)  # arrays read from the file are read-only
        for place, index in enumerate(operator.inputs):
            if index < 0 or file.tensors[index].is_constant:
                continue
            tensor = copy.copy(graph.tensors[index])
            tensor.name = f"{_PREFIX}{len(ports)}".encode()
            tensor.buffer = 0  # the empty buffer, by convention
            graph.tensors.append(tensor)
            operator.inputs[place] = len(graph.tensors) - 1
            inputs.append(len(graph.tensors) - 1)
            ports.append((number, place))
    graph.inputs = np.asarray(inputs, "int32")
    written = [index for operator in graph.operators for index in operator.outputs]
    graph.outputs = np.asarray(written, "int32")
    model.signatureDefs, model.metadata = [], []
    builder = flatbuffers.Builder(len(file.content) + 65536)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()), ports
