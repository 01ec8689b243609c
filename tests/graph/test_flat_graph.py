from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from keras_dlcourse import layers as kd_layers
from keras_dlcourse.graph.flat import Graph, flat_copy, to_functional

L = keras.layers


def _close(_: Any) -> None:
    """Open no composite layer."""


def _open_blocks(layer: Any) -> Any:
    return layer.call if isinstance(layer, kd_layers.InvertedResidual) else None


def _randomise(model: keras.Model, seed: int = 0) -> keras.Model:
    random = np.random.default_rng(seed)
    for weight in model.weights:
        low, high = (0.5, 1.5) if "variance" in weight.path else (-1, 1)
        weight.assign(random.uniform(low, high, weight.shape))
    return model


def _small(name: str = "small", channels: int = 3) -> keras.Model:
    """A model whose layers have the same names each time."""
    x = inputs = keras.Input((6, 6, channels), name=f"{name}_in")
    x = L.Conv2D(3, 3, padding="same", name="conv")(x)
    x = L.BatchNormalization(name="norm", momentum=0.5)(x)
    return keras.Model(inputs, L.ReLU(name="relu")(x), name=name)


def _nested() -> keras.Model:
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, L.Conv2D(2, 1, name="conv")(_small("b")(_small("a")(inputs))))


def _nested_deep() -> keras.Model:
    inner = keras.Input((6, 6, 3))
    middle = keras.Model(inner, _small("inner")(L.Conv2D(3, 1, name="conv")(inner)), name="middle")
    return keras.Sequential([keras.Input((6, 6, 3)), middle, L.Flatten(), L.Dense(2)])


def _shared_nested() -> keras.Model:
    inner, one, two = _small(), keras.Input((6, 6, 3)), keras.Input((6, 6, 3))
    return keras.Model([one, two], L.Subtract()([inner(one), inner(two)]))


def _shared_layer() -> keras.Model:
    dense, inputs = L.Dense(4, activation="tanh"), keras.Input((4,))
    return keras.Model(inputs, dense(dense(inputs)))


def _dicts() -> keras.Model:
    image, words = keras.Input((6, 6, 3), name="image"), keras.Input((4,), name="words")
    x = L.Concatenate()([L.GlobalAveragePooling2D()(_small()(image)), L.Dense(3)(words)])
    outputs = {"z": L.Dense(2)(x), "a": {"both": x, "words": words}}
    return keras.Model({"words": words, "image": image}, outputs)


def _nested_dict() -> keras.Model:
    """A nested model with a dict of inputs, called with its names in another order."""
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    inner = keras.Model({"right": right, "left": left}, L.Dense(3)(left) - 2 * L.Dense(3)(right))
    one, two = keras.Input((4,)), keras.Input((4,))
    return keras.Model([one, two], inner({"left": two, "right": one}))


def _nested_by_name() -> keras.Model:
    """A nested model with a list of inputs, called with a dict of their names."""
    b, a = keras.Input((4,), name="b"), keras.Input((4,), name="a")
    inner = keras.Model([b, a], L.Dense(3)(b) - 2 * L.Dense(3)(a))
    one, two = keras.Input((4,)), keras.Input((4,))
    return keras.Model([one, two], inner({"a": one, "b": two}))


def _operations() -> keras.Model:
    x = keras.Input((4,))
    y = L.Dense(4)(x)
    z = ops.concatenate([x * 2 + y, ops.sin(y) / 3, ops.reshape(y, (-1, 2, 2))[:, 0]], axis=-1)
    return keras.Model(x, 1 - z)


def _sequential() -> keras.Model:
    return keras.Sequential([keras.Input((6, 6, 3)), _small(), L.Flatten(), L.Dense(3)])


def _lambda() -> keras.Model:
    x = keras.Input((4,))
    return keras.Model(x, L.Dense(2)(L.Lambda(lambda v, k: v * k + 1, arguments={"k": 3.0})(x)))


def _attention() -> keras.Model:
    x = keras.Input((5, 4))
    return keras.Model(x, L.MultiHeadAttention(2, 3)(query=x, value=L.Dense(4)(x)))


