"""Receptive fields against brute force: which pixels change which positions."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import keras_dlcourse as kd
from keras_dlcourse.graph import receptive_field

PADDINGS = st.sampled_from(["valid", "same"])


def _positive(model: keras.Model) -> keras.Model:
    """Give positive weights, so that what goes up at a pixel goes up wherever it is seen."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in model.get_weights()])
    return model


def _changed_regions(model: keras.Model) -> dict[tuple[int, int], tuple[int, int, int, int]]:
    """Perturb each pixel; return the hull of those that change each position."""
    _, height, width, channels = model.input_shape
    image = np.random.default_rng(1).uniform(size=(height, width, channels)).astype("float32")
    images = np.repeat(image[None], height * width + 1, axis=0)
    for pixel in range(height * width):
        images[(pixel, *divmod(pixel, width))] += 1e6
    outputs = keras.ops.convert_to_numpy(model(images, training=False))
    # Equal but for rounding: a vectorized loop may round the last images of a batch otherwise.
    changed = (np.abs(outputs[:-1] - outputs[-1]) > 1e-5 * np.abs(outputs[-1])).any(-1)
    changed = changed.reshape(height, width, *outputs.shape[1:3])
    found = {}
    for row, column in np.ndindex(outputs.shape[1:3]):
        rows, columns = np.nonzero(changed[:, :, row, column])
        found[row, column] = (
            (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
            if len(rows)
            else (0, 0, 0, 0)
        )
    return found


def _assert_exact(model: keras.Model, layer: str) -> None:
    field = receptive_field(model, layer)
    regions = _changed_regions(_positive(model))
    assert field.positions == tuple(n + 1 for n in max(regions))
    assert {position: field.region(*position) for position in regions} == regions
    if any(len(axis.low) > 1 for axis in field._axes):
        return  # behind up-sampling the fields of neighbours differ in size
    # Every region is the field without a border, or said to be clipped.
    for (row, column), box in regions.items():
        top, left = np.array(field.start) + np.array(field.stride) * (row, column)
        plain = (left, top, left + field.size[1], top + field.size[0])
        assert field.is_clipped(row, column) == (box != plain)
        assert box == (0, 0, 0, 0) or (box[0] >= left and box[1] >= top)
        assert box == (0, 0, 0, 0) or (box[2] <= plain[2] and box[3] <= plain[3])


@st.composite
def stacks(draw):
    """Draw a few layers that fit a small image of odd sizes."""
    shape = draw(st.tuples(st.integers(7, 12), st.integers(7, 12)))
    x = inputs = keras.Input((*shape, 1))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "dilated", "depthwise", "separable", "max", "average",
                                     "pad", "crop", "up", "smooth", "transposed"]))  # fmt: skip
        kernel, padding = draw(pair), draw(PADDINGS)
        size = min(x.shape[1:3])
        if kind == "crop" and size < 4 or padding == "valid" and size < 5:
            continue
        if kind in ("up", "smooth", "transposed") and max(x.shape[1:3]) > 12:
            continue
        stride = draw(st.integers(1, 2))
        layer = {
            "conv": lambda k, s, p: layers.Conv2D(2, k, strides=s, padding=p),
            "dilated": lambda k, s, p: layers.Conv2D(1, k, padding=p, dilation_rate=2),
            "depthwise": lambda k, s, p: layers.DepthwiseConv2D(k[0], strides=s, padding=p),
            "separable": lambda k, s, p: layers.SeparableConv2D(2, k[0], strides=s, padding=p),
            "max": lambda k, s, p: layers.MaxPooling2D(k, strides=s, padding=p),
            "average": lambda k, s, p: layers.AveragePooling2D(k, strides=s, padding=p),
            "pad": lambda k, s, p: layers.ZeroPadding2D(((k[0], 0), (s - 1, k[1]))),
            "crop": lambda k, s, p: layers.Cropping2D(((s, 0), (0, 1))),
            "up": lambda k, s, p: layers.UpSampling2D((k[0], s)),
            "smooth": lambda k, s, p: layers.UpSampling2D(
                (k[0], s), interpolation="bilinear"
            ),
            "transposed": lambda k, s, p: layers.Conv2DTranspose(1, k, strides=s, padding=p),
        }[kind](kernel, stride, padding)  # fmt: skip
        x = layer(x)
    return keras.Model(inputs, layers.Activation("relu", name="end")(x))


