"""Run a model node by node, including nested models, with access to intermediate values.

Keras hides the inside of a nested model behind one call. Here, each call of a layer, however deeply
nested, is a place where values can be inspected or changed. The weights are those of the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from keras_dlcourse.graph.flat import Graph, Node, order_inputs, to_functional


@dataclass(frozen=True)
class Place:
    """One call of a layer or operation somewhere in a model.

    Attributes:
        path: The calls of the enclosing nested models from the outside in, then the call itself.
    """

    path: tuple[Node, ...]

    @property
    def node(self) -> Node:
        """The call itself."""
        return self.path[-1]

    @property
    def name(self) -> str:
        """Names of the nested models and of the layer, joined by `/`."""
        return "/".join(node.name for node in self.path)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Shape of the output, including the batch."""
        return tuple(self.node.outputs[0].shape)


Call = Callable[[Place, tuple[Any, ...], dict[str, Any]], Any]
After = Callable[[Place, Any], Any]


class Network:
    """A functional model that can be run node by node.

    Args:
        model: A built functional or Sequential model. Its layers are used directly, not copied.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If `model` has no graph, because it is subclassed or unbuilt.

    Example:
        >>> inputs = keras.Input((4,))
        >>> inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden")],
        ...                          name="inner")
        >>> network = Network(keras.Model(inputs, keras.layers.ReLU(name="end")(inner(inputs))))
        >>> [place.name for place in network.places]
        ['inner/hidden', 'inner', 'end']
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = to_functional(model)
        self._graphs: dict[tuple[Node, ...], Graph] = {}
        self._open((), self.model)
        self.places = tuple(self._walk(()))

    def run(
        self, inputs: Sequence[Any], call: Call | None = None, after: After | None = None
    ) -> Any:
        """Compute the model's outputs.

        Args:
            inputs: A tensor for each of `model.inputs`, in that order.
            call: Function that replaces the call of each layer, given its place and the arguments.
                Nested models are opened, not called. By default, layers are called in inference
                mode.
            after: Function that receives a place and its outputs, and returns the outputs to pass
                on. It is also called for nested models, after their last layer.

        Returns:
            The outputs, in the model's structure.
        """
        return self._run((), list(inputs), call or call_in_inference, after or _as_it_is)

    def output_at(self, place: Place, inputs: Sequence[Any]) -> Any:
        """Compute the output of a place.

        Args:
            place: One of `places`, with one output.
            inputs: A tensor for each of `model.inputs`, in that order.
        """
        seen: list[Any] = []

        def after(here: Place, outputs: Any) -> Any:
            if here == place:
                seen.append(_as_list(outputs)[0])
            return outputs

        self.run(inputs, after=after)
        return seen[0]

    def tensor_at(self, place: Place) -> Any:
        """Return the output of a place as a symbolic tensor of the whole model.

        Nested models around the place are truncated after it; all layers are shared.

        Args:
            place: One of `places`, with one output.
        """
        tensor = place.node.outputs[0]
        for depth in range(len(place.path) - 1, 0, -1):
            # The `input` of a Sequential model is what it was called on, not its own input.
            outer, nested = place.path[depth - 1], self._graphs[place.path[:depth]].model
            if tensor is nested.outputs[0] and len(nested.outputs) == 1:
                tensor = outer.outputs[0]
                continue
            part = keras.Model(nested.input, tensor, name=f"{nested.name}_cut")
            args = outer.args[0] if outer.args else outer.kwargs["inputs"]
            training = outer.kwargs.get("training")
            tensor = part(args) if training is None else part(args, training=training)
        return tensor

    def sources(self) -> dict[Place, frozenset[int]]:
        """Return, for each place, the indices of the model inputs that reach it."""
        found: dict[Place, frozenset[int]] = {}

        def after(place: Place, outputs: Any) -> Any:
            found[place] = frozenset().union(*tree.flatten(outputs))
            return outputs

        self._trace(after)
        return found

    def reach(self, without: Place) -> list[frozenset[int]]:
        """Return, for each output, the indices of the inputs that reach it bypassing a place."""

        def after(place: Place, outputs: Any) -> Any:
            return [frozenset()] * len(_as_list(outputs)) if place == without else outputs

        return _as_list(self._trace(after))

    def _trace(self, after: After) -> Any:
        """Trace the inputs through the network, with sets of input indices instead of tensors."""

        def call(place: Place, args: Any, kwargs: Any) -> Any:
            given = [v for v in tree.flatten((args, kwargs)) if isinstance(v, frozenset)]
            return [frozenset().union(*given)] * len(place.node.outputs)

        inputs = [frozenset([number]) for number in range(len(self.model.inputs))]
        return self.run(inputs, call, after)

    def maker(self, tensor: Any) -> Place | None:
        """Return the place that computes one of the model's outputs, inside nested models too."""
        return self._maker((), tensor)

    def source(self, place: Place, number: int = 0) -> Place | None:
        """Return the place that computes an input of a place; None for an input of the model."""
        return self._maker(place.path[:-1], place.node.inputs[number])

    def _open(self, path: tuple[Node, ...], model: keras.Model) -> None:
        graph = self._graphs[path] = Graph(to_functional(model))
        for node in graph.nodes:
            if isinstance(node.operation, keras.Model):
                self._open((*path, node), node.operation)

    def _walk(self, path: tuple[Node, ...]) -> Iterator[Place]:
        for node in self._graphs[path].nodes:
            here = (*path, node)
            if here in self._graphs:
                yield from self._walk(here)
            yield Place(here)

    def _run(self, path: tuple[Node, ...], inputs: list[Any], call: Call, after: After) -> Any:
        graph = self._graphs[path]
        known = {id(old): new for old, new in zip(graph.model.inputs, inputs, strict=True)}

        def swap(value: Any) -> Any:
            return known[id(value)] if isinstance(value, keras.KerasTensor) else value

        for node in graph.nodes:
            args, kwargs = tree.map_structure(swap, (node.args, node.kwargs))
            here = (*path, node)
            if here in self._graphs:
                inner = self._graphs[here].model
                given = order_inputs(inner, args[0] if args else kwargs["inputs"])
                made = self._run(here, given, call, after)
            else:
                made = call(Place(here), args, kwargs)
            made = _as_list(after(Place(here), made))
            known.update({id(old): new for old, new in zip(node.outputs, made, strict=True)})
        return tree.map_structure(swap, graph.model.output)

    def _maker(self, path: tuple[Node, ...], tensor: Any) -> Place | None:
        """Find the layer that computes a tensor, across the boundaries of nested models."""
        graph = self._graphs[path]
        node = graph.maker(tensor)
        if node is None:
            if not path:
                return None
            number = [id(given) for given in graph.model.inputs].index(id(tensor))
            outer = path[-1]
            given = order_inputs(
                graph.model, outer.args[0] if outer.args else outer.kwargs["inputs"]
            )
            return self._maker(path[:-1], given[number])
        inside = (*path, node)
        if inside in self._graphs:
            number = [id(made) for made in node.outputs].index(id(tensor))
            return self._maker(inside, self._graphs[inside].model.outputs[number])
        return Place(inside)


def call_in_training(place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a layer in training mode: a `call` for `Network.run`."""
    return _call_layer(place.node.operation, args, kwargs, training=True)


def call_in_inference(place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a layer in inference mode, like `predict`: a `call` for `Network.run`.

    By default, Keras's augmentation layers would augment.
    """
    return _call_layer(place.node.operation, args, kwargs, training=False)


def call_as_built(place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a layer as the model does: a `call` for `Network.run` that makes a model to train."""
    return place.node.operation(*args, **kwargs)


def _call_layer(operation: Any, args: Any, kwargs: dict[str, Any], training: bool) -> Any:
    if "training" in inspect.signature(operation.call).parameters:
        kwargs = {**kwargs, "training": training}
    return operation(*args, **kwargs)


def _as_it_is(place: Place, outputs: Any) -> Any:
    return outputs


def _as_list(outputs: Any) -> list[Any]:
    return list(tree.flatten(outputs))
