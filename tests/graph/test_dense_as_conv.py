from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import keras_dlcourse as kd
from keras_dlcourse.graph import dense_as_conv

L = keras.layers
TENSORFLOW = keras.backend.backend() == "tensorflow"


def _randomise(model: keras.Model, seed: int = 0) -> keras.Model:
    """Random weights of such a scale that numbers stay as large through all layers."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        name, shape = weight.path.rsplit("/", 1)[-1], weight.shape
        if "codes" in name:
            continue
        if len(shape) > 1:
            depthwise = "depthwise" in weight.path or "_dw" in weight.path
            seen = np.prod(shape[:2] if depthwise else shape[:-1])
            value = random.normal(size=shape) * np.sqrt(1.5 / seen)
        elif "variance" in name or "gamma" in name:
            value = random.uniform(0.5, 1.5, shape)
        else:
            value = random.normal(size=shape) * 0.1
        weight.assign(value)
    return model


def _images(height: int, width: int, channels: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, height, width, channels)).astype("float32")


def _run(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(model(x)))


def _assert_close(ours: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def _assert_same(model: keras.Model) -> keras.Model:
    """Convert, and compare on the size that the model was made for; returns what came."""
    _randomise(model)
    height, width, channels = model.input_shape[1:]
    x = _images(height, width, channels)
    before, expected = model.get_weights(), _run(model, x)
    slides = dense_as_conv(model)
    assert slides.name == model.name and slides.input_shape == (None, None, None, channels)
    assert slides.count_params() == model.count_params()
    assert not any(type(layer) is L.Dense for layer in slides.layers)
    _assert_close(_run(slides, x), expected.reshape(2, 1, 1, -1))
    assert expected.std(axis=0).max() > 1e-4, "the images must differ for the model"
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    np.testing.assert_array_equal(_run(model, x), expected)
    return slides


def _windows(model: keras.Model, image: np.ndarray, stride: int) -> np.ndarray:
    """Cut each window out and ask the model."""
    height, width = model.input_shape[1:3]
    rows = range(0, image.shape[0] - height + 1, stride)
    columns = range(0, image.shape[1] - width + 1, stride)
    cut = [image[y : y + height, x : x + width] for y in rows for x in columns]
    return _run(model, np.stack(cut)).reshape(len(rows), len(columns), -1)


def _small(*layers: Any, shape: tuple[int, int, int] = (9, 7, 2)) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *layers], name="small")


def _plain() -> keras.Model:
    return _small(
        L.Conv2D(4, 3, strides=2, activation="relu"), L.Flatten(), L.Dropout(0.5), L.Dense(6),
        L.BatchNormalization(), L.Activation("relu"), L.Dense(3, "softmax"),
    )  # fmt: skip


def _pooled_by_max() -> keras.Model:
    return _small(
        L.Conv2D(4, 3, activation="relu"), L.MaxPooling2D(2), L.GlobalMaxPooling2D(),
        L.LayerNormalization(axis=1), L.Dense(3), L.Softmax(axis=1),
    )  # fmt: skip


def _with_1x1_convolutions() -> keras.Model:
    """As `keras.applications` ends its MobileNets."""
    return _small(
        L.Conv2D(4, 3, activation="relu"), L.GlobalAveragePooling2D(keepdims=True), L.Dropout(0.1),
        L.Conv2D(3, 1, padding="same"), L.Reshape((3,)), L.Activation("softmax"),
    )  # fmt: skip


def _pooled_in_two_ways() -> keras.Model:
    inputs = keras.Input((9, 7, 2))
    x = L.Conv2D(4, 3, activation="relu")(inputs)
    x = L.Concatenate(axis=1)([L.GlobalAveragePooling2D()(x), L.GlobalMaxPooling2D()(x)])
    return keras.Model(inputs, L.Dense(3)(x))


def _gated() -> keras.Model:
    inputs = keras.Input((9, 7, 2))
    x = L.Dense(8)(L.Flatten()(L.Conv2D(4, 3)(inputs)))
    return keras.Model(inputs, L.Dense(3)(2.0 * x * ops.sigmoid(x) + L.Dense(8)(x)))


def _shared() -> keras.Model:
    inputs = keras.Input((9, 7, 2))
    x, dense, norm = L.Dense(4)(L.Flatten()(inputs)), L.Dense(4), L.BatchNormalization()
    return keras.Model(inputs, norm(dense(norm(dense(x)))))


def _flattened_by_reshape() -> keras.Model:
    return _small(L.Conv2D(4, 3, padding="valid"), L.Reshape((-1,)), L.Dense(5), L.Dense(3))


def _on_pixels() -> keras.Model:
    return _small(L.Flatten(), L.Dense(5, "tanh"), L.Dense(3, "softmax", use_bias=False))


def _within_models() -> keras.Model:
    head = keras.Sequential([keras.Input((2, 1, 4)), L.Flatten(), L.Dense(3)], name="top")
    base = keras.Sequential([keras.Input((9, 7, 2)), L.Conv2D(4, 3), L.AveragePooling2D(3)])
    inputs = keras.Input((9, 7, 2))
    return keras.Model(inputs, head(base(inputs)))


# Networks without padding, with the product of their strides.
UNPADDED = {
    _plain: 2, _pooled_by_max: 2, _with_1x1_convolutions: 1, _pooled_in_two_ways: 1, _gated: 1,
    _shared: 1, _flattened_by_reshape: 1, _on_pixels: 1, _within_models: 3,
}  # fmt: skip


@pytest.mark.parametrize("build", UNPADDED, ids=lambda build: build.__name__[1:])
def test_each_position_is_the_model_on_its_window(build) -> None:
    model, stride = build(), UNPADDED[build]
    slides = _assert_same(model)
    (image,) = _images(20, 17, 2, count=1)
    expected = _windows(model, image, stride)
    (ours,) = _run(slides, image[None])
    assert expected.shape[0] > 3
    # Poolings may leave the last rows of a window unread, which may stand out over the image then.
    assert 0 <= ours.shape[0] - expected.shape[0] <= 1
    _assert_close(ours[: expected.shape[0], : expected.shape[1]], expected)


def test_a_network_of_the_course_slides() -> None:
    model = kd.models.LeNet5((32, 32, 1), classes=["a", "b", "c"], alpha=0.5)
    slides = _assert_same(model)
    (image,) = _images(45, 40, 1, count=1)
    expected = _windows(model, image, 4)
    assert expected.shape == (4, 3, 3)
    _assert_close(_run(slides, image[None])[0], expected)


FAMILIES = {
    "vgg11": lambda: kd.models.VGG11((32, 32, 3), alpha=0.05, classes=5, output_stride=32),
    "vgg11_fine": lambda: kd.models.VGG11((32, 32, 3), alpha=0.05, classes=5, batch_norm=True),
    "alexnet": lambda: kd.models.AlexNet((32, 32, 3), alpha=0.05, classes=5),
    "lenet5_padded": lambda: kd.models.LeNet5((28, 28, 1)),
    "lenet5_paper": lambda: kd.models.LeNet5Paper((32, 32, 1)),
    "resnet20": lambda: kd.models.ResNet20CIFAR((32, 32, 3), alpha=0.25, classes=5),
    "mobilenet_v2": lambda: kd.models.MobileNetV2((32, 32, 3), alpha=0.1, classes=5),
    "keras_mobilenet": lambda: keras.applications.MobileNet(
        (96, 96, 3), alpha=0.25, weights=None, classes=5
    ),
}


@pytest.mark.parametrize("family", FAMILIES if TENSORFLOW else ["vgg11"])
def test_families_give_the_same_at_their_own_size(family) -> None:
    model = FAMILIES[family]()
    slides = _assert_same(model)
    height, width, channels = model.input_shape[1:]
    assert _run(slides, _images(height + 32, width + 64, channels, 1)).shape[1:3] != (1, 1)


def _vgg_like() -> keras.Model:
    """VGG of `keras.applications` in small, with its names."""
    inputs = x = keras.Input((16, 16, 3))
    for block, filters in enumerate((4, 6), 1):
        for number in (1, 2):
            x = L.Conv2D(
                filters, 3, activation="relu", padding="same", name=f"block{block}_conv{number}"
            )(x)
        x = L.MaxPooling2D(2, strides=2, name=f"block{block}_pool")(x)
    x = L.Dense(8, "relu", name="fc1")(L.Flatten(name="flatten")(x))
    x = L.Dense(8, "relu", name="fc2")(x)
    return keras.Model(inputs, L.Dense(5, "softmax", name="predictions")(x), name="vgg16")


def test_layers_keep_their_names_and_dense_weights_their_numbers() -> None:
    model = _vgg_like()
    slides = _assert_same(model)
    names = [layer.name for layer in model.layers[1:] if layer.name != "flatten"]
    assert [layer.name for layer in slides.layers[1:]] == names
    kernel = model.get_layer("fc1").get_weights()[0]
    np.testing.assert_array_equal(
        slides.get_layer("fc1").get_weights()[0], kernel.reshape(4, 4, 6, 8)
    )
    assert slides.get_layer("fc2").kernel_size == (1, 1)


def test_with_same_padding_windows_see_what_is_around_them() -> None:
    """Not the model's scores, therefore, but the same ones wherever the same is seen."""
    model = _vgg_like()
    slides = _assert_same(model)
    (image,) = _images(48, 48, 3, count=1)
    (ours,) = _run(slides, image[None])
    expected = _windows(model, image, 4)
    assert ours.shape == expected.shape and np.abs(ours - expected).max() > 1e-3
    (shifted,) = _run(slides, np.roll(image, (-4, -8), (0, 1))[None])
    # Convolutions carry padding 6 pixels into the image: the two outer positions of 9 see it.
    _assert_close(shifted[2:6, 2:5], ours[3:7, 4:7])


