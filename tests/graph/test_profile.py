"""What layers cost: formulas of the papers, and networks whose costs are published."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import keras_dlcourse as kd
from keras_dlcourse.graph import profile
from keras_dlcourse.graph.weightless import weightless

small = st.integers(1, 5)


def _one(layer, shape):
    """Return the row of a layer and its output shape."""
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer(inputs))
    (row,) = profile(model).layers
    return row, model.output_shape[1:]


@settings(max_examples=20)
@given(st.integers(5, 9), small, small, small, st.sampled_from(["same", "valid"]), small)
def test_a_convolution_has_hwc_weights_a_filter_and_one_bias(size, h, w, c, padding, filters):
    layer = layers.Conv2D(filters, (h, w), padding=padding)
    row, (rows, columns, _) = _one(layer, (size, size, c))
    assert row.parameters == (h * w * c) * filters + filters
    assert row.multiply_adds == rows * columns * h * w * c * filters
    assert row.activation_bytes == 4 * rows * columns * filters
    assert row.receptive_field.size == (h, w)


@pytest.mark.parametrize(
    ("layer", "parameters", "multiply_adds"),
    [
        # 8 x 8 places of the output, 3 x 3 kernels, 4 channels.
        (lambda: layers.Conv2D(6, 3, padding="same", groups=2), 9 * 2 * 6 + 6, 64 * 9 * 2 * 6),
        (lambda: layers.DepthwiseConv2D(3, padding="same"), 9 * 4 + 4, 64 * 9 * 4),
        (lambda: layers.SeparableConv2D(6, 3, padding="same"), 36 + 24 + 6, 64 * (36 + 24)),
        # A transposed one works at each place of the input.
        (lambda: layers.Conv2DTranspose(6, 3, strides=2), 9 * 4 * 6 + 6, 64 * 9 * 4 * 6),
        (lambda: layers.Dense(5), 4 * 5 + 5, 64 * 4 * 5),
        (lambda: layers.BatchNormalization(), 16, 0),
        (lambda: layers.MaxPooling2D(), 0, 0),
        (lambda: kd.layers.SparseConnectedConv2D([[0, 3], [1]], 3, "same"), 27 + 2, 64 * 27),
        (lambda: kd.layers.RadialBasisOutput(3), 12, 64 * 12),
        (lambda: kd.layers.LocalFilter2D("box", 5), 0, 64 * 25 * 4),
        (lambda: kd.layers.LocalFilter2D("box", sum_channels=True), 0, 64 * 9 * 4),
    ],
)
def test_kinds_of_layers(layer, parameters, multiply_adds):
    row, _ = _one(layer(), (8, 8, 4))
    assert (row.parameters, row.multiply_adds) == (parameters, multiply_adds)


@pytest.mark.parametrize(("kernel", "filters"), [(3, 32), (5, 8)])
def test_a_separable_convolution_saves_what_its_paper_says(kernel, filters):
    """1 / filters + 1 / kernel ** 2 of the full one's multiply-adds."""
    options = {"padding": "same", "use_bias": False}
    full, _ = _one(layers.Conv2D(filters, kernel, **options), (8, 8, 16))
    separable, _ = _one(layers.SeparableConv2D(filters, kernel, **options), (8, 8, 16))
    share = 1 / filters + 1 / kernel**2
    assert separable.multiply_adds / full.multiply_adds == pytest.approx(share)
    assert separable.parameters / full.parameters == pytest.approx(share)


def test_three_small_kernels_see_what_a_large_one_sees_for_less():
    """27 C^2 weights against 49 C^2."""
    channels = 6
    x = inputs = keras.Input((16, 16, channels))
    for _ in range(3):
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
    three = profile(keras.Model(inputs, x))
    one = profile(
        keras.Model(inputs, layers.Conv2D(channels, 7, padding="same", use_bias=False)(inputs))
    )
    fields = [found.layers[-1].receptive_field for found in (three, one)]
    assert fields[0] == fields[1] and fields[0].size == (7, 7)
    assert (three.parameters, one.parameters) == (27 * channels**2, 49 * channels**2)


