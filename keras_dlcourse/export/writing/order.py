"""The order of the inputs and outputs in a file, and their names."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as tflite

from keras_dlcourse.export.writing.metadata import pack_model


def reorder_tensors(content: bytes, inputs: dict[str, str], outputs: dict[str, str]) -> bytes:
    """Reorder the inputs and outputs of a file and name their tensors.

    The converter orders them arbitrarily, and runtimes identify them by their order.

    Args:
        content: A `.tflite` file with a signature.
        inputs: Maps the name of each input in the signature to its new name, in the desired order;
            empty to keep them.
        outputs: The same of the outputs.
    """
    model = tflite.ModelT.InitFromPackedBuf(content, 0)
    (signature,) = model.signatureDefs
    graph = model.subgraphs[signature.subgraphIndex]  # loops have further ones
    if inputs:
        signature.inputs = _reorder(signature.inputs, inputs, graph)
        graph.inputs = [given.tensorIndex for given in signature.inputs]
    if outputs:
        signature.outputs = _reorder(signature.outputs, outputs, graph)
        graph.outputs = [output.tensorIndex for output in signature.outputs]
    return pack_model(model, len(content))


def _reorder(
    ends: list[tflite.TensorMapT], names: dict[str, str], graph: tflite.SubGraphT
) -> list[tflite.TensorMapT]:
    found = {end.name.decode(): end for end in ends}
    for old, new in names.items():
        found[old].name = graph.tensors[found[old].tensorIndex].name = new.encode()
    return [found[old] for old in names]
