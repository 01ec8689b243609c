"""Every variant of every family: its weights, its names, its options, its errors."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_dlcourse as kd
from keras_dlcourse.graph.weightless import weightless
from keras_dlcourse.layers.blocks._composite import _convolve_by_group
from keras_dlcourse.models.measuring import cost_of, costs

with Path(__file__).with_name("parameter_counts.csv").open() as _file:
    PUBLISHED = [row for row in csv.DictReader(_file) if row["name"] in kd.models.names()]
COSTS = {cost.name: cost for cost in costs()}
IMAGES = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")


# Building a network symbolically is the same on each backend, and slow where each layer is traced.
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="it is about numbers, not backends"
)


def _trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def _built(name, **options):
    """Build a model of any size without the memory for its weights."""
    with weightless():
        return kd.models.build(name, **options)


def _answers(model, images=IMAGES):
    return keras.ops.convert_to_numpy(model(images, training=False))


@on_tensorflow
@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row["name"])
def test_defaults_have_the_published_number_of_weights(row):
    model = _built(row["name"])
    shape = tuple(int(size) for size in row["input"].split("x"))
    assert model.input_shape[1:] == shape and model.output_shape == (None, int(row["classes"]))
    assert _trainable(model) == int(row["trainable_parameters"])
    assert cost_of(model) == COSTS[row["name"]]


# Millions of multiply-adds as the papers (or, for VGG and ResNet, torchvision) count them.
MILLIONS = {"alexnet": 724, "vgg16": 15_470, "googlenet": 1_580, "resnet50": 4_090,
            "resnext50_32x4d": 4_230, "wide_resnet_28_10": 5_250, "densenet121": 2_830,
            "densenet_bc_190_40": 9_300, "mobilenet": 569, "mobilenet_v2": 300,
            "mobilenet_v3_small": 56, "mobilenet_v3_large": 219, "efficientnet_b0": 390,
            "efficientnet_b7": 37_000}  # fmt: skip


@pytest.mark.parametrize("name", MILLIONS)
def test_costs_are_the_published_ones(name):
    assert COSTS[name].multiply_adds / 1e6 == pytest.approx(MILLIONS[name], rel=0.025)


def test_the_page_shows_the_costs():
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    for cost in costs():
        row = f"| {cost.image} | {cost.trained:,} | {cost.multiply_adds / 1e6:,.1f} |"
        assert f"| `{cost.name}` " in page and row in page


def test_a_network_of_a_user_is_measured(monkeypatch):
    monkeypatch.setattr(kd.models.registry, "_BUILDERS", dict(kd.models.registry._BUILDERS))

    @kd.models.register("tiny")
    def tiny():
        layers = [keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3)]
        return keras.Sequential(layers, name="tiny")

    @kd.models.register("shapeless")
    def shapeless(input_shape): ...

    assert {cost.name for cost in costs()} == {*COSTS, "tiny"}
    (found,) = (cost for cost in costs() if cost.name == "tiny")
    assert (found.weights, found.multiply_adds, found.peak) == (20, 4 * 18, 16 + 8)


# In millions, as timm prints them; the anchors have none of these.
LITE = {"lite0": 4.65, "lite1": 5.42, "lite2": 6.09, "lite3": 8.20, "lite4": 13.01}


def test_every_variant_has_a_published_number():
    lite = {f"efficientnet_{name}" for name in LITE}
    assert {row["name"] for row in PUBLISHED} | lite == set(kd.models.names())


@on_tensorflow
@pytest.mark.parametrize("name", LITE)
def test_lite_networks_have_the_published_millions_of_weights(name):
    model = _built(f"efficientnet_{name}")
    assert round(_trainable(model) / 1e6, 2) == LITE[name]
    assert cost_of(model) == COSTS[model.name]
    assert not any("excite" in weight.path for weight in model.weights)


def test_the_formula_is_not_the_table():
    """alpha * beta^2 * gamma^2 is about 2, so the cost doubles with each step."""
    assert kd.models.compound_scale(0) == (1, 1, 1)
    depth, width, resolution = kd.models.compound_scale(1)
    assert depth * width**2 * resolution**2 == pytest.approx(2, abs=0.1)
    depth, width, resolution = kd.models.compound_scale(7)
    assert (depth, width) != (3.1, 2.0) and resolution != 600 / 224
    with pytest.raises(ValueError, match="gamma must be a finite number of at least 1"):
        kd.models.compound_scale(1, gamma=0.5)


def test_minimalistic_networks_have_none_of_three():
    model = _built("mobilenet_v3_large", minimalistic=True)
    blocks = [b for b in model.layers if isinstance(b, kd.layers.InvertedResidual)]
    assert {(b.kernel_size, b.activation, b.squeeze) for b in blocks} == {(3, "relu", None)}


def test_deeper_blocks_are_left_out_more_often():
    model = _built("efficientnet_b0")
    rates = [b.drop_path for b in model.layers if isinstance(b, kd.layers.InvertedResidual)]
    assert rates[0] == 0 and rates == sorted(rates) and rates[-1] == pytest.approx(0.2 * 15 / 16)
    block = kd.layers.InvertedResidual(3, drop_path=0.5)
    maps = np.random.default_rng(0).normal(size=(64, 4, 4, 3)).astype("float32")
    found = keras.ops.convert_to_numpy(block(maps, training=True))
    same = (found == maps).all(axis=(1, 2, 3))
    assert 10 < same.sum() < 54  # about half, each image for itself


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("alexnet", {"grouped": False}, 62378344),
        ("vgg11", {"batch_norm": True}, 132868840),
        ("vgg13", {"batch_norm": True}, 133053736),
        ("vgg16", {"batch_norm": True}, 138365992),
        ("vgg19", {"batch_norm": True}, 143678248),
        ("vgg16", {"head": "convolution"}, 138357544),
        ("lenet5_paper", {"output": "softmax"}, 60850),
        ("googlenet", {"auxiliary": True}, 13378280),
    ],
)
def test_options_have_the_published_number_of_weights(name, options, count):
    assert _trainable(_built(name, **options)) == count


@on_tensorflow
@pytest.mark.parametrize("name", kd.models.names())
def test_every_variant_builds_for_small_images(name):
    """With one grey channel, names of classes and as features."""
    alpha = {} if name == "lenet5_paper" else {"alpha": 0.05}
    model = _built(name, input_shape=(28, 28, 1), classes=["a", "b"], **alpha)
    assert model.output_shape == (None, 2)
    assert kd.layers.describe(model).class_names == ("a", "b")
    features = _built(name, input_shape=(32, 48, 3), include_top=False, pooling="avg", **alpha)
    assert len(features.output_shape) == 2 and features.output_shape[1] > 1


@pytest.mark.parametrize(
    "name", ["nin_cifar10", "resnet20_cifar", "densenet_40_12", "resnext29_8x64d"]
)
def test_networks_without_dense_layers_take_any_size(name):
    model = kd.models.build(name, input_shape=(None, None, 3), alpha=0.1, classes=3)
    for size in ((32, 32), (40, 29)):
        assert model(np.zeros((1, *size, 3), "float32")).shape == (1, 3)


def test_a_convolution_head_slides_over_larger_images():
    """It is the dense head at the size of training, and the mean of several beyond it."""
    dense = kd.models.VGG11((32, 32, 3), alpha=0.1, classes=4, output_stride=32)
    sliding = kd.models.VGG11(
        (None, None, 3), alpha=0.1, classes=4, output_stride=32, head="convolution"
    )
    with pytest.raises(ValueError, match="fixed height and width.*head='convolution'"):
        kd.models.VGG11((None, None, 3))
    assert sliding(np.zeros((1, 224, 256, 3), "float32")).shape == (1, 4)
    same = kd.models.VGG11((32, 32, 3), alpha=0.1, classes=4, output_stride=32, head="convolution")
    weights = dense.get_weights()
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, np.sqrt(2 / max(1, np.prod(w.shape[:-1]))), w.shape) for w in weights]
    dense.set_weights(weights)
    same.set_weights([new.reshape(old.shape) for new, old in
                      zip(weights, same.get_weights(), strict=True)])  # fmt: skip
    np.testing.assert_allclose(_answers(same), _answers(dense), rtol=1e-3, atol=1e-5)


class TestResNets:
    def test_blocks_start_as_the_identity(self):
        """All that a stage adds is 0 then; the same shortcuts remain."""
        block = kd.layers.ResidualBlock(3, zero_last_gamma=True)
        maps = np.abs(IMAGES)
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(block(maps)), maps)
        other = kd.layers.ResidualBlock(3)
        assert np.abs(keras.ops.convert_to_numpy(other(maps)) - maps).max() > 0.1

    def test_padded_shortcuts_have_no_weights(self):
        padded, projected = (
            _built("resnet20_cifar", shortcut=shortcut) for shortcut in ("pad", "project")
        )
        # A projection and its normalization from 16 to 32 and from 32 to 64 channels.
        expected = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
        assert _trainable(projected) - _trainable(padded) == expected

    def test_a_padded_shortcut_subsamples_and_pads(self):
        block = kd.layers.ResidualBlock(5, strides=2, shortcut="pad", zero_last_gamma=True)
        maps = np.abs(IMAGES)
        expected = np.concatenate([maps[:, ::2, ::2], np.zeros((2, 16, 16, 2))], axis=-1)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(block(maps)), expected)

    def test_the_second_version_is_that_of_its_paper(self):
        """Nothing stands behind a sum, and the last normalization is before the pooling."""
        model = kd.models.ResNet20CIFAR(alpha=0.25, version=2)
        assert [layer.name for layer in model.layers[-4:-2]] == ["end_bn", "end_relu"]
        blocks = [b for b in model.layers if isinstance(b, kd.layers.ResidualBlock)]
        assert len(blocks) == 9 and all(block.end is None for block in blocks)

    def test_groups_are_paths_side_by_side(self):
        """A grouped bottleneck equals the sum of narrow bottlenecks with the same weights."""
        rng = np.random.default_rng(0)
        maps = rng.normal(size=(2, 8, 8, 6)).astype("float32")
        whole = keras.layers.Conv2D(12, 3, padding="same", groups=4, use_bias=False)
        last = keras.layers.Conv2D(5, 1, use_bias=False)
        first = keras.layers.Conv2D(12, 1, use_bias=False)
        expected = last(whole(first(maps)))
        total = 0
        for group in range(4):
            part = slice(3 * group, 3 * group + 3)
            narrow = keras.ops.conv(maps, first.kernel.value[..., part], padding="same")
            narrow = keras.ops.conv(narrow, whole.kernel.value[..., part], padding="same")
            total = total + keras.ops.conv(narrow, last.kernel.value[:, :, part], padding="same")
        np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (total, expected)), atol=1e-5)

    def test_a_plain_twin_has_the_same_weights_and_no_sum(self):
        plain, residual = (
            _built("resnet20_cifar", shortcut=shortcut) for shortcut in ("none", "pad")
        )
        assert _trainable(plain) == _trainable(residual)
        block = kd.layers.ResidualBlock(3, shortcut="none", zero_last_gamma=True)
        assert not keras.ops.any(block(IMAGES))  # the identity that it starts as is not there

    @pytest.mark.parametrize("use_bias", [False, True])
    def test_groups_one_by_one_are_the_whole(self, use_bias):
        """What trains on a CPU is what runs everywhere else."""
        conv = keras.layers.Conv2D(6, 3, 2, padding="same", groups=3, use_bias=use_bias)
        conv(IMAGES)
        if use_bias:
            conv.bias.assign(np.arange(6))
        whole = keras.ops.convert_to_numpy(conv(IMAGES))
        apart = keras.ops.convert_to_numpy(_convolve_by_group(conv, IMAGES))
        np.testing.assert_allclose(apart, whole, atol=1e-5)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"version": 3}, "version must be one of 1, 2"),
            ({"weights": "imagenet"}, "ResNet101 and ResNet152 with version=1"),
            ({"shortcut": "identity"}, "shortcut must be one of 'project', 'pad'"),
            ({"version": 2, "zero_last_gamma": True}, "zero_last_gamma is for version 1"),
        ],
    )
    def test_wrong_options(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            kd.models.ResNet18((32, 32, 3), **arguments)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"kind": "wide"}, "kind must be one of 'basic', 'bottleneck'"),
            ({"groups": 2}, "are only for kind='bottleneck'"),
            ({"kind": "bottleneck", "groups": 3, "width": 8}, "groups=3 must divide the width, 8"),
        ],
    )
    def test_wrong_blocks(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            kd.layers.ResidualBlock(8, **arguments)

    def test_padding_cannot_take_channels_away(self):
        with pytest.raises(ValueError, match="as many filters as the 3 input channels"):
            kd.layers.ResidualBlock(2, shortcut="pad")(IMAGES)

    @pytest.mark.parametrize(("depth", "width"), [(8, 1), (17, 2), (16, 0)])
    def test_wrong_wide_ones(self, depth, width):
        with pytest.raises(ValueError, match="depth must be 6 n . 4|width must be an integer"):
            kd.models.WideResNet(depth, width)


def test_dense_blocks_see_all_before_them():
    """Written out with the layer's own weights."""
    block = kd.layers.DenseBlock(2, growth_rate=4, bottleneck=False)
    block(IMAGES)
    rng = np.random.default_rng(1)
    block.set_weights([
        rng.uniform(0.5, 1.5, w.shape) if w.name in ("gamma", "moving_variance")
        else rng.normal(0, 0.3, w.shape) for w in block.weights
    ])  # fmt: skip
    maps = IMAGES
    for number in range(2):
        gamma, beta, mean, variance, kernel = block.get_weights()[5 * number : 5 * number + 5]
        x = np.maximum((maps - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)
        found = keras.ops.convert_to_numpy(keras.ops.conv(x, kernel, padding="same"))
        maps = np.concatenate([maps, found], axis=-1)
    found = keras.ops.convert_to_numpy(block(IMAGES, training=False))
    np.testing.assert_allclose(found, maps, atol=1e-4)


class TestGoogLeNet:
    """Classifiers in the middle, in training only."""

    def _model(self):
        return kd.models.GoogLeNet((32, 32, 3), alpha=0.1, classes=3, auxiliary=True)

    def test_all_three_train_and_one_stays(self, tmp_path):
        model = self._model()
        loss = dict.fromkeys(model.output, "sparse_categorical_crossentropy")
        weights = {"predictions": 1.0, "auxiliary1": 0.3, "auxiliary2": 0.3}
        model.compile(keras.optimizers.SGD(0.1), loss, loss_weights=weights)
        before = [np.array(weight) for weight in model.trainable_weights]
        y = dict.fromkeys(model.output, np.array([0, 1]))
        history = model.fit(IMAGES, y, verbose=0).history
        parts = [history[f"{name}_loss"][0] * weight for name, weight in weights.items()]
        assert history["loss"][0] == pytest.approx(sum(parts), rel=1e-4)
        moved = [
            not np.array_equal(keras.ops.convert_to_numpy(weight), old)
            for weight, old in zip(model.trainable_weights, before, strict=True)
        ]
        assert np.mean(moved) > 0.8  # in so narrow a network some ReLUs are dead
        plain = kd.models.without_auxiliary(model)
        np.testing.assert_array_equal(_answers(plain), model(IMAGES)["predictions"])
        assert kd.models.without_auxiliary(plain) is plain
        assert not any("auxiliary" in weight.path for weight in plain.weights)

    @pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports")
    def test_the_file_has_one_output(self, tmp_path):
        model = self._model()
        result = kd.export.to_tflite(
            model, tmp_path / "model.tflite", preprocessing=kd.data.Normalization.identity()
        )
        file = kd.edge.ModelFile.read(result.path)
        assert [tensor.shape for tensor in file.outputs] == [(1, 3)]
        pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), "uint8")
        labels = dict.fromkeys(model.output, np.array([0, 1, 2, 0]))
        verification = kd.export.verify(model, result, (pixels, labels))
        assert verification.passed and verification.same_weights
        assert verification.notes == (
            "labels of several outputs do not fit a file with one: accuracy not measured",
        )

    def test_wrong_options(self):
        with pytest.raises(ValueError, match="needs include_top=True and a fixed height and width"):
            kd.models.GoogLeNet((None, None, 3), auxiliary=True)
        with pytest.raises(ValueError, match="normalization must be one of 'local', None"):
            kd.models.GoogLeNet(normalization="batch")
        with pytest.raises(ValueError, match="filters_3x3 must be one number, or two"):
            kd.layers.InceptionModule(1, (1, 2, 3), 4)


