from __future__ import annotations

import keras
import numpy as np
import pytest
from compression_models import plain_network
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dlcourse as kd
from keras_dlcourse.compress.filters import filter_groups, prune_filters
from keras_dlcourse.compress.pruning import prune
from keras_dlcourse.graph.channels import Channels
from keras_dlcourse.graph.flat import Graph
from keras_dlcourse.graph.kernel_layers import open_layers

_layers = keras.layers


def _array(tensor) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def _randomise(model: keras.Model, seed: int = 0) -> keras.Model:
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        else:
            weight.assign(rng.normal(0, 0.5, weight.shape))
    return model


def _zero_some(model: keras.Model, share: float = 0.5) -> keras.Model:
    """Let some channels of each group be constant 0: return a flat model that computes so.

    All that can make a number out of nothing is set to 0 there: kernels, biases, and what batch
    normalization adds.
    """
    graph = open_layers(model)
    channels = Channels(graph)
    roots = np.unique(channels.roots)
    rng = np.random.default_rng(7)
    dead = np.zeros(len(channels.roots), bool)
    candidates = [root for root in roots if root not in channels.reasons]
    for root in candidates:
        dead[root] = rng.random() < share
    for node in graph.nodes:
        layer = node.operation
        if id(layer) not in channels.outputs:
            continue
        gone = dead[channels.roots[channels.outputs[id(layer)]]]
        for weight in getattr(layer, "weights", ()):  # operations have none
            value = _array(weight).copy()
            if id(layer) in channels.producers and "kernel" in weight.path and value.ndim > 1:
                axis = -2 if "Transpose" in type(layer).__name__ else -1
                np.moveaxis(value, axis, -1)[..., gone] = 0
            elif any(part in weight.path for part in ("bias", "beta", "moving_mean")):
                value[gone] = 0
            weight.assign(value)
    return graph.model


def _outputs_stay(model: keras.Model, **arguments) -> keras.Model:
    """Remove filters that are constant 0, and compare on random inputs."""
    dead = _zero_some(_randomise(model))
    narrow = prune_filters(dead, **arguments)
    shape = (3, *model.inputs[0].shape[1:])
    inputs = np.random.default_rng(3).normal(size=shape).astype("float32")
    expected, found = _array(dead(inputs)), _array(narrow(inputs))
    scale = np.abs(expected).max() + 1e-3
    np.testing.assert_allclose(found, expected, atol=2e-5 * scale)
    return narrow


def _residual_network() -> keras.Model:
    x = inputs = keras.Input((8, 8, 3))
    x = _layers.Conv2D(8, 3, padding="same", name="stem")(x)
    x = short = _layers.ReLU()(_layers.BatchNormalization()(x))
    x = _layers.Conv2D(12, 1, name="expand")(x)
    x = _layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(x)
    x = _layers.PReLU(shared_axes=(1, 2))(x)
    x = _layers.Conv2D(8, 1, name="project")(x)
    x = _layers.Add()([short, x])
    gate = _layers.Dense(8, name="gate")(_layers.GlobalAveragePooling2D()(x))
    gate = _layers.Reshape((1, 1, 8))(_layers.Activation("sigmoid")(gate))
    x = _layers.Multiply()([x, gate])
    y = _layers.Conv2DTranspose(6, 3, padding="same", name="other")(x)
    x = _layers.Concatenate()([x, y, short])
    x = _layers.MaxPooling2D(4)(x)
    x = _layers.Dense(7, activation="relu", name="hidden")(_layers.Flatten()(x))
    return keras.Model(inputs, _layers.Dense(4, name="scores")(x))


