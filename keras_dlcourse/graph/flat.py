"""A model as one flat graph of primitive layers, to be read and rebuilt.

Quantization, pruning and export look at a network through this file, the one that knows how Keras
keeps its graph. A node is one call of a layer or of an operation of `keras.ops`; a layer called
twice has two nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from keras_dlcourse.graph.weightless import weightless
from keras_dlcourse.layers._remade import activation_name, arguments, remade
from keras_dlcourse.layers.blocks._composite import CompositeLayer


@dataclass(frozen=True, eq=False)
class Node:
    """One call in a graph.

    Attributes:
        operation: The layer, or the operation of `keras.ops`.
        args: What it was called on: symbolic tensors, constants, and lists of them.
        kwargs: Its keyword arguments, likewise.
        outputs: The symbolic tensors that came out.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Any, ...]

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The symbolic tensors that go in."""
        flat = tree.flatten((self.args, self.kwargs))
        return tuple(value for value in flat if isinstance(value, keras.KerasTensor))

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self.operation.name)


class Graph:
    """The calls of a functional model in the order in which they can be computed.

    Args:
        model: A functional model; `functional` makes one of a Sequential model.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.nodes = list(_nodes(model))
        self._makers = {id(tensor): node for node in self.nodes for tensor in node.outputs}
        self._users: dict[int, list[Node]] = {}
        for node in self.nodes:
            for tensor in node.inputs:
                self._users.setdefault(id(tensor), []).append(node)
        self._ends = {id(tensor) for tensor in model.outputs}

    def maker(self, tensor: Any) -> Node | None:
        """Return the node that a tensor comes from, None for an input of the model."""
        return self._makers.get(id(tensor))

    def users(self, tensor: Any) -> list[Node]:
        """Return the nodes that a tensor goes into."""
        return self._users.get(id(tensor), [])

    def is_output(self, tensor: Any) -> bool:
        """Whether a tensor is an output of the model."""
        return id(tensor) in self._ends

    def calls(self, operation: Any) -> list[Node]:
        """Return the nodes that call a layer."""
        return [node for node in self.nodes if node.operation is operation]

    def only_user(self, node: Node) -> Node | None:
        """Return the one node that sees a node's one output; None if others do, or the user."""
        if len(node.outputs) != 1 or self.is_output(node.outputs[0]):
            return None
        users = self.users(node.outputs[0])
        return users[0] if len(users) == 1 else None

    def rebuild(
        self,
        call: Callable[[Node, tuple[Any, ...], dict[str, Any]], Any],
        on_input: Callable[[int, Any], Any] | None = None,
        new_input: Callable[[Any], Any] | None = None,
    ) -> keras.Model:
        """Return a functional model made by calling `call` for each node in order.

        Args:
            call: Given a node, and its arguments with new tensors in place of old ones; returns
                what stands for the node's outputs in the new model.
            on_input: Given the number of an input and its new tensor, returns what the rest of the
                network sees of it.
            new_input: Given an input, returns the one that stands for it; by default one of the
                same shape.

        Returns:
            A model with the same name, and the same structure of inputs and outputs.
        """
        fresh: dict[int, Any] = {}
        inputs = [(new_input or _like)(tensor) for tensor in self.model.inputs]
        for number, (old, new) in enumerate(zip(self.model.inputs, inputs, strict=True)):
            fresh[id(old)] = new if on_input is None else on_input(number, new)

        def swap(value: Any) -> Any:
            return fresh[id(value)] if isinstance(value, keras.KerasTensor) else value

        for node in self.nodes:
            args, kwargs = tree.map_structure(swap, (node.args, node.kwargs))
            made = tree.flatten(call(node, args, kwargs))
            fresh.update({id(old): new for old, new in zip(node.outputs, made, strict=True)})
        new_inputs = dict(zip(map(id, self.model.inputs), inputs, strict=True))
        return keras.Model(
            tree.map_structure(lambda tensor: new_inputs[id(tensor)], self.model.input),
            tree.map_structure(swap, self.model.output),
            name=self.model.name,
        )


def flat_copy(
    model: keras.Model,
    open_layer: Callable[[Any], Callable[..., Any] | None],
    keep: Callable[[str], bool] = lambda name: False,
) -> keras.Model:
    """Return an independent copy of a model without nested models and composite layers.

    Args:
        model: A built functional or Sequential model; left as it is.
        open_layer: Returns, for a composite layer (or operation), a function of its call's
            arguments that computes the same with simpler layers, and None for all others.
        keep: Given the name of a composite layer or nested model, returns whether it stays as it
            is. It is asked for all other layers, too.

    Returns:
        A functional model with weights of its own and a unique name for each layer.

    Raises:
        ValueError: If the model has no graph, because it is subclassed or unbuilt.
    """
    return _flattened(copy_of(model), open_layer, keep)