def test_an_mlp_convolution_is_a_perceptron_at_every_place():
    layer = kd.layers.MLPConv2D((5, 4), 3, padding="valid")
    found = keras.ops.convert_to_numpy(layer(IMAGES))
    kernel, bias, dense, offset = layer.get_weights()
    for row, column in ((0, 0), (7, 20), (29, 29)):
        patch = IMAGES[:, row : row + 3, column : column + 3].reshape(2, -1)
        hidden = np.maximum(patch @ kernel.reshape(-1, 5) + bias, 0)
        expected = np.maximum(hidden @ dense[0, 0] + offset, 0)
        np.testing.assert_allclose(found[:, row, column], expected, atol=1e-5)


class TestLeNet:
    def test_sparse_connections_by_loops(self):
        table = [(0, 2), (1,), (0, 1, 2)]
        layer = kd.layers.SparseConnectedConv2D(table, 3)
        found = keras.ops.convert_to_numpy(layer(IMAGES))
        kernel, _ = layer.get_weights()
        number, expected = 0, np.zeros((2, 30, 30, 3))
        for filter_, row in enumerate(table):
            for channel in row:
                for y in range(3):
                    for x in range(3):
                        part = IMAGES[:, y : y + 30, x : x + 30, channel]
                        expected[..., filter_] += part * kernel[y, x, number]
                number += 1
        np.testing.assert_allclose(found, expected, atol=1e-4)

    def test_codes_are_the_nearest(self):
        layer = kd.layers.RadialBasisOutput(4, seed=2)
        x = np.random.default_rng(0).normal(size=(5, 7)).astype("float32")
        found = keras.ops.convert_to_numpy(layer(x))
        codes = keras.ops.convert_to_numpy(layer.codes)
        assert set(np.unique(codes)) == {-1, 1}
        expected = -((x[:, :, None] - codes) ** 2).sum(1)
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"connections": [], "kernel_size": 3}, "name channels for each filter"),
            ({"connections": [(0, 0)], "kernel_size": 3}, "name each channel once"),
            (
                {"connections": [(-1,)], "kernel_size": 3},
                "connections must be an integer of at least 0",
            ),
            ({"connections": [(0,)], "kernel_size": 3, "padding": "full"}, "padding must be"),
        ],
    )
    def test_wrong_tables(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            kd.layers.SparseConnectedConv2D(**arguments)

    def test_a_channel_that_is_not_there(self):
        with pytest.raises(ValueError, match="name channel 3, but the input has 3"):
            kd.layers.SparseConnectedConv2D([(0, 3)], 3)(IMAGES)

    def test_wrong_options(self):
        with pytest.raises(ValueError, match="output must be one of 'rbf', 'softmax'"):
            kd.models.LeNet5Paper(output="linear")
        with pytest.raises(ValueError, match="alpha must be 1"):
            kd.models.LeNet5Paper(alpha=0.5)
        with pytest.raises(ValueError, match="must have a fixed height and width"):
            kd.models.LeNet5((None, None, 1))


def test_local_response_normalization_by_loops():
    layer = kd.layers.LocalResponseNormalization(depth_radius=1, bias=1.5, alpha=0.3, beta=0.6)
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype("float32")
    expected = np.zeros_like(maps)
    for channel in range(6):
        total = sum(maps[..., k] ** 2 for k in range(max(0, channel - 1), min(6, channel + 2)))
        expected[..., channel] = maps[..., channel] / (1.5 + 0.3 * total) ** 0.6
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(maps)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("alexnet", {"normalization": "layer"}, "must be one of 'local', 'batch', None"),
        ("alexnet", {"input_shape": (None, None, 3)}, "must have a fixed height and width"),
        ("vgg11", {"head": "flat"}, "head must be one of 'dense', 'convolution'"),
        ("vgg11", {"weights": "imagenet"}, "is not available for this network"),
        ("vgg16", {"weights": "imagenet", "batch_norm": True}, "not available for this network"),
        ("vgg16", {"weights": "imagenet", "classes": 5}, "classes must be 1000"),
        ("alexnet", {"input_shape": (28, 28, 3), "output_stride": 32}, "Images must be at least"),
        ("vgg11", {"input_shape": (28, 28, 3), "output_stride": 32}, "Images must be at least"),
    ],
)
def test_wrong_options(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        kd.models.build(name, **arguments)


@pytest.mark.parametrize("name", ["vgg11", "alexnet"])
@pytest.mark.parametrize("output_stride", [16, 32])
def test_the_smallest_size_in_the_message_works(name, output_stride):
    options = {"alpha": 0.05, "output_stride": output_stride, "include_top": False}
    shape = (28, 300, 1)
    for _ in range(2):
        try:
            maps = _built(name, input_shape=shape, **options).output_shape[1:3]
        except ValueError as error:
            assert shape == (28, 300, 1)
            least = int(re.search(r"Images must be at least (\d+)x", str(error)).group(1))
            shape = (least, 300, 1)
            with pytest.raises(ValueError, match=f"at least {least}x{least}"):
                _built(name, input_shape=(least - 1, 300, 1), **options)
        else:
            assert min(maps) >= 1
            break
    assert min(_built(name, input_shape=shape, **options).output_shape[1:3]) >= 1


def test_unknown_options_are_named():
    with pytest.raises(TypeError, match="resnet18 has no argument 'depth'"):
        kd.models.build("resnet18", depth=20)
    with pytest.raises(TypeError, match="Did you mean 'zero_last_gamma'"):
        kd.models.build("resnet18", zero_gamma=True)


def test_an_ensemble_is_the_mean(tmp_path):
    one, other = (kd.models.LeNet5((28, 28, 1)) for _ in range(2))
    joined = kd.models.ensemble([one, other])
    images = np.random.default_rng(0).normal(size=(3, 28, 28, 1)).astype("float32")
    expected = (_answers(one, images) + _answers(other, images)) / 2
    np.testing.assert_allclose(_answers(joined, images), expected, atol=1e-6)
    joined.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(_answers(again, images), expected, atol=1e-6)
    with pytest.raises(ValueError, match="two or more models with the same input and output"):
        kd.models.ensemble([one, kd.models.LeNet5()])
    with pytest.raises(ValueError, match="two or more"):
        kd.models.ensemble([one])
    with pytest.raises(TypeError, match="must be Keras models"):
        kd.models.ensemble([one, "model.keras"])
