"""Plan the quantization of each layer of a network, before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_dlcourse.graph.flat import Graph, Node, flat_copy
from keras_dlcourse.graph.skipping import Skip
from keras_dlcourse.layers._remade import activation_name
from keras_dlcourse.layers.compression.fake_quantize import is_quantized
from keras_dlcourse.quantize.qat.rules import Rule, open_layer, rule_for

SKIPPED = "asked for by skip="


@dataclass(frozen=True)
class Step:
    """The quantization of one layer.

    Attributes:
        layer: Its name in the flat graph; layers inside a composite have their own names.
        kind: Its class.
        weights: Names of the weights that are rounded to int8, with one scale per channel.
        output: Source of the output's range: `"observed"`, `"fixed"`, `"as its input"`,
            `"inside <layer>"` if the kernel applies that layer before rounding, or `"float"`.
        reason: Why it stays in float; empty if it does not.
    """

    layer: str
    kind: str
    weights: tuple[str, ...]
    output: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """The quantization of each layer. Prints as a table.

    Attributes:
        steps: One step per call of a layer, in graph order.
    """

    steps: tuple[Step, ...]

    @property
    def left_in_float(self) -> tuple[Step, ...]:
        """The steps that stay in float, each with its reason."""
        return tuple(step for step in self.steps if step.reason)

    def __str__(self) -> str:
        from keras_dlcourse._tables import text_table

        rows = [
            [step.layer, step.kind, ", ".join(step.weights), step.reason or step.output]
            for step in self.steps
        ]
        return text_table(["layer", "kind", "int8 per channel", "output"], rows, width=140)


def plan(model: keras.Model, skip: Sequence[str] = ()) -> Plan:
    """Return what `quantization_aware` would do with each layer of a model.

    Args:
        model: A built functional or Sequential model.
        skip: Names of layers to leave in float; `*` and `?` are wildcards, as in file names. For a
            composite layer (a separable convolution, attention, a block) or a nested model,
            everything inside it is skipped.

    Returns:
        A `Plan`; print it for a table.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If the model is subclassed, unbuilt or already quantized, if a rule raises an
            error, or if a name in `skip` matches nothing.

    Example:
        >>> inputs = keras.Input((8, 8, 3))
        >>> outputs = keras.layers.ELU()(keras.layers.Conv2D(4, 3, name="stem")(inputs))
        >>> steps = plan(keras.Model(inputs, outputs)).steps
        >>> steps[0].weights, steps[1].reason[:3]
        (('kernel',), 'elu')
    """
    left = Skip(skip)
    return describe_assignment(assign_rules(flatten(model, left), left))


def flatten(model: keras.Model, skip: Skip | None = None) -> Graph:
    """Return the graph of an independent copy of a model, with composite layers expanded.

    Composite layers and nested models that are skipped stay whole.

    Raises:
        TypeError, ValueError: As in `plan`.
    """
    if isinstance(model, keras.Model) and is_quantized(model):
        raise ValueError(
            f"model {model.name!r} is already quantized. Train it further, or start from the float "
            "model."
        )
    return Graph(flat_copy(model, open_layer, skip or Skip()))


@dataclass(frozen=True)
class Assignment:
    """A graph with a rule for each node, and which nodes are fused into a kernel.

    Attributes:
        graph: The flat graph.
        rules: Maps the `id` of each node to its rule.
        ends: Maps the `id` of each node whose output is not rounded to the later node whose output
            is: one kernel computes everything from the first node to the last.
    """

    graph: Graph
    rules: dict[int, Rule]
    ends: dict[int, Node]

    def needs_bridge(self, tensor: Any, join: Node) -> bool:
        """Whether an input of a join has its own range that the converter cannot change.

        The converter can change the ranges of integer kernels directly before the join. It cannot
        change ranges of inputs of the model, nor of tensors that come from, or are also read by, a
        layer in float; and across reshaping it uses the range of the inputs instead.
        """
        maker = self.graph.maker(tensor)
        if maker is not None and self.ends.get(id(maker)) is join:
            return False  # it has no range of its own
        if len(join.inputs) == 1:
            return True  # the join does not exist on the device
        readers = [node for output in join.outputs for node in self.graph.users(output)]
        if any(self.rules[id(node)].output == "exact" for node in readers):
            return True
        return self._touches_float(tensor)

    def _touches_float(self, tensor: Any) -> bool:
        """Whether a tensor's range comes from a layer in float, or such a layer also reads it."""
        maker = self.graph.maker(tensor)
        if maker is None or self.rules[id(maker)].reason:
            return True
        if any(self.rules[id(node)].reason for node in self.graph.users(tensor)):
            return True
        handed_on = self.rules[id(maker)].output in ("exact", "input")
        return handed_on and any(self._touches_float(one) for one in maker.inputs)