def copy_of(model: keras.Model) -> keras.Model:
    """Return an independent copy of a model, with the same layers and weights of its own.

    Args:
        model: A built functional or Sequential model; left as it is.

    Returns:
        A functional model.

    Raises:
        TypeError: If it is no Keras model.
        ValueError: If the model has no graph, because it is subclassed or unbuilt.
    """
    copies: dict[int, tuple[Any, Any]] = {}
    twin = _copied(functional(model), copies)
    for original, copy in copies.values():
        if isinstance(original, keras.layers.Layer) and not isinstance(original, keras.Model):
            copy.set_weights(original.get_weights())
    return twin


def open_block(layer: Any) -> Callable[..., Any] | None:
    """Return what a composite layer computes with Keras's own, None for all other layers."""
    return layer.call if isinstance(layer, CompositeLayer) else None


def skeleton(model: keras.Model, input_shape: tuple[int | None, ...] | None = None) -> keras.Model:
    """Return a flat copy of a model, composite layers opened, to be read and not to be run.

    It has layers and shapes and no numbers, so it costs no memory, however large the model is.

    Args:
        model: A built functional or Sequential model; left as it is.
        input_shape: Shape of its one input without the batch, where the model leaves sizes open.

    Raises:
        ValueError: If the model has no graph, because it is subclassed or unbuilt.
    """
    with weightless():
        twin = _copied(functional(model), {})
        if input_shape is not None:
            inputs = keras.Input(input_shape, dtype=twin.inputs[0].dtype, name=twin.inputs[0].name)
            twin = keras.Model(inputs, twin(inputs), name=model.name)
        return _flattened(twin, open_block, lambda name: False)