def test_a_bottleneck_saves():
    """Of 256 channels through 64 (ResNet's figure 5): 69,632 weights against 1,179,648."""
    inputs = keras.Input((14, 14, 256))
    costs = {
        kind: profile(keras.Model(inputs, kd.layers.ResidualBlock(256, kind=kind)(inputs)))
        for kind in ("basic", "bottleneck")
    }
    convolutions = {
        kind: sum(row.parameters for row in found.layers if row.kind == "Conv2D")
        for kind, found in costs.items()
    }
    assert convolutions == {"basic": 2 * 9 * 256**2, "bottleneck": 2 * 256 * 64 + 9 * 64**2}
    assert costs["bottleneck"].multiply_adds == convolutions["bottleneck"] * 14 * 14


def test_a_reduced_inception_module_costs_less_than_a_naive_one():
    """The third of GoogLeNet (inception 3a), with and without dimension reduction."""
    inputs = keras.Input((28, 28, 192))
    naive, reduced = (
        profile(keras.Model(inputs, kd.layers.InceptionModule(*filters)(inputs)))
        for filters in ((64, 128, 32), (64, (96, 128), (16, 32), 32))
    )
    assert reduced.layers[-1].output_shape == (28, 28, 256)
    assert naive.layers[-1].output_shape == (28, 28, 416)  # the pooled input comes on top
    assert reduced.multiply_adds < 0.45 * naive.multiply_adds


def _built(name, **options):
    with weightless():
        return kd.models.build(name, **options)


def test_shares_of_the_weights():
    """AlexNet's dense layers have 96.2 % grouped and 94.0 % ungrouped, VGG-16's 89.4 %."""
    for name, options, share in (
        ("alexnet", {}, 96.2),
        ("alexnet", {"grouped": False}, 94.0),
        ("vgg16", {}, 89.4),
    ):
        assert round(100 * profile(_built(name, **options)).shares()["Dense"], 1) == share


def test_memory_of_vgg16():
    """All maps of one image take 58 MiB in float32; at a time, the first two take 24.5."""
    found = profile(_built("vgg16"))
    assert round(found.activation_bytes / 2**20) == 58
    assert found.peak_bytes == 2 * 4 * 224 * 224 * 64


def test_memory_of_branches():
    """The input of a block lives until its shortcut is added; ReLU writes into its input."""
    inputs = keras.Input((4, 4, 2))  # 32 numbers
    x = layers.Conv2D(4, 1)(inputs)  # 64, while the input still lives
    x = layers.ReLU()(x)
    x = layers.Conv2D(2, 1)(x)  # 64 + 32 + the input
    model = keras.Model(inputs, layers.Add()([x, inputs]))
    found = profile(model)
    assert [row.activation_bytes // 4 for row in found.layers] == [64, 0, 32, 0]
    assert found.peak_bytes == 4 * (32 + 64 + 32)
    shown = keras.Model(inputs, [x, model(inputs)])
    assert profile(shown).layers[-1].activation_bytes >= 0


def test_nested_models_shared_layers_and_open_sizes():
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    inner = keras.Sequential([keras.Input((None, None, 3)), shared, layers.ReLU()])
    x = inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Add()([inner(shared(x)), x]))
    with pytest.raises(ValueError, match="Set the size with image_size="):
        profile(model)
    found = profile(model, image_size=(10, 6))
    assert found.parameters == model.count_params()
    assert found.multiply_adds == 2 * 60 * 81
    assert found.layers[-1].receptive_field.size == (5, 5)
    with pytest.raises(ValueError, match="image_size must be"):
        profile(_built("lenet5"), image_size=(10, 6))


def test_what_is_not_known_is_said():
    x = inputs = keras.Input((6, 8))
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    model = keras.Model(inputs, keras.ops.matmul(x, keras.ops.transpose(x, (0, 2, 1))))
    found = profile(model)
    assert found.unknown[0] == "attention" and len(found.unknown) == 2
    assert found.layers[0].receptive_field is None
    with pytest.raises(TypeError, match=r"must be a keras\.Model"):
        profile("model.keras")


def test_it_prints_as_a_table_and_changes_nothing():
    model = kd.models.MobileNetV2((32, 32, 3), alpha=0.1, classes=2)
    before = [np.array(weight) for weight in model.get_weights()]
    text = str(profile(model))
    lines = text.splitlines()
    assert lines[0].split()[:3] == ["layer", "kind", "output"]
    assert any("block_1_depthwise " in line and "DepthwiseConv2D" in line for line in lines)
    assert f"{model.count_params():,} weights" in lines[-1]
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