def test_a_residual_network_with_everything() -> None:
    model = _residual_network()
    groups = {group.layers: group for group in filter_groups(model).groups}
    assert set(groups) == {
        ("stem", "project", "gate"), ("expand",), ("other",), ("hidden",), ("scores",)
    }  # fmt: skip
    assert groups["scores",].reason == "it is an output of the model"
    narrow = _outputs_stay(model, fraction=0.3)
    shapes = {
        layer.name: tuple(layer.kernel.shape) for layer in narrow.layers if hasattr(layer, "kernel")
    }
    assert shapes == {
        "stem": (3, 3, 3, 6), "expand": (1, 1, 6, 8), "depthwise": (3, 3, 8, 2),
        "project": (1, 1, 16, 6), "gate": (6, 6), "other": (3, 3, 4, 6),
        "hidden": (4 * 16, 5), "scores": (5, 4),
    }  # fmt: skip


@pytest.mark.parametrize("by", ["l1", "l2"])
def test_the_smallest_filters_go(by) -> None:
    model = plain_network()
    kernel = _array(model.get_layer("conv").kernel)
    power = {"l1": 1, "l2": 2}[by]
    norms = (np.abs(kernel) ** power).sum(axis=(0, 1, 2))
    kept = np.sort(np.argsort(norms)[4:])
    narrow = prune_filters(model, 0.5, ["conv"], by)
    np.testing.assert_array_equal(_array(narrow.get_layer("conv").kernel), kernel[..., kept])
    np.testing.assert_array_equal(
        _array(narrow.get_layer("depthwise").kernel),
        _array(model.get_layer("depthwise").kernel)[:, :, kept],
    )
    assert narrow.get_layer("transposed").kernel.shape[-2:] == (8, 4)


def test_by_the_factors_of_batch_normalization() -> None:
    model = plain_network()
    norm = next(layer for layer in model.layers if "batch_norm" in layer.name)
    norm.gamma.assign([0.1, -3, 2, -0.2, 1, 0.3, 0.4, 5])
    narrow = prune_filters(model, 0.5, ["conv"], "bn_gamma")
    kernel = _array(model.get_layer("conv").kernel)
    np.testing.assert_array_equal(
        _array(narrow.get_layer("conv").kernel), kernel[..., [1, 2, 4, 7]]
    )
    with pytest.raises(ValueError, match="batch normalization directly after transposed"):
        prune_filters(model, 0.5, ["transposed"], "bn_gamma")


def test_added_filters_are_scored_together() -> None:
    x = inputs = keras.Input((5,))
    one, other = _layers.Dense(3, name="one")(x), _layers.Dense(3, name="other")(x)
    model = keras.Model(inputs, _layers.Dense(1)(_layers.Add()([one, other])))
    model.get_layer("one").kernel.assign(np.ones((5, 1)) * [1.0, 5.0, 6.0])
    model.get_layer("other").kernel.assign(np.ones((5, 1)) * [900.0, 100.0, 200.0])
    narrow = prune_filters(model, 1 / 3)
    assert _array(narrow.get_layer("one").kernel)[0].tolist() == [1, 6]
    assert _array(narrow.get_layer("other").kernel)[0].tolist() == [900, 200]


def test_a_shared_layer_is_narrowed_once() -> None:
    shared = _layers.Conv2D(6, 3, padding="same", name="shared")
    x = inputs = keras.Input((6, 6, 2))
    x = _layers.Conv2D(6, 1, name="first")(x)
    x = _layers.Conv2D(4, 1, name="last")(shared(shared(x)))
    model = keras.Model(inputs, _layers.Dense(2)(_layers.GlobalAveragePooling2D()(x)))
    assert filter_groups(model).groups[0].layers == ("first", "shared")
    narrow = _outputs_stay(model, fraction=0.3)
    assert narrow.get_layer("shared").kernel.shape == (3, 3, 4, 4)


