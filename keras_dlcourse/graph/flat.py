"""A model as one flat graph of primitive layers, which can be read and rebuilt.

Quantization, pruning and export access networks through this file, the only one that depends on how
Keras stores its graph. A node is one call of a layer or of an operation of `keras.ops`; a layer
that is called twice has two nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from keras_dlcourse.graph.weightless import weightless
from keras_dlcourse.layers._remade import activation_name, arguments, remake_layer
from keras_dlcourse.layers.blocks._composite import CompositeLayer


@dataclass(frozen=True, eq=False)
class Node:
    """One call in a graph.

    Attributes:
        operation: The layer, or the operation of `keras.ops`.
        args: Positional arguments of the call: symbolic tensors, constants, and lists of them.
        kwargs: Keyword arguments of the call, likewise.
        outputs: Symbolic output tensors.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Any, ...]

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Symbolic input tensors."""
        flat = tree.flatten((self.args, self.kwargs))
        return tuple(value for value in flat if isinstance(value, keras.KerasTensor))

    @property
    def name(self) -> str:
        """Name of the layer or operation."""
        return str(self.operation.name)


class Graph:
    """The calls of a functional model, in an order in which they can be computed.

    Args:
        model: A functional model; `to_functional` converts a Sequential model.
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
        """Return the node that computes a tensor; None for an input of the model."""
        return self._makers.get(id(tensor))

    def users(self, tensor: Any) -> list[Node]:
        """Return the nodes that use a tensor."""
        return self._users.get(id(tensor), [])

    def is_output(self, tensor: Any) -> bool:
        """Whether a tensor is an output of the model."""
        return id(tensor) in self._ends

    def calls(self, operation: Any) -> list[Node]:
        """Return the nodes that call a layer."""
        return [node for node in self.nodes if node.operation is operation]

    def only_user(self, node: Node) -> Node | None:
        """Return the only node that uses a node's only output; None if it is used elsewhere."""
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
            call: Function that receives a node and its arguments with new tensors in place of old
                ones, and returns the node's outputs in the new model.
            on_input: Function that receives the index of an input and its new tensor, and returns
                the tensor that the rest of the network receives.
            new_input: Function that receives an input and returns its replacement. By default, a
                new input with the same shape.

        Returns:
            A model with the same name, and the same structure of inputs and outputs.
        """
        fresh: dict[int, Any] = {}
        inputs = [(new_input or _input_like)(tensor) for tensor in self.model.inputs]
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
        model: A built functional or Sequential model; it is not modified.
        open_layer: Function that returns, for a composite layer (or operation), a function of its
            call arguments that computes the same with simpler layers, and None for all others.
        keep: Function that receives the name of a composite layer or nested model, and returns
            whether to keep it unopened. It is called for all other layers, too.

    Returns:
        A functional model with its own weights and a unique name for each layer.

    Raises:
        ValueError: If `model` has no graph, because it is subclassed or unbuilt.
    """
    return _flatten(copy_model(model), open_layer, keep)


def copy_model(model: keras.Model) -> keras.Model:
    """Return an independent copy of a model, with the same layers and its own weights.

    Args:
        model: A built functional or Sequential model; it is not modified.

    Returns:
        A functional model.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If `model` has no graph, because it is subclassed or unbuilt.
    """
    copies: dict[int, tuple[Any, Any]] = {}
    twin = _copy_functional(to_functional(model), copies)
    for original, copy in copies.values():
        if isinstance(original, keras.layers.Layer) and not isinstance(original, keras.Model):
            copy.set_weights(original.get_weights())
    return twin


def open_block(layer: Any) -> Callable[..., Any] | None:
    """Return a function that computes a composite layer with Keras layers; None for others."""
    return layer.call if isinstance(layer, CompositeLayer) else None


def skeleton(model: keras.Model, input_shape: tuple[int | None, ...] | None = None) -> keras.Model:
    """Return a flat copy of a model without weight values, which can be inspected but not run.

    Composite layers are opened. The copy has layers and shapes but no values, so it needs no memory
    for weights, however large the model is.

    Args:
        model: A built functional or Sequential model; it is not modified.
        input_shape: Shape of its only input without the batch, if the model has open sizes.

    Raises:
        ValueError: If `model` has no graph, because it is subclassed or unbuilt.
    """
    with weightless():
        twin = _copy_functional(to_functional(model), {})
        if input_shape is not None:
            inputs = keras.Input(input_shape, dtype=twin.inputs[0].dtype, name=twin.inputs[0].name)
            twin = keras.Model(inputs, twin(inputs), name=model.name)
        return _flatten(twin, open_block, lambda name: False)


