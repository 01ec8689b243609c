"""The order of the outputs in a file, and their names."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as tflite

from keras_dlcourse.export.writing.metadata import pack_model


def reorder_outputs(content: bytes, names: dict[str, str]) -> bytes:
    """Reorder the outputs of a file and name their tensors.

    The converter orders outputs arbitrarily, and runtimes identify them by their order.

    Args:
        content: A `.tflite` file with a signature.
        names: Maps the name of each output in the signature to its new name, in the desired order.
    """
    model = tflite.ModelT.InitFromPackedBuf(content, 0)
    (signature,), (graph,) = model.signatureDefs, model.subgraphs
    found = {output.name.decode(): output for output in signature.outputs}
    signature.outputs = [found[name] for name in names]
    graph.outputs = [output.tensorIndex for output in signature.outputs]
    for output, name in zip(signature.outputs, names.values(), strict=True):
        output.name = name.encode()
        graph.tensors[output.tensorIndex].name = name.encode()
    return pack_model(model, len(content))