def test_operations_between_tensors_are_followed() -> None:
    x = inputs = keras.Input((6, 6, 2))
    one, other = _layers.Conv2D(6, 1, name="one")(x), _layers.Conv2D(6, 1, name="other")(x)
    x = keras.ops.relu(one + other * 2.0)
    model = keras.Model(inputs, _layers.Dense(2)(_layers.GlobalMaxPooling2D()(x)))
    assert set(filter_groups(model).groups[0].layers) == {"one", "other"}
    assert _outputs_stay(model, fraction=0.3).get_layer("one").filters == 4


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (
            lambda x: _layers.LayerNormalization(name="ln")(x),
            "ln .LayerNormalization. is not supported",
        ),
        (lambda x: _layers.Softmax(name="soft")(x), "soft .Softmax. is not supported"),
        (
            lambda x: _layers.Activation("softmax", name="soft")(x),
            "soft .Activation. is not supported",
        ),
        (lambda x: _layers.Reshape((3, 2), name="odd")(x), "odd .Reshape. is not supported"),
        (lambda x: keras.ops.mean(x, axis=-1, keepdims=True), "Mean. is not supported"),
        (lambda x: x * np.arange(6.0), "Multiply. is not supported"),
        (lambda x: _layers.Dense(6, activation="softmax", name="mix")(x), "mix compares channels"),
    ],
)
def test_what_cannot_be_followed_stays_with_the_reason(tail, reason) -> None:
    inputs = keras.Input((4,))
    x = tail(_layers.Dense(6, name="hidden")(inputs))
    model = keras.Model(inputs, _layers.Dense(2)(_layers.Flatten()(x)))
    groups = {group.layers[0]: group for group in filter_groups(model).groups}
    stuck = groups["mix" if "mix" in groups else "hidden"]
    assert stuck.filters == 0 and stuck.fixed == 6
    with pytest.raises(ValueError, match=f"can be narrowed.* must stay: .*{reason}"):
        prune_filters(model, 0.5, list(stuck.layers))
    narrow = prune_filters(model, 0.5)
    values = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    if stuck.layers == ("hidden",):
        np.testing.assert_allclose(_array(narrow(values)), _array(model(values)), atol=1e-6)


def test_every_layer_keeps_a_filter() -> None:
    model = prune_filters(_residual_network(), 0.99)
    assert all(min(layer.kernel.shape) >= 1 for layer in model.layers if hasattr(layer, "kernel"))
    assert model.get_layer("expand").filters == 1
    assert np.isfinite(_array(model(np.ones((1, 8, 8, 3), "float32")))).all()


_STEPS = st.tuples(
    st.sampled_from(["conv", "conv", "depthwise", "norm", "relu", "add", "concat"]),
    st.integers(0, 99),
    st.integers(0, 99),
    st.integers(1, 5),
)


def _network(steps, flatten: bool) -> keras.Model:
    """A network of layers that keep height and width, with joins of any two tensors."""
    inputs = keras.Input((4, 4, 2))
    tensors = [inputs]
    for kind, first, second, number in steps:
        x = tensors[first % len(tensors)]
        if kind == "conv":
            x = _layers.Conv2D(number + 1, 1)(x)
        elif kind == "depthwise":
            x = _layers.DepthwiseConv2D(3, padding="same", depth_multiplier=1 + number % 2)(x)
        elif kind == "norm":
            x = _layers.BatchNormalization()(x)
        elif kind == "relu":
            x = _layers.ReLU()(x)
        elif kind == "add":
            same = [t for t in tensors if t.shape == x.shape]
            x = _layers.Add()([x, same[second % len(same)]])
        else:
            x = _layers.Concatenate()([x, tensors[second % len(tensors)]])
        tensors.append(x)
    end = _layers.Flatten() if flatten else _layers.GlobalAveragePooling2D()
    joined = _layers.Concatenate()(tensors[-2:])
    return keras.Model(inputs, _layers.Dense(3)(end(joined)))


