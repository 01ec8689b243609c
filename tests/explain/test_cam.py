"""Class activation maps beside NumPy loops, for each place where a head may stand."""

import gc
import weakref

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from keras_dlcourse.explain import ClassActivationMapper, cam, find_head
from keras_dlcourse.explain.maps.cam import resize_and_scale

SHAPE = (12, 10, 3)
CLASSES = 4


def images(n=5, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype("float32")


def randomized(model, seed=1):
    """Give every weight a random value: fresh networks answer a constant and hide mistakes."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [np.abs(rng.normal(size=weight.shape)) * 0.5 + 0.1 if "variance" in variable.path else
         rng.normal(size=weight.shape) * 0.5
         for variable, weight in zip(model.weights, model.get_weights(), strict=True)]
    )  # fmt: skip
    return model


def backbone_layers():
    return [
        layers.Conv2D(6, 3, strides=2, padding="same"),
        layers.BatchNormalization(),
        layers.Activation("relu"),
    ]


def apply(x, *parts):
    for part in parts:
        x = part(x)
    return x


def backbone(*extra, name="backbone"):
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, apply(inputs, *backbone_layers(), *extra), name=name)


def gap(**arguments):
    return layers.GlobalAveragePooling2D(**arguments)


def dense(**arguments):
    return layers.Dense(CLASSES, **arguments)


def functional(*parts):
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, apply(inputs, *parts))


def sequential(*parts):
    return keras.Sequential([keras.Input(SHAPE), *parts])


def two_calls():
    """Use a backbone twice: its second call counts, on other inputs than its first."""
    body, inputs = backbone(), keras.Input(SHAPE)
    body(inputs)
    return keras.Model(inputs, apply(inputs, layers.Rescaling(0.5), body, gap(), dense()))


def head_as_model():
    inputs = keras.Input((6, 5, 6))
    return keras.Model(inputs, apply(inputs, gap(), layers.Dropout(0.5), dense()), name="head")


MODELS = {
    "functional": lambda: functional(*backbone_layers(), gap(), dense(activation="softmax")),
    "sequential": lambda: sequential(*backbone_layers(), gap(), dense(activation="softmax")),
    "dropout": lambda: functional(*backbone_layers(), gap(), layers.Dropout(0.5), dense()),
    "activation layer": lambda: functional(
        *backbone_layers(), gap(), dense(), layers.Activation("softmax")
    ),
    "softmax layer": lambda: functional(*backbone_layers(), gap(), dense(), layers.Softmax()),
    "sigmoid": lambda: functional(*backbone_layers(), gap(), dense(activation="sigmoid")),
    "no bias": lambda: functional(*backbone_layers(), gap(), dense(use_bias=False)),
    "1x1 convolution": lambda: functional(
        *backbone_layers(),
        gap(keepdims=True),
        layers.Dropout(0.1),
        layers.Conv2D(CLASSES, 1, padding="same"),
        layers.Reshape((CLASSES,)),
        layers.Activation("softmax"),
    ),
    "reshaped averages": lambda: functional(
        *backbone_layers(), gap(), layers.Reshape((1, 1, 6)), layers.Conv2D(CLASSES, 1),
        layers.Flatten(),
    ),
    "flattened averages": lambda: functional(
        *backbone_layers(), gap(keepdims=True), layers.Flatten(), dense()
    ),
    "backbone as layer": lambda: functional(backbone(), gap(), dense()),
    "backbone with pooling": lambda: functional(backbone(gap()), dense(activation="softmax")),
    "backbone in Sequential": lambda: sequential(backbone(), gap(), dense()),
    "backbone with pooling in Sequential": lambda: sequential(backbone(gap()), dense()),
    "classifier behind preprocessing": lambda: functional(
        layers.Rescaling(0.5, offset=0.1), backbone(gap(), dense(activation="softmax"))
    ),
    "two deep": lambda: functional(
        layers.Rescaling(2.0), sequential(layers.Rescaling(0.5), backbone(gap())), dense()
    ),
    "backbone and head as models": lambda: functional(backbone(), head_as_model()),
    "Sequential in functional": lambda: functional(
        sequential(*backbone_layers()), gap(), dense(activation="softmax")
    ),
    "backbone used twice": two_calls,
    "channels first": lambda: functional(
        *backbone_layers(), layers.Permute((3, 1, 2)), gap(data_format="channels_first"), dense()
    ),
}  # fmt: skip


def features_by_hand(model, x):
    """Compute the last feature maps layer by layer, in NumPy after the convolution."""
    convolution, normalization = (
        next(layer for layer in flat(model) if isinstance(layer, kind))
        for kind in (layers.Conv2D, layers.BatchNormalization)
    )
    kernel, bias = convolution.get_weights()
    gamma, beta, mean, variance = normalization.get_weights()
    for layer in flat(model):
        if isinstance(layer, layers.Rescaling):
            x = x * layer.scale + layer.offset
    height, width = (-(-side // 2) for side in x.shape[1:3])
    total = [max((out - 1) * 2 + 3 - side, 0) for out, side in
             zip((height, width), x.shape[1:3], strict=True)]  # fmt: skip
    x = np.pad(x, [(0, 0), *((part // 2, part - part // 2) for part in total), (0, 0)])
    out = np.empty((len(x), height, width, kernel.shape[-1]))
    for row in range(height):
        for column in range(width):
            patch = x[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            out[:, row, column] = np.einsum("nijc,ijck->nk", patch, kernel) + bias
    out = gamma * (out - mean) / np.sqrt(variance + normalization.epsilon) + beta
    return np.maximum(out, 0)


def flat(model):
    return [layer for layer in model._flatten_layers() if not isinstance(layer, keras.Model)]


def map_by_hand(features, kernel, label):
    """Zhou et al., equation 2: a sum over units of weight times activation, place by place."""
    height, width, channels = features.shape
    result = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            for channel in range(channels):
                result[row, column] += kernel[channel, label] * features[row, column, channel]
    return result


@pytest.mark.parametrize("name", MODELS)
def test_maps_are_those_of_loops_and_sum_up_to_the_models_output(name):
    model = randomized(MODELS[name]())
    x = images()
    output_before = model.predict(x, verbose=0).reshape(len(x), -1)
    mapper = ClassActivationMapper(model, batch_size=2)
    every_class = np.tile(np.arange(CLASSES), (len(x), 1))
    maps, logits = mapper.maps(x, every_class)

    kernel, bias = mapper.head.weights()
    features = features_by_hand(model, x.astype("float64"))
    for image in range(len(x)):
        for label in range(CLASSES):
            expected = map_by_hand(features[image], kernel, label)
            np.testing.assert_allclose(maps[image, label], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(maps.mean((2, 3)) + bias, logits, rtol=1e-5, atol=1e-5)

    # The same weights through the whole model give the same scores.
    activation = mapper.head.activation
    scores = logits if activation == "linear" else mapper.probabilities(logits)
    np.testing.assert_allclose(scores, output_before, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cam(model, x, every_class, raw=True), maps, rtol=1e-5, atol=1e-5)
    # Looking at a model changes nothing about it.
    np.testing.assert_array_equal(model.predict(x, verbose=0).reshape(len(x), -1), output_before)


@pytest.mark.parametrize("build", [keras.applications.MobileNet, keras.applications.MobileNetV2])
def test_networks_of_keras_applications(build):
    model = randomized(build((64, 64, 3), alpha=0.35 if "V2" in build.__name__ else 0.25,
                             weights=None, classes=CLASSES))  # fmt: skip
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_variance.assign(layer.moving_variance * 20)
    x = images(2, (64, 64, 3))
    mapper = ClassActivationMapper(model, batch_size=2)
    maps, logits = mapper.maps(x)
    output = model.predict(x, verbose=0)
    np.testing.assert_allclose(mapper.probabilities(logits), output, rtol=1e-3, atol=1e-6)
    label = logits.argmax(-1)
    np.testing.assert_allclose(
        maps.mean((1, 2)) + mapper.head.weights()[1][label], logits.max(-1), rtol=1e-4
    )


def test_one_class_for_all_one_each_and_several_each():
    model, x = randomized(MODELS["functional"]()), images()
    every, _ = ClassActivationMapper(model).maps(x, np.tile(np.arange(CLASSES), (5, 1)))
    one, logits = ClassActivationMapper(model).maps(x, 2)
    np.testing.assert_allclose(one, every[:, 2], rtol=1e-6)
    each, _ = ClassActivationMapper(model).maps(x, [3, 0, 1, 0, 2])
    np.testing.assert_allclose(each, every[np.arange(5), [3, 0, 1, 0, 2]], rtol=1e-6)
    predicted, _ = ClassActivationMapper(model).maps(x)
    np.testing.assert_allclose(predicted, every[np.arange(5), logits.argmax(-1)], rtol=1e-6)
    pairs, _ = ClassActivationMapper(model).maps(x, [[0, 1]] * 5)
    np.testing.assert_allclose(pairs, every[:, :2], rtol=1e-6)


def test_a_head_with_one_output_has_a_map_for_yes_and_for_no():
    model = randomized(functional(*backbone_layers(), gap(), layers.Dense(1, activation="sigmoid")))
    x = images()
    mapper = ClassActivationMapper(model)
    maps, logits = mapper.maps(x, [[0, 1]] * 5)
    np.testing.assert_allclose(maps[:, 0], -maps[:, 1])
    probability = model.predict(x, verbose=0)[:, 0]
    scores = mapper.probabilities(logits)
    np.testing.assert_allclose(scores[:, 1], probability, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scores.sum(-1), 1, rtol=1e-6)


def test_probabilities_do_not_overflow():
    mapper = ClassActivationMapper(MODELS["functional"]())
    np.testing.assert_allclose(mapper.probabilities(np.array([[1e4, 0, -1e4, 0]])), [[1, 0, 0, 0]])
    mapper = ClassActivationMapper(MODELS["sigmoid"]())
    np.testing.assert_allclose(mapper.probabilities(np.array([[1e4, -1e4, 0]])), [[1, 0, 0.5]])


class Counted(layers.Layer):
    """Count how often Python goes through the network: once for each trace."""

    traces = 0

    def call(self, x):
        Counted.traces += 1
        return x


def test_nothing_is_traced_again_and_weights_are_read_at_each_call():
    model = randomized(functional(Counted(), *backbone_layers(), gap(), dense()))
    mapper = ClassActivationMapper(model, batch_size=4)
    Counted.traces = 0
    mapper.maps(images(4))
    first = Counted.traces
    assert first >= 1
    for n in (1, 2, 3, 4, 5, 11):
        mapper.maps(images(n))
    randomized(model, seed=9)
    maps, _ = mapper.maps(images(3))
    if keras.backend.backend() != "torch":  # which traces nothing and runs the layer each time
        assert Counted.traces == first
    np.testing.assert_allclose(maps, cam(model, images(3), raw=True), rtol=1e-5, atol=1e-6)


def test_batch_size_changes_nothing():
    model, x = randomized(MODELS["functional"]()), images(7)
    expected, logits = ClassActivationMapper(model, batch_size=7).maps(x)
    for size in (1, 2, 3, 50):
        maps, again = ClassActivationMapper(model, batch_size=size).maps(x)
        np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(again, logits, rtol=1e-4, atol=1e-5)


def test_mixed_precision():
    policy = keras.mixed_precision.dtype_policy()
    try:
        keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
        model = randomized(MODELS["functional"]())
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
    maps, logits = ClassActivationMapper(model).maps(images())
    assert maps.dtype == logits.dtype == np.float32
    expected, _ = ClassActivationMapper(randomized(MODELS["functional"]())).maps(
        images(), logits.argmax(-1)
    )
    assert np.abs(maps - expected).max() < 0.02 * np.abs(expected).max()


def test_a_loaded_model_gives_the_same_maps(tmp_path):
    model, x = randomized(MODELS["two deep"]()), images()
    expected = cam(model, x)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        cam(keras.saving.load_model(tmp_path / "model.keras"), x), expected
    )


def test_training_goes_on_unchanged_by_a_mapper():
    def train(look):
        model = randomized(MODELS["backbone with pooling"]())
        model.compile("sgd", "sparse_categorical_crossentropy")
        mapper = ClassActivationMapper(model)
        for _ in range(2):
            model.fit(images(8), np.arange(8) % CLASSES, shuffle=False, verbose=0)
            if look:
                mapper.maps(images())
        return model.get_weights()

    for with_maps, without in zip(train(True), train(False), strict=True):
        np.testing.assert_array_equal(with_maps, without)


def test_maps_at_image_size_run_from_0_to_1():
    model, x = randomized(MODELS["functional"]()), images()
    maps = cam(model, x)
    assert maps.shape == (5, *SHAPE[:2]) and maps.dtype == np.float32
    np.testing.assert_array_equal(maps.min((1, 2)), 0)
    np.testing.assert_array_equal(maps.max((1, 2)), 1)
    pairs = cam(model, x, [[0, 1]] * 5)
    assert pairs.shape == (5, 2, *SHAPE[:2])
    np.testing.assert_array_equal(pairs.min((1, 2, 3)), 0)
    np.testing.assert_array_equal(pairs.max((1, 2, 3)), 1)
    assert (pairs.max((2, 3)) < 1).any()  # one scale for both, so that they can be compared


def bilinear(plane, height, width):
    """Enlarge with centres of pixels half a pixel from the edge, edges repeated."""
    result = np.empty((height, width))
    for row in range(height):
        for column in range(width):
            y = np.clip((row + 0.5) * plane.shape[0] / height - 0.5, 0, plane.shape[0] - 1)
            x = np.clip((column + 0.5) * plane.shape[1] / width - 0.5, 0, plane.shape[1] - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, plane.shape[0] - 1), min(left + 1, plane.shape[1] - 1)
            upper = plane[top, left] * (1 - x + left) + plane[top, right] * (x - left)
            lower = plane[bottom, left] * (1 - x + left) + plane[bottom, right] * (x - left)
            result[row, column] = upper * (1 - y + top) + lower * (y - top)
    return result


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 5)] * 2),
    factor=st.tuples(*[st.sampled_from([1, 2, 3.5, 7])] * 2),
    seed=st.integers(0, 99),
    offset=st.sampled_from([0.0, 1e3]),
)
def test_enlarging_is_bilinear_and_scaling_is_exact(shape, factor, seed, offset):
    plane = np.random.default_rng(seed).normal(size=shape) + offset
    height, width = (int(np.ceil(side * by)) for side, by in zip(shape, factor, strict=True))
    expected = bilinear(plane, height, width)
    span = np.ptp(expected)
    expected = (expected - expected.min()) / span if span > 1e-9 else np.zeros_like(expected)
    result = resize_and_scale(plane[None], (height, width))[0]
    np.testing.assert_allclose(result, expected, atol=1e-5 + offset * 1e-4)


def test_a_map_that_is_the_same_everywhere_is_0():
    assert (resize_and_scale(np.full((1, 3, 4), 0.1), (7, 9)) == 0).all()
    assert (resize_and_scale(np.zeros((1, 3, 4)), (7, 9)) == 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: functional(*backbone_layers(), layers.Flatten(), dense()),
         r"ends in Dense '.*' <- Flatten '.*' <- Activation.*GlobalAveragePooling2D"),
        (lambda: functional(*backbone_layers(), gap(), dense(), dense()), "only one such layer"),
        (lambda: functional(*backbone_layers(), gap(), dense(activation="relu"), dense()),
         "only one such layer"),
        (lambda: functional(*backbone_layers(), gap()), "no layer that turns the averages"),
        (lambda: backbone(gap()), "'backbone' ends in GlobalAveragePooling2D"),
        (lambda: functional(*backbone_layers()), "Activation"),
        (lambda: functional(*backbone_layers(), gap(), layers.Activation("relu"), dense()),
         "Activation .*with_gap_head"),
        (lambda: functional(*backbone_layers(), gap(), layers.BatchNormalization(), dense()),
         "BatchNormalization"),
        (lambda: functional(*backbone_layers(), gap(), dense(), layers.Rescaling(2.0)),
         "ends in Rescaling"),
        (lambda: functional(*backbone_layers(), gap(keepdims=True), layers.Conv2D(4, 1, groups=2)),
         "ends in Conv2D"),
        (lambda: functional(*backbone_layers(), gap(), layers.Reshape((3, 2)), dense()),
         "GlobalAveragePooling2D"),
    ],
)  # fmt: skip
def test_other_heads_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        find_head(make())


def test_behind_global_max_pooling_scores_come_from_the_maxima():
    parts = [*backbone_layers(), layers.GlobalMaxPooling2D(), dense(name="scores")]
    model = randomized(functional(*parts))
    maps, logits = ClassActivationMapper(model).maps(images(), [[0, 3]] * 5)
    np.testing.assert_allclose(logits, model.predict(images(), verbose=0), rtol=1e-4, atol=1e-5)
    features = keras.Model(model.inputs, model.layers[-3].output).predict(images(), verbose=0)
    kernel = model.get_layer("scores").get_weights()[0]
    np.testing.assert_allclose(maps[:, 1], features @ kernel[:, 3], rtol=1e-3, atol=1e-4)


def test_models_without_a_graph_or_with_several_ends_are_refused():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="functional or Sequential.*Subclassed"):
        find_head(Subclassed())
    with pytest.raises(ValueError, match="has been built.*Call an unbuilt"):
        find_head(keras.Sequential([dense()]))
    with pytest.raises(ValueError, match=r"no model|Subclassed"):
        find_head(functional(*backbone_layers(), Subclassed(), gap(), Subclassed()))
    inputs = keras.Input(SHAPE)
    features = apply(inputs, *backbone_layers(), gap())
    with pytest.raises(ValueError, match="one output.*has 2.*model.outputs"):
        find_head(keras.Model(inputs, [dense()(features), dense()(features)]))
    with pytest.raises(ValueError, match="ends in Add"):
        find_head(keras.Model(inputs, layers.Add()([dense()(features), dense()(features)])))
    second = keras.Input(SHAPE)
    both = layers.Concatenate()([inputs, second])
    with pytest.raises(ValueError, match="one input.* has 2"):
        ClassActivationMapper(keras.Model([inputs, second], apply(both, gap(), dense())))
    with pytest.raises(TypeError, match="keras.Model. Received: str"):
        find_head("model.keras")


@pytest.mark.parametrize(
    ("change", "classes", "message"),
    [
        (lambda x: x[..., :1], None, r"\(n, 12, 10, 3\).*Received: \(5, 12, 10, 1\)"),
        (lambda x: x[0], None, r"For a single image, pass image\[None\]"),
        (lambda x: x[:0], None, r"at least 1.*\(0, 12, 10, 3\)"),
        (lambda x: x[0, 0, 0, 0], None, r"Received: \(\)"),
        (lambda x: np.where(np.arange(5)[:, None, None, None] < 2, np.nan, x), None,
         "2 of 5 images hold NaN"),
        (lambda x: x, [0, 1], r"\(5,\).*5 images. Received: int64 of shape \(2,\)"),
        (lambda x: x, [0.0] * 5, "integers.*float64"),
        (lambda x: x, [0, 1, 2, 3, 4], "between 0 and 3.*0 to 4"),
        (lambda x: x, -1, "between 0 and 3"),
        (lambda x: x, [[[0]]] * 5, "must have the shape"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(change, classes, message):
    with pytest.raises(ValueError, match=message):
        cam(MODELS["functional"](), change(images()), classes)


def test_batch_size_is_checked():
    with pytest.raises(ValueError, match="batch_size must be .*0"):
        ClassActivationMapper(MODELS["functional"](), batch_size=0)


def test_mappers_of_one_model_share_what_is_compiled_until_it_changes():
    model = keras.Sequential([keras.Input(SHAPE), *backbone_layers()])
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(CLASSES))
    first, second = ClassActivationMapper(model), ClassActivationMapper(model)
    assert first._features is second._features
    model.pop()
    model.pop()
    for layer in (layers.Conv2D(5, 1), layers.GlobalAveragePooling2D(), layers.Dense(CLASSES)):
        model.add(layer)
    assert ClassActivationMapper(model)._features.output_shape[-1] == 5
    gone = weakref.ref(model)
    del model, first, second, layer
    gc.collect()
    assert gone() is None