def test_a_gate_of_the_whole_image_stays() -> None:
    """Squeeze and excitation is no head, whether of our block, of layers or of dense layers."""
    inputs = keras.Input((8, 8, 3))
    x = kd.layers.SqueezeExcite(2)(L.Conv2D(4, 3, padding="same")(inputs))
    gate = L.Dense(4, "sigmoid", name="gate")(L.GlobalAveragePooling2D(name="squeeze")(x))
    x = L.Multiply()([x, L.Reshape((1, 1, 4))(gate)])
    gate = L.Conv2D(4, 1)(L.GlobalAveragePooling2D(keepdims=True)(x))
    x = L.GlobalAveragePooling2D(name="pool")(L.Multiply()([x, gate]))
    model = _randomise(keras.Model(inputs, L.Dense(3)(x)))
    slides = dense_as_conv(model)
    x = _images(8, 8, 3)
    _assert_close(_run(slides, x)[:, 0, 0], _run(model, x))
    kinds = [type(slides.get_layer(name)) for name in ("squeeze", "gate", "pool")]
    assert kinds == [L.GlobalAveragePooling2D, L.Dense, L.AveragePooling2D]
    assert _run(slides, _images(11, 12, 3)).shape == (2, 4, 5, 3)


def test_maps_of_one_position_are_maps() -> None:
    """Global pooling of 1x1 maps that feeds a gate must not be taken for the head."""
    inputs = keras.Input((4, 4, 3))
    x = L.Conv2D(4, 4, strides=4)(inputs)
    x = L.Multiply()([x, L.Conv2D(4, 1)(L.GlobalAveragePooling2D(keepdims=True)(x))])
    model = _randomise(keras.Model(inputs, L.Dense(3)(L.Flatten()(L.Conv2D(5, 1)(x)))))
    slides = dense_as_conv(model)
    x = _images(4, 4, 3)
    _assert_close(_run(slides, x)[:, 0, 0], _run(model, x))
    assert _run(slides, _images(8, 12, 3)).shape == (2, 2, 3, 3)


