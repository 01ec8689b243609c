"""Quantization-aware training: compute the same network with values that integers can represent."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import keras
from keras import tree

from keras_dlcourse import layers
from keras_dlcourse._checks import check_one_of
from keras_dlcourse.graph.flat import Node
from keras_dlcourse.graph.skipping import Skip
from keras_dlcourse.layers.compression.fake_quantize import RANGES
from keras_dlcourse.quantize.qat.planning import (
    SKIPPED,
    Assignment,
    assign_rules,
    describe_assignment,
    flatten,
)

SCHEMES = ("int8",)


def quantization_aware(
    model: keras.Model,
    scheme: str = "int8",
    *,
    skip: Sequence[str] = (),
    ranges: str = "moving_average",
    momentum: float = 0.99,
    freeze_batch_norm_after: int | None = None,
) -> keras.Model:
    """Return a copy of a model that computes with the values of an integer device.

    The copy is an ordinary functional model: compile and fit it with any optimizer and callback,
    save it as `.keras`, and pass it to `kd.export.to_tflite`, which then needs no calibration data.
    Weights are rounded to int8 with one scale per output channel, activations to the 256 codes of
    a range that is observed during training. Gradients pass through rounding unchanged
    (straight-through). Nested models and composite layers are expanded: the copy is one flat graph.

    Batch normalization stays separate during training. At export it is folded into the preceding
    kernel; because each output channel has its own scale, folding changes the scales but not the
    codes, so training does not have to compute a second, folded convolution.

    Args:
        model: A built functional or Sequential model, preferably trained already. It is not
            modified.
        scheme: `"int8"`. (16-bit activations are only available after training: see `to_tflite`.)
        skip: Names of layers to leave in float; `*` and `?` are wildcards, as in file names. For a
            composite layer (a separable convolution, attention, a block) or a nested model,
            everything inside it is skipped. See `plan`.
        ranges: `"moving_average"` of the smallest and largest value of each batch, or `"learned"`
            by gradient descent (LSQ).
        momentum: Weight of the past in the moving average.
        freeze_batch_norm_after: Number of training steps after which batch normalization uses its
            moving statistics, as the device will; None means never.

    Returns:
        An uncompiled functional model with the same inputs, outputs and weights.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If the model is subclassed, unbuilt or already quantized, or an argument is
            invalid.

    Warns:
        UserWarning: If layers are left in float, with the reasons.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3),
        ...     keras.layers.BatchNormalization(), keras.layers.ReLU(), keras.layers.Flatten(),
        ...     keras.layers.Dense(2)])
        >>> qat = quantization_aware(model)
        >>> qat.output_shape, [layer.name for layer in qat.layers][:2]
        ((None, 2), [...])

    Reference:
        Jacob et al., "Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference", CVPR 2018, https://arxiv.org/abs/1712.05877;
        Krishnamoorthi, 2018, https://arxiv.org/abs/1806.08342
    """
    _check_scheme(scheme)
    check_one_of("ranges", ranges, tuple(RANGES))
    left = Skip(skip)
    assignment = assign_rules(flatten(model, left), left)
    builder = _Builder(assignment, ranges, momentum, freeze_batch_norm_after)
    quantized = assignment.graph.rebuild(builder.call, builder.on_input)
    _warn_of_floats(assignment, model)
    return quantized


class _Builder:
    """Calls the layers of the new model, each followed by its rounding."""

    def __init__(
        self, assignment: Assignment, ranges: str, momentum: float, freeze_after: int | None
    ) -> None:
        self.assignment = assignment
        self.options = {"ranges": ranges, "momentum": momentum}
        self.freeze_after = freeze_after
        self.made: dict[int, Any] = {}  # a shared layer is created once
        self.rounders: dict[int, Any] = {}  # maps each tensor to the layer that holds its range
        self.names: set[str] = {node.name for node in assignment.graph.nodes}

    def on_input(self, number: int, tensor: Any) -> Any:
        """Round an input."""
        return self._round(tensor, tensor.name, "range")

    def call(self, node: Node, args: Any, kwargs: Any) -> Any:
        """Call the quantized form of a node."""
        rule = self.assignment.rules[id(node)]
        tensors = [v for v in tree.flatten((args, kwargs)) if isinstance(v, keras.KerasTensor)]
        before = self.rounders.get(id(tensors[0]))
        if rule.reason:
            return self._call_in_float(node, args, kwargs, rule.walled)
        if rule.joins:
            args, kwargs = self._insert_bridges(node, args, kwargs)
        outputs = self._make_layer(node, rule)(*args, **kwargs)
        if id(node) in self.assignment.ends:
            return outputs
        if _makes_floats(tensors[0], outputs):
            return self._round(outputs, node, "range")
        if rule.output == "exact" or (rule.output == "input" and before is None):
            for tensor in tree.flatten(outputs):
                self.rounders[id(tensor)] = before
            return outputs
        if rule.output == "input":
            # training=False: pooled values add nothing new to the range.
            rounded = before(outputs, training=False)  # type: ignore[misc]
            self.rounders[id(rounded)] = before
            return rounded
        return tree.map_structure(lambda tensor: self._round(tensor, node, rule.output), outputs)

    def _insert_bridges(self, node: Node, args: Any, kwargs: Any) -> Any:
        """Insert bridges on the inputs of a join that have a range of their own."""

        def bridge(old: Any, new: Any) -> Any:
            if not _is_float(new) or not self.assignment.needs_bridge(old, node):
                return new
            return layers.RangeBridge(name=self._name(node, "bridge"))(new)

        return tree.map_structure(bridge, (node.args, node.kwargs), (args, kwargs))

    def _call_in_float(self, node: Node, args: Any, kwargs: Any, walled: bool) -> Any:
        """Call a layer that stays in float, separated from the surrounding integers."""

        def wall(tensor: Any) -> Any:
            if not walled or not _is_float(tensor):
                return tensor
            return layers.FloatBarrier(name=self._name(node, "float"))(tensor)

        args, kwargs = tree.map_structure(wall, (args, kwargs))
        outputs = node.operation(*args, **kwargs)
        if self.assignment.graph.is_output(node.outputs[0]):
            return outputs
        return tree.map_structure(lambda t: self._round(wall(t), node, "range"), outputs)

    def _make_layer(self, node: Node, rule: Any) -> Any:
        """Return the layer of the new model for a node."""
        operation = node.operation
        if id(operation) in self.made:
            return self.made[id(operation)]
        made = operation
        if rule.weights:
            transforms = {
                name: [layers.FakeQuantizeWeight(axis, name=f"{node.name}_{name}_int8")]
                for name, axis in rule.weights.items()
            }
            made = layers.compressed(operation, transforms)
        elif self.freeze_after is not None and type(operation) is keras.layers.BatchNormalization:
            made = layers.FreezingBatchNormalization.of(operation, self.freeze_after)
        self.made[id(operation)] = made
        return made

    def _round(self, tensor: Any, node: Any, output: Any) -> Any:
        """Add a rounding layer after a tensor."""
        if not _is_float(tensor):  # integers, such as word indices
            return tensor
        options: dict[str, Any] = dict(self.options)
        if output != "range":
            # A loss at the model's end needs small probabilities, which would round to 0.
            last = isinstance(node, Node) and self.assignment.graph.is_output(node.outputs[0])
            options = {"ranges": output, "in_training": not last}
        rounder = layers.FakeQuantize(name=self._name(node, "range"), **options)
        rounded = rounder(tensor)
        self.rounders[id(rounded)] = rounder
        return rounded

    def _name(self, node: Any, part: str) -> str:
        """Return a name that no layer uses yet."""
        base = f"{node if isinstance(node, str) else node.name}_{part}"
        name, number = base, 1
        while name in self.names:
            number += 1
            name = f"{base}_{number}"
        self.names.add(name)
        return name


def _makes_floats(given: Any, made: Any) -> bool:
    """Whether a layer converts integers to floats, except 8-bit pixels.

    The range of such floats is given by the integers; what is computed from them is rounded.
    """
    return not _is_float(given) and given.dtype != "uint8" and _is_float(made)


def _is_float(tensor: Any) -> bool:
    return isinstance(tensor, keras.KerasTensor) and "float" in tensor.dtype


def _check_scheme(scheme: str) -> None:
    if scheme == "int16x8":
        raise ValueError(
            "scheme='int16x8' is available only after training, because TensorFlow's converter "
            "turns 16-bit fake quantization into wrong values. Use to_tflite(model, path, "
            "quantization='int16x8', calibration=data) on the float model."
        )
    check_one_of("scheme", scheme, tuple(SCHEMES))


def _warn_of_floats(assignment: Assignment, model: keras.Model) -> None:
    """Warn once about layers that stay in float without being listed in `skip`."""
    steps = [
        step for step in describe_assignment(assignment).left_in_float if step.reason != SKIPPED
    ]
    if steps:
        said = "; ".join(f"{step.layer} ({step.kind}): {step.reason}" for step in steps[:5])
        more = f"; and {len(steps) - 5} more, see kd.quantize.plan" if len(steps) > 5 else ""
        some = "1 layer stays" if len(steps) == 1 else f"{len(steps)} layers stay"
        warnings.warn(
            f"{some} in float in model {model.name!r}: {said}{more}",
            stacklevel=3,
        )