def _composite() -> keras.Model:
    block, x = kd_layers.InvertedResidual(3, expansion=2), keras.Input((6, 6, 3))
    return keras.Model(x, block(block(x)))


def _several_outputs() -> keras.Model:
    x = keras.Input((5, 4))
    sequence, state = L.GRU(3, return_sequences=True, return_state=True, unroll=True)(x)
    return keras.Model(x, [sequence, state, x, state])


MODELS: dict[str, Callable[[], keras.Model]] = {
    build.__name__[1:]: build
    for build in (
        _nested, _nested_deep, _shared_nested, _shared_layer, _dicts, _nested_dict, _nested_by_name,
        _operations, _sequential, _lambda, _attention, _composite, _several_outputs,
    )
}  # fmt: skip
EVERY_MODEL = pytest.mark.parametrize("name", MODELS)


def _data(model: keras.Model, count: int = 3) -> Any:
    random = np.random.default_rng(5)

    def one(tensor: Any) -> np.ndarray:
        return random.normal(size=(count, *tensor.shape[1:])).astype("float32")

    return keras.tree.map_structure(one, to_functional(model).input)


def _assert_equal(ours: Any, theirs: Any, tolerance: float = 1e-6) -> None:
    keras.tree.assert_same_structure(ours, theirs)
    for our, their in zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True):
        our, their = (np.asarray(ops.convert_to_numpy(value)) for value in (our, their))
        assert np.ptp(their) > 1e-3
        np.testing.assert_allclose(our, their, rtol=tolerance, atol=tolerance * np.abs(their).max())


@EVERY_MODEL
def test_a_flat_copy_computes_the_same(name) -> None:
    model = _randomise(MODELS[name]())
    copy = flat_copy(model, _open_blocks)
    _assert_equal(copy(_data(model)), model(_data(model)))
    assert copy.name == model.name
    assert [tensor.shape for tensor in copy.inputs] == [tensor.shape for tensor in model.inputs]


@EVERY_MODEL
def test_it_holds_no_model_and_no_composite_layer_and_each_name_once(name) -> None:
    copy = flat_copy(MODELS[name](), _open_blocks)
    assert not any(
        isinstance(layer, keras.Model | kd_layers.InvertedResidual) for layer in copy.layers
    )
    names = [layer.name for layer in copy.layers]
    assert len(names) == len(set(names)) and copy.count_params() == MODELS[name]().count_params()


@EVERY_MODEL
def test_it_is_independent_and_the_model_stays_as_it_was(name) -> None:
    model = _randomise(MODELS[name]())
    before, outputs = model.get_weights(), model(_data(model))
    names = [layer.name for layer in model._flatten_layers()]
    _randomise(flat_copy(model, _open_blocks), seed=1)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    _assert_equal(model(_data(model)), outputs, 0)
    assert [layer.name for layer in model._flatten_layers()] == names
    if name != "lambda":  # a Python function, which clone_model refuses
        _assert_equal(keras.models.clone_model(model)(_data(model)), outputs, 1e9)


@EVERY_MODEL
def test_rebuilding_with_the_same_calls_is_the_same_model(name) -> None:
    model = _randomise(to_functional(MODELS[name]()))
    again = Graph(model).rebuild(lambda node, args, kwargs: node.operation(*args, **kwargs))
    _assert_equal(again(_data(model)), model(_data(model)), 0)
    assert {id(weight) for weight in again.weights} == {id(weight) for weight in model.weights}


def test_what_was_shared_stays_shared() -> None:
    for build, kind, calls in (
        (_shared_nested, L.Conv2D, 2), (_shared_layer, L.Dense, 2),
        (_composite, L.DepthwiseConv2D, 2),
    ):  # fmt: skip
        graph = Graph(flat_copy(build(), _open_blocks))
        (layer,) = [layer for layer in graph.model.layers if isinstance(layer, kind)]
        assert len(graph.calls(layer)) == calls