@settings(max_examples=30)
@given(stacks())
def test_fields_are_those_of_brute_force(model):
    _assert_exact(model, "end")


@pytest.mark.parametrize("height", [9, 10])
def test_same_padding_puts_the_odd_row_behind(height):
    inputs = keras.Input((height, height, 1))
    model = keras.Model(inputs, layers.Conv2D(1, 3, strides=2, padding="same", name="end")(inputs))
    field = receptive_field(model, "end")
    assert field.start == ((-1, -1) if height == 9 else (0, 0))
    clipped = [field.is_clipped(2, column) for column in range(5)]
    assert clipped == ([True, False, False, False, True] if height == 9 else [False] * 4 + [True])
    _assert_exact(model, "end")


@pytest.mark.parametrize(
    "layer",
    [
        lambda: kd.layers.LocalFilter2D("box", 5, name="end"),
        lambda: kd.layers.LocalFilter2D([[1, 2, 3, 4]], name="end"),
        lambda: kd.layers.LocalFilter2D([[1, 2, 3, 4]], flip=True, padding="valid", name="end"),
        lambda: kd.layers.LocalFilter2D(np.ones((2, 4)), flip=True, name="end"),
    ],
)
def test_local_filters(layer):
    inputs = keras.Input((8, 9, 2))
    _assert_exact(keras.Model(inputs, layer()(inputs)), "end")


def test_rank_filters_repeat_the_border():
    """What stands there is read again: the field is clipped, and sees no padding."""
    inputs = keras.Input((8, 9, 1))
    model = keras.Model(inputs, kd.layers.RankFilter2D(size=3, name="end")(inputs))
    field = receptive_field(model, "end")
    assert field.size == (3, 3) and field.region(0, 8) == (7, 0, 9, 2)


def test_branches_are_joined():
    x = inputs = keras.Input((11, 10, 2))
    far = layers.Conv2D(2, 3, dilation_rate=3, padding="same")(x)
    near = layers.Conv2D(2, (1, 3), padding="same")(x)
    x = layers.Concatenate()([far, layers.BatchNormalization()(near)])
    x = layers.Add(name="end")([x, layers.Conv2D(4, 1)(inputs)])
    _assert_exact(keras.Model(inputs, x), "end")


def test_blocks_of_this_package_are_opened():
    x = inputs = keras.Input((13, 11, 2))
    x = kd.layers.DepthwiseSeparableConv2D(3, kernel_size=5, strides=2)(x)
    x = kd.layers.InvertedResidual(3, expansion=2)(x)
    x = kd.layers.InvertedResidual(4, strides=2, name="end")(x)
    field = receptive_field(model := keras.Model(inputs, x), "end")
    # ReLU6 hides what is above 6, so brute force is asked of the same stack without it.
    y = inputs = keras.Input((13, 11, 2))
    for kernel, stride in ((5, 2), (3, 1), (3, 2)):
        y = layers.Conv2D(1, kernel, strides=stride, padding="same")(y)
    regions = _changed_regions(_positive(keras.Model(inputs, y)))
    assert {position: field.region(*position) for position in regions} == regions
    assert field.positions == model.output_shape[1:3]


def test_nested_models_and_names():
    inner = keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(2, 3, name="conv")],
                             name="inner")  # fmt: skip
    x = inputs = keras.Input((9, 8, 1))
    x = inner(layers.MaxPooling2D(2, strides=1)(x))
    model = keras.Model(inputs, layers.Conv2D(1, 2, strides=2, name="end")(x))
    assert receptive_field(model, "inner/conv").size == (4, 4)
    assert receptive_field(model, "inner") == receptive_field(model, "conv")
    _assert_exact(model, "end")


