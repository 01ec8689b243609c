"""A model run node by node, into nested models too, with a hand on what passes.

Keras hides a nested model's inside behind one call. Here each call of a layer, however deep, is a
place where numbers can be looked at or changed on their way; the weights stay those of the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from keras_dlcourse.graph.flat import Graph, Node, functional, in_order


@dataclass(frozen=True)
class Place:
    """One call of a layer or operation somewhere in a model.

    Attributes:
        path: The call, with the calls of the nested models around it before it.
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
        """Shape of what comes out, with the batch."""
        return tuple(self.node.outputs[0].shape)


Call = Callable[[Place, tuple[Any, ...], dict[str, Any]], Any]
After = Callable[[Place, Any], Any]


class Network:
    """A functional model that can be run node by node.

    Args:
        model: A built functional or Sequential model. Its layers are used as they are.

    Raises:
        TypeError: If it is no Keras model.
        ValueError: If it has no graph, because it is subclassed or unbuilt.

    Example:
        >>> inputs = keras.Input((4,))
        >>> inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden")],
        ...                          name="inner")
        >>> network = Network(keras.Model(inputs, keras.layers.ReLU(name="end")(inner(inputs))))
        >>> [place.name for place in network.places]
        ['inner/hidden', 'inner', 'end']
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = functional(model)
        self._graphs: dict[tuple[Node, ...], Graph] = {}
        self._open((), self.model)
        self.places = tuple(self._walk(()))

    def run(
        self, inputs: Sequence[Any], call: Call | None = None, after: After | None = None
    ) -> Any:
        """Compute the model's outputs.

        Args:
            inputs: A tensor for each of `model.inputs`, in that order.
            call: Stands for the call of each layer: takes its place and the arguments. Nested
                models are opened and not called. By default layers are called in inference.
            after: Takes a place and what came out there, and returns what goes on from there. It
                is asked for nested models, too, behind their last layer.

        Returns:
            The outputs, in the model's structure.
        """
        return self._run((), list(inputs), call or call_in_inference, after or _as_it_is)

    def output_at(self, place: Place, inputs: Sequence[Any]) -> Any:
        """Compute what comes out at a place.

        Args:
            place: One of `places`, with one output.
            inputs: A tensor for each of `model.inputs`, in that order.
        """
        seen: list[Any] = []

        def after(here: Place, outputs: Any) -> Any:
            if here == place:
                seen.append(_listed(outputs)[0])
            return outputs

        self.run(inputs, after=after)
        return seen[0]

    def tensor_at(self, place: Place) -> Any:
        """Return what comes out at a place as a symbolic tensor of the whole model.

        Nested models around the place are cut behind it; all layers are shared.

        Args:
            place: One of `places`, with one output.
        """
        tensor = place.node.outputs[0]
        for depth in range(len(place.path) - 1, 0, -1):
            # Of a Sequential model `input` is what it was called on, so not of the model itself.
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
        """Return for each place the numbers of the model's inputs that reach it."""
        found: dict[Place, frozenset[int]] = {}

        def after(place: Place, outputs: Any) -> Any:
            found[place] = frozenset().union(*tree.flatten(outputs))
            return outputs

        self._trace(after)
        return found

    def reach(self, without: Place) -> list[frozenset[int]]:
        """Return for each output the numbers of the inputs that reach it around a place."""

        def after(place: Place, outputs: Any) -> Any:
            return [frozenset()] * len(_listed(outputs)) if place == without else outputs

        return _listed(self._trace(after))

    def _trace(self, after: After) -> Any:
        """Follow the inputs through the network: sets of their numbers in place of tensors."""

        def call(place: Place, args: Any, kwargs: Any) -> Any:
            given = [v for v in tree.flatten((args, kwargs)) if isinstance(v, frozenset)]
            return [frozenset().union(*given)] * len(place.node.outputs)

        inputs = [frozenset([number]) for number in range(len(self.model.inputs))]
        return self.run(inputs, call, after)

    def maker(self, tensor: Any) -> Place | None:
        """Return the place that one of the model's outputs comes from, in nested models too."""
        return self._maker((), tensor)

    def source(self, place: Place, number: int = 0) -> Place | None:
        """Return the place that a place's input comes from, None for an input of the model."""
        return self._maker(place.path[:-1], place.node.inputs[number])

    def _open(self, path: tuple[Node, ...], model: keras.Model) -> None:
        graph = self._graphs[path] = Graph(functional(model))
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
                given = in_order(inner, args[0] if args else kwargs["inputs"])
                made = self._run(here, given, call, after)
            else:
                made = call(Place(here), args, kwargs)
            made = _listed(after(Place(here), made))
            known.update({id(old): new for old, new in zip(node.outputs, made, strict=True)})
        return tree.map_structure(swap, graph.model.output)

    def _maker(self, path: tuple[Node, ...], tensor: Any) -> Place | None:
        """Go back over the borders of nested models to the layer that made a tensor."""
        graph = self._graphs[path]
        node = graph.maker(tensor)
        if node is None:
            if not path:
                return None
            number = [id(given) for given in graph.model.inputs].index(id(tensor))
            outer = path[-1]
            given = in_order(graph.model, outer.args[0] if outer.args else outer.kwargs["inputs"])
            return self._maker(path[:-1], given[number])
        inside = (*path, node)
        if inside in self._graphs:
            number = [id(made) for made in node.outputs].index(id(tensor))
            return self._maker(inside, self._graphs[inside].model.outputs[number])
        return Place(inside)


def call_in_training(place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a layer as training does: a `call` for `Network.run`."""
    return _called(place.node.operation, args, kwargs, training=True)


def call_in_inference(place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a layer as `predict` does: a `call` for `Network.run`.

    Left to itself, an augmentation layer of Keras would augment.
    """
    return _called(place.node.operation, args, kwargs, training=False)


def _called(operation: Any, args: Any, kwargs: dict[str, Any], training: bool) -> Any:
    if "training" in inspect.signature(operation.call).parameters:
        kwargs = {**kwargs, "training": training}
    return operation(*args, **kwargs)


def _as_it_is(place: Place, outputs: Any) -> Any:
    return outputs


def _listed(outputs: Any) -> list[Any]:
    return list(tree.flatten(outputs))