def functional(model: keras.Model) -> keras.Model:
    """Return a functional model: the model itself, or a Sequential one's graph.

    Raises:
        TypeError: If it is no Keras model.
        ValueError: If it has no graph.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {type(model).__name__}")
    if isinstance(model, keras.Sequential):
        if not model.built or not getattr(model, "inputs", None):
            raise ValueError(
                f"model {model.name!r} has not been built, so its layers have no weights yet; give "
                "it an input shape (keras.Input as the first layer) or call it once on data"
            )
        outputs = model.outputs[0] if len(model.outputs) == 1 else model.outputs
        return keras.Model(model.inputs[0], outputs, name=model.name)
    if not hasattr(model, "_nodes_by_depth"):
        raise ValueError(
            f"model {model.name!r} ({type(model).__name__}) is subclassed: its graph is hidden in "
            "its call(). Wrap its functional part, or make one of it: "
            "keras.Model(x := keras.Input(shape), model.call(x))"
        )
    return model


def _copied(model: keras.Model, copies: dict[int, tuple[Any, Any]]) -> keras.Model:
    """Return a copy of a functional model with new weights.

    Not by `keras.models.clone_model`, which also copies what a model was compiled with: losses and
    metrics of one's own have no config, and no copy needs them.

    Args:
        model: A functional model.
        copies: Each layer and its copy, by the layer's `id`; they are added here.
    """

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        operation = node.operation
        if id(operation) not in copies:
            nested = isinstance(operation, keras.Model)
            copy = _copied(functional(operation), copies) if nested else _clone(operation)
            copies[id(operation)] = operation, copy
        return copies[id(operation)][1](*args, **kwargs)

    return Graph(model).rebuild(call)


def _clone(layer: Any) -> Any:
    """Return a copy of a layer with new weights.

    Raises:
        ValueError: If its arguments are not known, or do not make it again.
    """
    if isinstance(layer, keras.layers.Lambda):
        # Rebuilding a Python function from a config is refused, as it may come from a stranger's
        # file; this one is here already. It has no weights.
        return keras.layers.Lambda(
            layer.function,
            output_shape=layer._output_shape,
            mask=layer.mask,
            arguments=layer.arguments,
            dtype=layer.dtype_policy,
            name=layer.name,
        )
    try:
        activations = {
            name: _built_clone(value)
            for name, value in arguments(layer).items()
            if isinstance(value, keras.layers.Layer)
        }
        copy = remade(layer, **activations)
        _check_functions(layer, copy)
        return copy
    except Exception as error:  # these are methods of the user's layers
        raise ValueError(
            f"layer {layer.name!r} ({type(layer).__name__}) cannot be copied: its get_config() "
            "must return all that its __init__ takes, for from_config() to make it again, and "
            "functions of your own inside of it must be registered with "
            "@keras.saving.register_keras_serializable(). Received: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error


def _check_functions(layer: Any, copy: Any) -> None:
    """Refuse a copy with other activations: in wrappers, Keras takes its own of the same name."""
    old, new = (
        [activation_name(getattr(part, "activation", None)) for part in one._flatten_layers()]
        if isinstance(one, keras.layers.Layer)
        else []
        for one in (layer, copy)
    )
    if len(old) == len(new) and old != new:  # others make their parts when they are built
        raise ValueError(f"from_config() gave {', '.join(new)} in place of {', '.join(old)}")


def _built_clone(layer: Any) -> Any:
    """Return a copy of a layer with as many weights: Keras builds activations at the first call."""
    copy = _clone(layer)
    if layer.built:
        copy.build_from_config(layer.get_build_config())
    return copy


def _flattened(model: keras.Model, open_layer: Any, keep: Callable[[str], bool]) -> keras.Model:
    """Open nested models and composite layers until none is left."""
    names: dict[str, Any] = {}
    kept: dict[int, bool] = {}
    opened_before: dict[int, Any] = {}  # a shared layer is opened once, so that it stays shared

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        return _call_opened(node.operation, args, kwargs)

    def _call_opened(operation: Any, args: Any, kwargs: Any) -> Any:
        if id(operation) not in kept:
            kept[id(operation)] = keep(operation.name)
        if kept[id(operation)]:
            _make_unique(operation, names)
            return operation(*args, **kwargs)
        if isinstance(operation, keras.Model):
            inner = Graph(functional(operation))
            given = args[0] if args else kwargs["inputs"]
            # `base(x, training=False)` keeps its batch statistics frozen: so do its parts.
            return _through(inner, in_order(inner.model, given), kwargs.get("training"))
        if id(operation) not in opened_before:
            opened_before[id(operation)] = open_layer(operation)
        opened = opened_before[id(operation)]
        if opened is None:
            _make_unique(operation, names)
            return operation(*args, **kwargs)
        # The opened form may hold composites again.
        scratch = tree.map_structure(_symbolic_like, (args, kwargs))
        outputs = opened(*scratch[0], **scratch[1])
        tensors = [t for t in tree.flatten(scratch) if isinstance(t, keras.KerasTensor)]
        given = [t for t in tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
        return _through(Graph(keras.Model(tensors, outputs)), given)

    def _through(inner: Graph, inputs: list[Any], training: bool | None = None) -> Any:
        fresh = dict(zip(map(id, inner.model.inputs), inputs, strict=True))

        def swap(value: Any) -> Any:
            return fresh[id(value)] if isinstance(value, keras.KerasTensor) else value

        for node in inner.nodes:
            args, kwargs = tree.map_structure(swap, (node.args, node.kwargs))
            if training is not None and _knows_training(node.operation):
                kwargs["training"] = training
            made = tree.flatten(_call_opened(node.operation, args, kwargs))
            fresh.update({id(old): new for old, new in zip(node.outputs, made, strict=True)})
        return tree.map_structure(swap, inner.model.output)

    return Graph(model).rebuild(call)


def in_order(model: keras.Model, inputs: Any) -> list[Any]:
    """Return what a model is called with, in the order of its inputs."""
    if isinstance(inputs, dict):
        by_key = model.input if isinstance(model.input, dict) else {t.name: t for t in model.inputs}
        places = {id(tensor): inputs[key] for key, tensor in by_key.items()}
        return [places[id(tensor)] for tensor in model.inputs]
    return list(tree.flatten(inputs))


def _knows_training(operation: Any) -> bool:
    """Whether a layer computes something else in training."""
    return isinstance(operation, keras.Model) or bool(
        getattr(operation, "_call_has_training_arg", False)
    )


def _make_unique(operation: Any, names: dict[str, Any]) -> None:
    """Rename a layer whose name another one has: nested models may repeat each other's names."""
    name, number = operation.name, 0
    while names.setdefault(operation.name, operation) is not operation:
        number += 1
        operation.name = f"{name}_{number}"


def _symbolic_like(value: Any) -> Any:
    if isinstance(value, keras.KerasTensor):
        return keras.Input(batch_shape=value.shape, dtype=value.dtype)
    return value


def _like(tensor: Any) -> Any:
    """Return a new input with the shape, type and name of another."""
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)


def _nodes(model: keras.Model) -> Iterator[Node]:
    """Read a functional model's calls, first things first."""
    known = {id(tensor) for tensor in model.inputs}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input or not all(id(tensor) in known for tensor in node.input_tensors):
                continue
            known.update(id(tensor) for tensor in node.outputs)
            arguments = node.arguments
            yield Node(
                node.operation, tuple(arguments.args), dict(arguments.kwargs), tuple(node.outputs)
            )