@pytest.mark.parametrize("options", [{}, {"training": False}, {"training": True}], ids=str)
@pytest.mark.parametrize("training", [None, False, True])
def test_a_nested_model_trains_as_it_did(options, training) -> None:
    """`base(x, training=False)` is the usual call of a pretrained base."""
    base = keras.Sequential([keras.Input((6, 6, 3)), _small("deep")])
    inputs = keras.Input((6, 6, 3))
    model = _randomise(keras.Model(inputs, L.Conv2D(2, 1)(base(inputs, **options))))
    copy = flat_copy(model, _close)
    _assert_equal(copy(_data(model), training=training), model(_data(model), training=training))
    for ours, theirs in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_frozen_layers_stay_frozen() -> None:
    model = _nested()
    model.layers[1].trainable = False
    copy = flat_copy(model, _close)
    assert len(copy.trainable_weights) == len(model.trainable_weights) == 6


def test_repeated_names_are_numbered() -> None:
    names = [layer.name for layer in flat_copy(_nested(), _close).layers[1:]]
    assert names == ["conv", "norm", "relu", "conv_1", "norm_1", "relu_1", "conv_2"]


def test_the_graph_knows_who_made_and_who_uses_a_tensor() -> None:
    x = keras.Input((4,))
    first, second = L.Dense(4, name="first"), L.Dense(4, name="second")
    y = first(x)
    z = second(y)
    graph = Graph(keras.Model(x, [L.Add(name="add")([y, z]), z]))
    assert [node.name for node in graph.nodes] == ["first", "second", "add"]
    a, b, add = graph.nodes
    assert graph.maker(x) is None and graph.maker(y) is a and graph.maker(z) is b
    assert graph.users(y) == [b, add] and graph.users(x) == [a]
    assert graph.is_output(z) and not graph.is_output(y)
    assert graph.only_user(a) is None  # two see it
    assert graph.only_user(b) is None  # one node and the user of the model
    assert graph.calls(second) == [b] and [id(t) for t in add.inputs] == [id(y), id(z)]
    chain = Graph(keras.Model(x, z))
    assert chain.only_user(chain.nodes[0]) is chain.nodes[1]


def test_calls_after_the_model_was_made_are_not_its_own() -> None:
    x = keras.Input((4,))
    dense = L.Dense(4)
    model = keras.Model(x, dense(x))
    dense(dense(x))
    assert len(Graph(model).nodes) == 1


def test_rebuild_can_change_inputs_and_calls() -> None:
    model = _randomise(_shared_nested())
    graph = Graph(flat_copy(model, _close))

    def call(node: Any, args: Any, kwargs: Any) -> Any:
        outputs = node.operation(*args, **kwargs)
        return outputs * 2 if node.name == "relu" else outputs

    seen: list[int] = []

    def on_input(number: int, tensor: Any) -> Any:
        seen.append(number)
        return tensor + 1.0 if number == 0 else tensor

    changed = graph.rebuild(call, on_input)
    assert seen == [0, 1]
    one, two = _data(model)
    expected = 2 * ops.convert_to_numpy(model([one + 1.0, two]))
    _assert_equal(changed([one, two]), expected, 1e-5)


class _Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="mine")
        self.dense = L.Dense(2)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)


@pytest.mark.parametrize("function", [to_functional, lambda model: flat_copy(model, _close)])
def test_models_without_a_graph_are_refused(function) -> None:
    model = _Subclassed()
    model(np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"'mine' \(_Subclassed\) is subclassed.*Wrap its funct"):
        function(model)
    unbuilt = keras.Sequential([L.Dense(2)], name="early")
    with pytest.raises(ValueError, match="'early' has not been built.*keras.Input"):
        function(unbuilt)
    with pytest.raises(TypeError, match="model must be a keras.Model. Received: str"):
        function("model.keras")
    with pytest.raises(TypeError, match="Received: Dense"):
        function(L.Dense(2))


def test_a_subclassed_model_inside_is_refused() -> None:
    x = keras.Input((3,))
    with pytest.raises(ValueError, match="'mine'.*subclassed"):
        flat_copy(keras.Model(x, _Subclassed()(x)), _close)


def test_the_way_that_the_error_names_works() -> None:
    model = _Subclassed()
    wrapped = keras.Model(x := keras.Input((3,)), model.call(x))
    assert [node.name for node in Graph(wrapped).nodes] == [model.dense.name]
