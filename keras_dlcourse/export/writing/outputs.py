"""Describe and order the outputs of a file that has several."""

from __future__ import annotations

from typing import Any

import keras
from ai_edge_litert import schema_py_generated as tflite

from keras_dlcourse.edge.description.layouts import BOX_LAYOUTS, BoxLayout, KeypointLayout
from keras_dlcourse.export.writing.metadata import pack_model
from keras_dlcourse.layers import OutputDescription

Outputs = tuple[tuple[str, BoxLayout | KeypointLayout | None], ...]


def name_outputs(model: keras.Model) -> tuple[str, ...]:
    """Return the names of a model's outputs, in Keras's order.

    Those of a dictionary are its keys; others are the names of their layers, or `output_0`,
    `output_1`, ... if these are not unique.
    """
    structure = getattr(model, "output", None)
    if isinstance(structure, dict):
        return tuple(structure)
    count = len(keras.tree.flatten(structure))
    names = tuple(getattr(model, "output_names", ()))
    is_usable = len(names) == count and len(set(names)) == count
    return names if is_usable else tuple(f"output_{number}" for number in range(count))


def describe_outputs(model: keras.Model) -> Outputs:
    """Return the name and layout of each of several outputs, in the order of the file.

    That is Keras's order, unless `OutputDescription` layers declare coordinates: then class scores
    come first, as readers of classifiers expect, then boxes, then keypoints.

    Args:
        model: A Keras model. If its output is a dictionary, `OutputDescription` layers with the
            same names declare which outputs are coordinates.

    Returns:
        A tuple of (name, layout) pairs, with None for outputs that are not coordinates; empty for a
        model with one output.

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
        names = name_outputs(model)
        return tuple((name, None) for name in names) if len(names) > 1 else ()
    layouts = {name: _layout(described.get(name)) for name in outputs}
    plain = [name for name, layout in layouts.items() if layout is None]
    if len(plain) > 1:
        raise ValueError(
            f"model {model.name!r} must have an OutputDescription layer of the same name for every "
            f"output except the class scores. Received: outputs {', '.join(plain)} without one"
        )
    return tuple(sorted(layouts.items(), key=lambda item: _RANKS[type(item[1])]))


_RANKS = {type(None): 0, BoxLayout: 1, KeypointLayout: 2}


def _layout(described: OutputDescription | None) -> BoxLayout | KeypointLayout | None:
    if described is None:
        return None
    if described.bounding_box_format is not None:
        return BOX_LAYOUTS[described.bounding_box_format]
    return KeypointLayout(str(described.relative_to), described.names)


def find_scores(model: keras.Model, outputs: Outputs) -> Any:
    """Return the output with class scores; None if all outputs are coordinates."""
    if not outputs:
        return model.outputs[0]
    plain = [name for name, layout in outputs if layout is None]
    if not plain:
        return None
    return model.output[plain[0]] if isinstance(model.output, dict) else model.outputs[0]


def find_signature_names(model: keras.Model, outputs: Outputs) -> dict[str, str]:
    """Return the names of outputs in a converted file's signature, with their own names.

    Args:
        model: The converted model.
        outputs: Its outputs, in the desired order.
    """
    if isinstance(model.output, dict):
        return {name: name for name, _ in outputs}
    return {f"output_{number}": name for number, (name, _) in enumerate(outputs)}


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