@settings(max_examples=40)
@given(steps=st.lists(_STEPS, min_size=2, max_size=8), flatten=st.booleans())
def test_any_network_computes_the_same_without_filters_that_are_zero(steps, flatten) -> None:
    """Whatever is added, strung together or repeated: dead channels can be cut out."""
    dead = _zero_some(_randomise(_network(steps, flatten)))
    values = np.random.default_rng(3).normal(size=(2, 4, 4, 2)).astype("float32")
    expected = _array(dead(values))
    # As many as are dead in the group with the fewest: the smallest go first, and these are 0.
    groups = filter_groups(dead).groups
    for group in groups:
        if group.filters == 0:
            continue
        layer = dead.get_layer(group.layers[0])
        empty = _dead_channels(dead, group.layers)
        if empty == 0:
            continue
        narrow = prune_filters(dead, empty / group.filters, [layer.name])
        assert narrow.count_params() < dead.count_params()
        found = _array(narrow(values))
        np.testing.assert_allclose(found, expected, atol=1e-4 * (np.abs(expected).max() + 1e-3))


def _dead_channels(model: keras.Model, names: tuple[str, ...]) -> int:
    """Count the channels of a group whose filters are 0 in all of its layers."""
    channels = Channels(Graph(model))
    alive: dict[int, bool] = {}
    for layer, numbers in channels.producers.values():
        if layer.name in names:
            sums = np.abs(_array(layer.kernel)).reshape(-1, len(numbers)).sum(axis=0)
            for root, total in zip(channels.roots[numbers].tolist(), sums, strict=True):
                if root not in channels.reasons:
                    alive[root] = alive.get(root, False) or total > 0
    dead = sum(not value for value in alive.values())
    return min(dead, len(alive) - 1)


def test_mobilenet_v2_expansions_are_halved(tmp_path) -> None:
    model = kd.models.MobileNetV2((32, 32, 3), alpha=0.35, classes=5)
    narrow = _outputs_stay(model, fraction=0.3, layers=["*_expand"])
    wide = {layer.name: layer for layer in open_layers(model).model.layers}
    for layer in narrow.layers:
        if layer.name.endswith("_expand"):
            assert layer.filters == wide[layer.name].filters - round(0.3 * wide[layer.name].filters)
        elif layer.name.endswith("_project"):
            assert layer.filters == wide[layer.name].filters


def test_narrow_models_train_save_and_run_on_the_device(tmp_path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    model = prune_filters(plain_network(), 0.5)
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(8, 8, 8, 4)).astype("float32"), rng.integers(0, 4, 8)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images, labels, verbose=0)
    model.save(tmp_path / "narrow.keras")
    loaded = keras.models.load_model(tmp_path / "narrow.keras")
    np.testing.assert_array_equal(_array(loaded(images)), _array(model(images)))
    kd.export.to_tflite(model, tmp_path / "narrow.tflite")
    device = Interpreter(str(tmp_path / "narrow.tflite"))
    device.allocate_tensors()
    device.set_tensor(device.get_input_details()[0]["index"], images[:1])
    device.invoke()
    scores = device.get_tensor(device.get_output_details()[0]["index"])
    np.testing.assert_allclose(scores, _array(model(images[:1])), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"fraction": 1.0},
            ValueError,
            "fraction must be a number of at least 0 and below 1. Received: 1.0",
        ),
        ({"by": "taylor"}, ValueError, "by must be one of 'l1', 'l2', 'bn_gamma'.*'taylor'"),
        ({"layers": "conv"}, TypeError, "list of names"),
        ({"layers": ["no*"]}, ValueError, r"must name convolution or dense layers.*'no\*'.*conv"),
        ({"layers": ["scores"]}, ValueError, "compares channels"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        prune_filters(plain_network(), **arguments)


def test_models_that_cannot_be_narrowed() -> None:
    with pytest.raises(ValueError, match="conv' is already pruned, clustered or quantized"):
        prune_filters(prune(plain_network()))
    with pytest.raises(ValueError, match="not been built"):
        prune_filters(keras.Sequential([keras.layers.Dense(2)]))


def test_the_model_is_left_as_it_was() -> None:
    model = plain_network()
    before = [_array(weight).copy() for weight in model.weights]
    narrow = prune_filters(model, 0.5)
    narrow.get_layer("scores").bias.assign(np.ones(4))
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(_array(weight), value)
