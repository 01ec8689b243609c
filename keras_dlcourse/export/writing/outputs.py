"""Which output of a file holds what, where there are several."""

from __future__ import annotations

from typing import Any

import keras
from ai_edge_litert import schema_py_generated as tflite

from keras_dlcourse.edge.description.layouts import BOX_LAYOUTS, BoxLayout, KeypointLayout
from keras_dlcourse.export.writing.metadata import packed
from keras_dlcourse.layers import OutputDescription

Outputs = tuple[tuple[str, BoxLayout | KeypointLayout | None], ...]


def described_outputs(model: keras.Model) -> Outputs:
    """Return name and layout of each output, in the order that the file is to have.

    The scores of classes come first, as readers of classifiers expect; then boxes, then keypoints.

    Args:
        model: A Keras model. One that puts out a dictionary says by `OutputDescription` layers of
            the same names which are coordinates.

    Returns:
        Nothing for a model that does not say so.

    Raises:
        ValueError: If more than one output is not described.
    """
    outputs = getattr(model, "output", None)
    described = {
        layer.name: layer
        for layer in model._flatten_layers()
        if isinstance(layer, OutputDescription)
    }
    if not isinstance(outputs, dict) or not set(outputs) & set(described):
        return ()
    layouts = {name: _layout(described.get(name)) for name in outputs}
    plain = [name for name, layout in layouts.items() if layout is None]
    if len(plain) > 1:
        raise ValueError(
            f"model {model.name!r} has the outputs {', '.join(plain)} that no OutputDescription "
            "of their names describes; one may be the scores of classes"
        )
    return tuple(sorted(layouts.items(), key=lambda item: _RANKS[type(item[1])]))


_RANKS = {type(None): 0, BoxLayout: 1, KeypointLayout: 2}


def _layout(described: OutputDescription | None) -> BoxLayout | KeypointLayout | None:
    if described is None:
        return None
    if described.bounding_box_format is not None:
        return BOX_LAYOUTS[described.bounding_box_format]
    return KeypointLayout(str(described.relative_to), described.names)


def scores_of(model: keras.Model, outputs: Outputs) -> Any:
    """Return the output with the scores of classes; None if all that is described are places."""
    if not outputs:
        return model.outputs[0]
    plain = [name for name, layout in outputs if layout is None]
    return model.output[plain[0]] if plain else None


def in_order(content: bytes, names: dict[str, str]) -> bytes:
    """Put a file's outputs in an order and name their tensors.

    The converter orders outputs as it likes, and runtimes know them by their order.

    Args:
        content: A `.tflite` file with a signature.
        names: What each output is called in the signature, and what it shall be called, in the
            order wanted.
    """
    model = tflite.ModelT.InitFromPackedBuf(content, 0)
    (signature,), (graph,) = model.signatureDefs, model.subgraphs
    found = {output.name.decode(): output for output in signature.outputs}
    signature.outputs = [found[name] for name in names]
    graph.outputs = [output.tensorIndex for output in signature.outputs]
    for output, name in zip(signature.outputs, names.values(), strict=True):
        output.name = name.encode()
        graph.tensors[output.tensorIndex].name = name.encode()
    return packed(model, len(content))