def to_functional(model: keras.Model) -> keras.Model:
    """Return a functional model: the model itself, or the graph of a Sequential model.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If `model` has no graph.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {type(model).__name__}")
    if isinstance(model, keras.Sequential):
        if not model.built or not getattr(model, "inputs", None):
            raise ValueError(
                f"model {model.name!r} has not been built, so its layers have no weights yet. Give "
                "it an input shape (keras.Input as the first layer), or call it once on data."
            )
        outputs = model.outputs[0] if len(model.outputs) == 1 else model.outputs
        return keras.Model(model.inputs[0], outputs, name=model.name)
    if not hasattr(model, "_nodes_by_depth"):
        raise ValueError(
            f"model {model.name!r} ({type(model).__name__}) is subclassed, so its graph is hidden "
            "in its call(). Wrap its functional part, or convert it: "
            "keras.Model(x := keras.Input(shape), model.call(x))"
        )
    return model


def _copy_functional(model: keras.Model, copies: dict[int, tuple[Any, Any]]) -> keras.Model:
    """Return a copy of a functional model with new weights.

    `keras.models.clone_model` is not used, because it also copies the compile configuration: custom
    losses and metrics may have no config, and copies do not need them.

    Args:
        model: A functional model.
        copies: Each layer and its copy, by the layer's `id`; updated by this function.
    """

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        operation = node.operation
        if id(operation) not in copies:
            nested = isinstance(operation, keras.Model)
            copy = (
                _copy_functional(to_functional(operation), copies) if nested else _clone(operation)
            )
            copies[id(operation)] = operation, copy
        return copies[id(operation)][1](*args, **kwargs)

    return Graph(model).rebuild(call)


def _clone(layer: Any) -> Any:
    """Return a copy of a layer with new weights.

    Raises:
        ValueError: If its arguments are unknown, or do not recreate it.
    """
    if isinstance(layer, keras.layers.Lambda):
        # Keras refuses to load a Python function from a config, which may come from an untrusted
        # file; this function is already in memory. Lambda layers have no weights.
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
            name: _clone_built(value)
            for name, value in arguments(layer).items()
            if isinstance(value, keras.layers.Layer)
        }
        copy = remake_layer(layer, **activations)
        _check_functions(layer, copy)
        return copy
    except Exception as error:  # methods of user-defined layers may raise anything
        raise ValueError(
            f"layer {layer.name!r} ({type(layer).__name__}) cannot be copied. Its get_config() "
            "must return all arguments of its __init__, so that from_config() can recreate it, and "
            "custom functions in it must be registered with "
            "@keras.saving.register_keras_serializable(). Received: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error


def _check_functions(layer: Any, copy: Any) -> None:
    """Reject a copy with other activations: in wrappers, Keras may use a namesake of its own."""
    old, new = (
        [activation_name(getattr(part, "activation", None)) for part in one._flatten_layers()]
        if isinstance(one, keras.layers.Layer)
        else []
        for one in (layer, copy)
    )
    if len(old) == len(new) and old != new:  # lengths differ if a layer creates parts in build()
        raise ValueError(f"from_config() returned {', '.join(new)} instead of {', '.join(old)}")


def _clone_built(layer: Any) -> Any:
    """Return a copy of a layer, built if the layer is; Keras builds activations when first used."""
    copy = _clone(layer)
    if layer.built:
        copy.build_from_config(layer.get_build_config())
    return copy


def _flatten(model: keras.Model, open_layer: Any, keep: Callable[[str], bool]) -> keras.Model:
    """Open nested models and composite layers until none are left."""
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
            inner = Graph(to_functional(operation))
            given = args[0] if args else kwargs["inputs"]
            # `base(x, training=False)` freezes batch statistics, so its parts must do the same.
            return _through(inner, order_inputs(inner.model, given), kwargs.get("training"))
        if id(operation) not in opened_before:
            opened_before[id(operation)] = open_layer(operation)
        opened = opened_before[id(operation)]
        if opened is None:
            _make_unique(operation, names)
            return operation(*args, **kwargs)
        # The opened layer may contain further composite layers.
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


def order_inputs(model: keras.Model, inputs: Any) -> list[Any]:
    """Return the arguments of a model call, in the order of the model's inputs."""
    if isinstance(inputs, dict):
        by_key = model.input if isinstance(model.input, dict) else {t.name: t for t in model.inputs}
        places = {id(tensor): inputs[key] for key, tensor in by_key.items()}
        return [places[id(tensor)] for tensor in model.inputs]
    return list(tree.flatten(inputs))


def _knows_training(operation: Any) -> bool:
    """Whether a layer behaves differently in training."""
    return isinstance(operation, keras.Model) or bool(
        getattr(operation, "_call_has_training_arg", False)
    )


def _make_unique(operation: Any, names: dict[str, Any]) -> None:
    """Rename a layer if another one has the same name, as in nested models."""
    name, number = operation.name, 0
    while names.setdefault(operation.name, operation) is not operation:
        number += 1
        operation.name = f"{name}_{number}"


def _symbolic_like(value: Any) -> Any:
    if isinstance(value, keras.KerasTensor):
        return keras.Input(batch_shape=value.shape, dtype=value.dtype)
    return value


def open_input(tensor: Any) -> Any:
    """Return a new input for images of any size, with channels, dtype and name of another one."""
    shape = (tensor.shape[0], None, None, tensor.shape[-1])
    return keras.Input(batch_shape=shape, dtype=tensor.dtype, name=tensor.name)


def _input_like(tensor: Any) -> Any:
    """Return a new input with the shape, dtype and name of another tensor."""
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)


def _nodes(model: keras.Model) -> Iterator[Node]:
    """Yield a functional model's calls in topological order."""
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