def assign_rules(graph: Graph, skip: Skip | None = None) -> Assignment:
    """Find the rule of each node, and which nodes are fused."""
    skip = skip or Skip()
    rules = {id(node): _rule(node, skip) for node in graph.nodes}
    skip.check(graph.model.name)
    ends: dict[int, Node] = {}
    taken: set[int] = set()
    for node in graph.nodes:
        if id(node) not in taken:
            chain = _chain(graph, node, rules)
            taken.update(id(part) for part in chain)
            ends.update({id(part): chain[-1] for part in chain[:-1]})
            joint = graph.only_user(chain[-1])
            if joint is not None and rules[id(joint)].joins and _is_observed(rules[id(chain[-1])]):
                ends[id(chain[-1])] = joint
    return Assignment(graph, rules, ends)


def _rule(node: Node, skip: Skip) -> Rule:
    """Return the rule of a node; skipped nodes, including whole composites, stay in float."""
    if skip(node.name) or isinstance(node.operation, keras.Model):
        return Rule(reason=SKIPPED)
    found = rule_for(node.operation)
    return Rule(reason=SKIPPED) if found.opens else found


def _is_observed(rule: Rule) -> bool:
    return rule.output == "range" and not rule.reason


def _chain(graph: Graph, node: Node, rules: dict[int, Rule]) -> list[Node]:
    """Return a node and the nodes its kernel applies before rounding: batch norm, then ReLU."""
    chain, allowed = [node], rules[id(node)].fuses
    while allowed:
        following = graph.only_user(chain[-1])
        if following is None:
            break
        kind = rules[id(following)].fused_as
        if kind not in allowed or (kind == "scale" and not _folds(graph, chain[-1], following)):
            break
        chain.append(following)
        allowed = allowed[allowed.index(kind) + 1 :]
    return chain


def _folds(graph: Graph, kernel: Node, scale: Node) -> bool:
    """Whether a node is a batch normalization that can be folded into the preceding kernel.

    A kernel that is also called elsewhere cannot be folded, as that call would change as well.
    """
    return (
        isinstance(scale.operation, keras.layers.BatchNormalization)
        and len(graph.calls(kernel.operation)) == 1
    )


def describe_assignment(assignment: Assignment) -> Plan:
    """Describe an assignment as a plan."""
    return Plan(tuple(_step(assignment, node) for node in assignment.graph.nodes))


def _step(assignment: Assignment, node: Node) -> Step:
    found = assignment.rules[id(node)]
    kind = type(node.operation).__name__
    if kind == "Activation":
        kind = f"Activation {activation_name(node.operation.activation)}"
    step = Step(node.name, kind, tuple(found.weights), "observed", found.reason)
    if found.reason:
        return replace(step, output="float", weights=())
    if id(node) in assignment.ends:
        return replace(step, output=f"inside {assignment.ends[id(node)].name}")
    if found.output in ("input", "exact"):
        return replace(step, output="as its input")
    return step if found.output == "range" else replace(step, output="fixed")