def test_of_several_inputs_the_image_is_asked_for():
    image, other = keras.Input((8, 8, 1), name="image"), keras.Input((8, 8, 1), name="other")
    seen = layers.Conv2D(2, 3, padding="same")(image)
    x = layers.Add(name="end")([seen, layers.Conv2D(2, 5, padding="same")(other)])
    model = keras.Model([image, other], x)
    assert receptive_field(model, "end").size == (3, 3)
    assert receptive_field(model, "end", image_input=1).size == (5, 5)
    with pytest.raises(ValueError, match="image_input must be an integer from 0 to 1. Received: 2"):
        receptive_field(model, "end", image_input=2)


@pytest.mark.parametrize(
    "layer",
    [
        layers.GlobalMaxPooling2D(name="all"),
        layers.Flatten(name="all"),
        layers.LayerNormalization(axis=(1, 2), name="all"),
        layers.UpSampling2D(interpolation="bicubic", name="all"),
    ],
)
def test_what_sees_everything_says_so(layer):
    x = inputs = keras.Input((8, 6, 2))
    x = layer(layers.Conv2D(3, 3)(x))
    model = keras.Model(inputs, layers.Dense(2, name="scores")(x))
    field = receptive_field(model, "scores")
    assert (field.whole, field.size, field.stride) == ("all", (8, 6), (0, 0))
    assert field.region(0, 0) == (0, 0, 6, 8) and not field.is_clipped(0, 0)


def test_squeeze_and_excitation_sees_everything():
    x = inputs = keras.Input((8, 6, 2))
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    model = keras.Model(inputs, layers.Multiply(name="end")([x, gate]))
    assert receptive_field(model, "end").whole == "squeeze"


@pytest.mark.parametrize(
    ("build", "layer", "size"),
    # Araujo, Norris and Sim (Distill, 2019), table of sizes.
    [
        (keras.applications.VGG16, "block5_pool", 212),
        (keras.applications.ResNet50, "conv5_block3_out", 483),
        (keras.applications.MobileNet, "conv_pw_13_relu", 315),
    ],
)
def test_published_sizes(build, layer, size):
    model = build(weights=None, input_shape=(224, 224, 3), include_top=False)
    field = receptive_field(model, layer)
    assert (field.size, field.stride, field.positions) == ((size, size), (32, 32), (7, 7))
    assert receptive_field(model) == field


def test_images_of_any_size():
    x = inputs = keras.Input((None, None, 1))
    x = layers.Conv2D(1, 4, strides=2, padding="same", name="end")(x)
    model = keras.Model(inputs, x)
    with pytest.raises(ValueError, match=r"Set the size with image_size=\(height, width\)"):
        receptive_field(model, "end")
    with pytest.raises(ValueError, match=r"image_size must be \(height, width\).*0"):
        receptive_field(model, "end", image_size=(0, 4))
    field = receptive_field(model, "end", image_size=(6, 7))
    assert field.positions == (3, 4) and field.region(2, 3) == (5, 3, 7, 6)


def test_errors_name_what_is_wrong():
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, layers.Conv2D(1, 3, name="convolution")(inputs))
    with pytest.raises(ValueError, match="no layer 'convoluton'.*Did you mean 'convolution'"):
        receptive_field(model, "convoluton")
    with pytest.raises(ValueError, match=r"image_size must be \(8, 8\) for this model"):
        receptive_field(model, image_size=(9, 9))
    with pytest.raises(IndexError, match=r"from \(0, 0\) to \(5, 5\).*\(6, 0\)"):
        receptive_field(model).region(6, 0)
    with pytest.raises(TypeError, match="must be a keras.Model. Received: int"):
        receptive_field(3)
    vector = keras.Sequential([keras.Input((8,)), layers.Dense(2, name="dense")])
    with pytest.raises(ValueError, match="must be an image"):
        receptive_field(vector, "dense")