def test_several_outputs_and_dense_layers_on_maps() -> None:
    inputs = keras.Input((9, 7, 2))
    maps = L.Dense(4, "relu", name="on_maps")(inputs)
    vector = L.Flatten()(L.Conv2D(3, 3)(maps))
    outputs = {"kind": L.Dense(3)(vector), "place": L.Dense(4)(vector), "maps": maps}
    model = _randomise(keras.Model(inputs, outputs))
    slides = dense_as_conv(model)
    x = _images(9, 7, 2)
    ours, expected = slides(x), model(x)
    assert type(slides.get_layer("on_maps")) is L.Conv2D
    for name in ("kind", "place", "maps"):
        theirs = ops.convert_to_numpy(expected[name])
        _assert_close(np.squeeze(ops.convert_to_numpy(ours[name])), np.squeeze(theirs))


def test_what_is_recorded_of_images_and_classes_stays(tmp_path) -> None:
    names, inception = ("cat", "dog", "hen"), kd.data.Normalization((127.5,), (127.5,))
    model = kd.models.LeNet5((28, 28, 1), classes=names, alpha=0.5, preprocessing=inception)
    slides = _assert_same(model)
    slides.save(tmp_path / "slides.keras")
    read = keras.models.load_model(tmp_path / "slides.keras")
    for described in (slides, read):
        description = kd.layers.describe(described)
        assert description.class_names == names and description.normalization == inception
    x = _images(40, 44, 1)
    np.testing.assert_array_equal(_run(read, x), _run(slides, x))
    again = keras.Model.from_config(slides.get_config())
    assert [w.shape for w in again.weights] == [w.shape for w in slides.weights]


def test_it_can_be_trained() -> None:
    slides = _assert_same(_plain())
    slides.compile("sgd", "sparse_categorical_crossentropy")
    before = slides.get_layer(slides.layers[-1].name).get_weights()[0]
    slides.fit(_images(9, 9, 2), np.zeros((2, 1, 2)), verbose=0)
    assert np.abs(slides.layers[-1].get_weights()[0] - before).max() > 0


def test_options_of_dense_layers_are_kept() -> None:
    dense = L.Dense(3, "tanh", trainable=False, kernel_regularizer="l2", dtype="mixed_bfloat16")
    convolution = dense_as_conv(_small(L.Flatten(), dense)).get_layer(dense.name)
    assert convolution.activation is keras.activations.tanh and not convolution.trainable
    assert isinstance(convolution.kernel_regularizer, keras.regularizers.L2)
    assert convolution.dtype_policy.name == "mixed_bfloat16"


@pytest.mark.skipif(not TENSORFLOW, reason="TensorFlow has the converter")
def test_a_fixed_size_of_it_runs_on_a_device(tmp_path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    slides = _assert_same(_vgg_like())
    fixed = keras.Model(image := keras.Input((32, 24, 3)), slides(image))
    device = Interpreter(
        str(
            kd.export.to_tflite(
                fixed, tmp_path / "slides.tflite", preprocessing=kd.data.Normalization.identity()
            ).path
        )
    )
    device.allocate_tensors()
    x = _images(32, 24, 3, count=1)
    device.set_tensor(device.get_input_details()[0]["index"], x)
    device.invoke()
    logits = device.get_tensor(device.get_output_details()[0]["index"])
    assert logits.shape == (1, 5, 3, 5)
    scores = ops.convert_to_numpy(ops.softmax(logits))  # a mask: the file ends in its logits
    np.testing.assert_allclose(scores, _run(slides, x), atol=1e-5)


@keras.saving.register_keras_serializable(package="dense_as_conv_tests")
class Doubled(L.Dense):
    def call(self, inputs: Any) -> Any:
        return 2 * super().call(inputs)


def _vector_and_image() -> keras.Model:
    image, vector = keras.Input((9, 7, 2)), keras.Input((3,))
    return keras.Model([image, vector], L.Concatenate()([L.Flatten()(image), vector]))


def _back_into_maps() -> keras.Model:
    inputs = keras.Input((9, 7, 2))
    vector = L.Dense(2)(L.GlobalAveragePooling2D()(inputs))
    maps = L.Multiply(name="back")([inputs, L.Reshape((1, 1, 2))(vector)])
    return keras.Model(inputs, [vector, maps])


def _of_two_layers() -> keras.Model:
    inputs = keras.Input((9, 7, 2))
    flat = [L.Dense(3)(L.Flatten()(x)) for x in (inputs, L.Conv2D(2, 3)(inputs))]
    return keras.Model(inputs, L.Add(name="joined")(flat))


REFUSED = {
    "no_dense": (lambda: _small(L.Conv2D(4, 3, name="maps")), "already convolutional.*None, None"),
    "pooling_alone": (
        lambda: _small(L.Conv2D(4, 3, name="maps"), L.GlobalAveragePooling2D(name="pool")),
        r"layer 'pool' alone.*get_layer\('maps'\)",
    ),
    "reshape": (
        lambda: _small(L.Reshape((9, 14, 1), name="other"), L.Flatten(), L.Dense(3)),
        r"'other' \(Reshape\) fixes the size",
    ),
    "resizing": (
        lambda: _small(L.Resizing(4, 4, name="small"), L.Flatten(), L.Dense(3)),
        r"'small' \(Resizing\) fixes the size",
    ),
    "recurrent": (
        lambda: _small(L.Reshape((9, 14)), L.GRU(3, name="gru"), L.Dense(3)),
        r"layer '.*reshape.*' \(Reshape\) is between the maps and the output",
    ),
    "flat_norm": (
        lambda: _small(L.Flatten(), L.BatchNormalization(name="bn"), L.Dense(3)),
        "'bn'.*between Flatten and the first Dense layer: move it before Flatten",
    ),
    "flat_softmax": (
        lambda: _small(L.Flatten(), L.Activation("softmax", name="a"), L.Dense(3)), "'a'.*between"
    ),
    "own_dense": (lambda: _small(L.Flatten(), L.Dense(3), Doubled(3, name="d")), "'d'.*Doubled"),
    "unflattened": (
        lambda: _small(L.Flatten(), L.Dense(6), L.Reshape((2, 3), name="pairs")),
        r"'pairs' \(Reshape\) .*output.*Omit other layers",
    ),
    "shape": (
        lambda: keras.Sequential([keras.Input((4,)), L.Dense(3)]),
        r"one image input.*Received: \(4,\)"
    ),
    "inputs": (_vector_and_image, r"Received: \(9, 7, 2\), \(3,\)"),
    "open": (
        lambda: _small(L.GlobalAveragePooling2D(name="p"), L.Dense(3), shape=(None, None, 2)),
        "before layer 'p'.*Build the model for a fixed image size",
    ),
    "back": (_back_into_maps, "feeds a vector of the whole image back"),
    "two_layers": (_of_two_layers, "'joined'.*joins vectors from maps of different layers"),
    "subclassed": (lambda: Subclassed(name="own"), "'own' .* is subclassed"),
    "unbuilt": (lambda: keras.Sequential([L.Dense(3)]), "has not been built"),
    "first": (
        lambda: _small(L.Flatten("channels_first", name="f"), L.Dense(3)), "'f'.*channels first"
    ),
    "nin": (lambda: kd.models.NiNCIFAR10((32, 32, 3), alpha=0.1), r"get_layer\('mlpconv3'\)"),
}  # fmt: skip


class Subclassed(keras.Model):
    def call(self, inputs: Any) -> Any:
        return inputs


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted_is_named(case) -> None:
    build, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        dense_as_conv(build())


def test_no_model_is_refused() -> None:
    with pytest.raises(TypeError, match="Received: Dense"):
        dense_as_conv(L.Dense(2))


def test_int8_weights_are_refused() -> None:
    dense = L.Dense(3)
    model = _small(L.Flatten(), dense)
    dense.quantize("int8")
    with pytest.raises(ValueError, match="has quantized weights: convert the model before"):
        dense_as_conv(model)
