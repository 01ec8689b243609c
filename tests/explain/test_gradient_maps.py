"""Maps by gradients: identities, an independent computation, and every shape of network."""

import keras
import numpy as np
import pytest
from explained_models import SHAPE, body, classifier, images, numbers, randomised, siamese
from keras import layers as L
from scipy.signal import correlate2d

import keras_dlcourse as kd
from keras_dlcourse.explain import GradientMapper
from keras_dlcourse.explain.engine.probe import INPUT, Probe
from keras_dlcourse.explain.engine.weighting import WEIGHTINGS

FUNCTIONS = [getattr(kd.explain, name) for name in WEIGHTINGS]


def test_grad_cam_is_cam_less_its_negative_part_on_such_a_head():
    model, x = classifier(), images()
    chosen = np.array([0, 3, 1, 2, 2])
    cam = kd.explain.cam(model, x, chosen, raw=True)
    ours = kd.explain.grad_cam(model, x, chosen, raw=True)
    places = cam[0].size
    np.testing.assert_allclose(ours, np.maximum(cam, 0) / places, rtol=1e-4, atol=1e-6)
    assert (cam < 0).any() and (ours > 0).any()


def test_hires_cam_adds_up_to_the_score_less_the_bias():
    model, x = classifier("linear"), images()
    maps = kd.explain.hires_cam(model, x, 2, raw=True)
    scores = numbers(model(x))[:, 2] - numbers(model.layers[-1].bias)[2]
    np.testing.assert_allclose(maps.sum((1, 2)), scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("function", FUNCTIONS, ids=list(WEIGHTINGS))
def test_flipped_images_give_flipped_maps(function):
    given = keras.Input((11, 11, 2))
    x = L.Conv2D(5, 3, padding="same", activation="relu")(given)
    x = L.Conv2D(5, 3, padding="same", activation="relu", name="seen")(x)
    x = L.GlobalAveragePooling2D()(x)
    model = randomised(keras.Model(given, L.Dense(3)(x)))
    for layer in model.layers[1:3]:
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel + kernel[:, ::-1], bias])
    x = images(3, (11, 11, 2))
    maps = function(model, x, 1, raw=True, layer="seen")
    flipped = function(model, x[:, :, ::-1], 1, raw=True, layer="seen")
    assert np.ptp(maps) > 0
    np.testing.assert_allclose(flipped, maps[:, :, ::-1], rtol=1e-3, atol=1e-5)


def _tail(features, kernel, bias, weights, offset):
    """The rest of the network in float64: convolution, ReLU, flatten, dense."""
    rows = [
        sum(correlate2d(features[..., i], kernel[..., i, o], "valid") for i in range(3)) + bias[o]
        for o in range(2)
    ]
    return np.maximum(np.stack(rows, -1), 0).reshape(-1) @ weights + offset


FORMULAS = {
    "grad_cam": lambda A, G: np.maximum((A * G.mean((0, 1))).sum(-1), 0),
    "layer_cam": lambda A, G: np.maximum((np.maximum(G, 0) * A).sum(-1), 0),
    "hires_cam": lambda A, G: (G * A).sum(-1),
    "grad_cam_pp": lambda A, G: np.maximum(
        sum(
            A[..., k]
            * sum(
                g**2 / (2 * g**2 + A[..., k].sum() * g**3) * max(g, 0)
                for g in G[..., k].ravel()
                if g != 0
            )
            for k in range(A.shape[-1])
        ),
        0,
    ),
}


@pytest.mark.parametrize("method", FORMULAS)
def test_beside_finite_differences_in_numpy(method):
    given = keras.Input((6, 7, 2))
    x = L.Conv2D(3, 3, activation="relu", name="seen")(given)
    x = L.Conv2D(2, 2, activation="relu", name="hidden")(x)
    model = randomised(keras.Model(given, L.Dense(4, activation="softmax")(L.Flatten()(x))))
    x = images(2, (6, 7, 2))
    features = numbers(keras.Model(given, model.get_layer("seen").output)(x)).astype("float64")
    rest = [w.astype("float64") for layer in model.layers[2:] for w in layer.get_weights()]
    ours = getattr(kd.explain, method)(model, x, 3, raw=True, layer="seen")
    for row, A in enumerate(features):
        G = np.zeros_like(A)
        for index in np.ndindex(*A.shape):
            step = np.zeros_like(A)
            step[index] = 1e-6
            G[index] = (_tail(A + step, *rest)[3] - _tail(A - step, *rest)[3]) / 2e-6
        G[np.abs(G) < 1e-9] = 0
        np.testing.assert_allclose(ours[row], FORMULAS[method](A, G), rtol=1e-3, atol=1e-5)


def test_eigen_cam_is_the_first_principal_direction():
    model, x = classifier(), images(3)
    features = keras.Model(model.inputs, model.get_layer("second").output).predict(x, verbose=0)
    ours = kd.explain.eigen_cam(model, x, raw=True)
    for A, found in zip(features, ours, strict=True):
        rows = A.reshape(-1, A.shape[-1]).astype("float64")
        values, vectors = np.linalg.eigh(rows.T @ rows)
        expected = rows @ vectors[:, values.argmax()]
        expected = np.maximum(expected * np.sign(expected.sum()), 0)
        np.testing.assert_allclose(found.ravel(), expected, rtol=1e-3, atol=1e-4)


def _nested():
    given = keras.Input(SHAPE)
    backbone = keras.Model(inner := keras.Input(SHAPE), body(inner), name="backbone")
    head = keras.Sequential(
        [keras.Input((5, 6, 6)), L.GlobalAveragePooling2D(), L.Dense(4, activation="softmax")],
        name="head",
    )
    return keras.Model(given, head(backbone(L.Rescaling(1.0)(given))))


def test_a_nested_network_gives_the_maps_of_the_plain_one():
    plain, nested, x = classifier(), _nested(), images()
    nested.set_weights(plain.get_weights())
    for layer in (None, "second", "backbone/second", "backbone"):
        ours = kd.explain.grad_cam(nested, x, 1, raw=True, layer=layer)
        np.testing.assert_allclose(ours, kd.explain.grad_cam(plain, x, 1, raw=True), atol=1e-6)
    early = kd.explain.layer_cam(nested, x, 1, raw=True, layer="first")
    expected = kd.explain.layer_cam(plain, x, 1, raw=True, layer="first")
    np.testing.assert_allclose(early, expected, atol=1e-6)


def test_paths_around_the_layer_count_only_what_goes_through_it():
    given = keras.Input(SHAPE)
    x = L.Conv2D(4, 3, padding="same", name="stem")(given)
    x = L.Add()([x, L.Conv2D(4, 3, padding="same", name="branch")(x)])
    model = randomised(keras.Model(given, L.Dense(2)(L.GlobalAveragePooling2D()(x))))
    x, weights = images(), model.layers[-1].get_weights()[0]
    branch = numbers(keras.Model(given, model.get_layer("branch").output)(x))
    ours = kd.explain.hires_cam(model, x, 1, raw=True, layer="branch")
    np.testing.assert_allclose(ours, branch @ weights[:, 1] / branch[0, ..., 0].size, rtol=1e-3)


def test_of_a_siamese_network_each_side_has_its_map():
    model, left, right = siamese(), images(seed=3), images(seed=4)
    first, second = (
        kd.explain.hires_cam(model, [left, right], 1, raw=True, image_input=side) for side in (0, 1)
    )
    bias = numbers(model.layers[-1].bias)
    score = numbers(model([left, right]))[:, 0] - bias[0]
    np.testing.assert_allclose((first + second).sum((1, 2)), score, rtol=1e-3, atol=1e-4)
    by_name = kd.explain.hires_cam(model, {"right": right, "left": left}, 1, raw=True)
    np.testing.assert_array_equal(by_name, first)
    assert np.abs(first - second).max() > 1e-3


def test_outputs_by_number_name_and_any_function_of_them():
    given = keras.Input(SHAPE)
    pooled = L.GlobalAveragePooling2D()(body(given))
    heads = [L.Dense(3, activation="softmax", name="kind")(pooled), L.Dense(1, name="age")(pooled)]
    model, x = randomised(keras.Model(given, heads)), images()
    by_name = kd.explain.grad_cam(model, x, 1, raw=True, output="age")
    np.testing.assert_array_equal(by_name, kd.explain.grad_cam(model, x, 1, raw=True, output=1))
    by_function = kd.explain.grad_cam(model, x, raw=True, target=lambda out: out[1][:, 0])
    np.testing.assert_allclose(by_function, by_name, atol=1e-6)
    assert np.abs(by_name - kd.explain.grad_cam(model, x, 1, raw=True)).max() > 1e-3


def test_one_output_says_yes_or_no():
    model, x = classifier("sigmoid", 1), images()
    yes, no = (kd.explain.hires_cam(model, x, c, raw=True) for c in (1, 0))
    np.testing.assert_allclose(no, -yes, atol=1e-7)
    answers = numbers(model(x))[:, 0] > 0.5
    ours = kd.explain.hires_cam(model, x, raw=True)
    np.testing.assert_allclose(ours, np.where(answers[:, None, None], yes, no), atol=1e-7)


def test_segmentation_explains_the_mean_score_from_the_coarsest_maps():
    given = keras.Input((16, 16, 3))
    x = L.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="down")(given)
    x = L.MaxPooling2D(name="coarse")(x)
    x = L.UpSampling2D(4)(L.Conv2D(4, 3, padding="same", activation="relu", name="bottom")(x))
    model = randomised(keras.Model(given, L.Conv2D(3, 1, activation="softmax")(x)))
    mapper = GradientMapper(model, "hires_cam")
    assert mapper.probe.place.name == "bottom"
    x = images(2, (16, 16, 3))
    maps, scores = mapper.maps(x, 2)
    bias = model.layers[-1].get_weights()[1]
    np.testing.assert_allclose(maps.sum((1, 2)), scores[:, 2] - bias[2], rtol=1e-3)


def test_a_joint_is_found_before_a_later_branch():
    given = keras.Input((16, 16, 3))
    x = L.Conv2D(4, 3, strides=4, padding="same", name="trunk")(given)
    branches = [L.Conv2D(4, 4, name="end")(x), L.Conv2D(4, 4, name="side_end")(
        L.Conv2D(4, 1, name="side")(x))]  # fmt: skip
    model = keras.Model(given, L.Dense(2)(L.Flatten()(L.Concatenate()(branches))))
    assert GradientMapper(model).probe.place.name == "trunk"
    assert GradientMapper(model, layer="side").probe.place.name == "side"


def test_open_image_sizes():
    given = keras.Input((None, None, 3))
    pooled = L.GlobalAveragePooling2D()(body(given))
    model = randomised(keras.Model(given, L.Dense(4)(pooled)))
    mapper = GradientMapper(model, "grad_cam", batch_size=4)
    for shape in ((10, 12, 3), (16, 8, 3)):
        maps, _ = mapper.maps(images(5, shape), 1)
        cam = kd.explain.cam(model, images(5, shape), 1, raw=True)
        np.testing.assert_allclose(maps, np.maximum(cam, 0) / cam[0].size, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "linear"])
@pytest.mark.parametrize("apart", [False, True])
def test_scores_are_those_before_the_activation(activation, apart):
    given = keras.Input(SHAPE)
    pooled = L.GlobalAveragePooling2D()(body(given))
    dense = L.Dense(4, activation=None if apart else activation)(pooled)
    outputs = L.Activation(activation)(dense) if apart else dense
    model, x = randomised(keras.Model(given, outputs)), images()
    mapper = GradientMapper(model)
    _, scores = mapper.maps(x)
    kernel, bias = [layer for layer in model.layers if isinstance(layer, L.Dense)][0].get_weights()
    features = numbers(keras.Model(given, pooled)(x))
    np.testing.assert_allclose(scores, features @ kernel + bias, rtol=1e-4, atol=1e-5)
    if activation != "linear":
        np.testing.assert_allclose(mapper.probabilities(scores), numbers(model(x)), rtol=1e-4)
    names = [getattr(layer, "activation", None) for layer in model.layers]
    assert not apart or names[-1] is keras.activations.get(activation)  # left as it was


def test_several_classes_an_image_share_a_scale():
    model, x = classifier(), images(3)
    pairs = np.array([[0, 1], [2, 3], [1, 1]])
    maps = kd.explain.grad_cam(model, x, pairs, raw=True)
    assert maps.shape == (3, 2, 5, 6)
    np.testing.assert_array_equal(maps[:, 1], kd.explain.grad_cam(model, x, pairs[:, 1], raw=True))
    drawn = kd.explain.grad_cam(model, x, pairs)
    assert drawn.shape == (3, 2, 10, 12) and drawn.max() == 1


def test_batches_change_nothing_and_nothing_is_traced_twice():
    traces = []

    class Counting(L.Layer):
        def call(self, x):
            traces.append(1)
            return x * 1.0

    given = keras.Input(SHAPE)
    pooled = L.GlobalAveragePooling2D()(Counting()(body(given)))
    model = randomised(keras.Model(given, L.Dense(4, activation="softmax")(pooled)))
    mapper = GradientMapper(model, batch_size=2)
    whole, _ = GradientMapper(model, batch_size=16).maps(images(), 2)
    traces.clear()
    np.testing.assert_allclose(mapper.maps(images(), 2)[0], whole, atol=1e-6)
    once = len(traces)
    for seed in range(3):
        mapper.maps(images(3, seed=seed), [seed, 3, 1])
        mapper.maps(images(1, seed=seed))
        mapper.maps(images(4, seed=seed), 1)
    if keras.backend.backend() != "torch":
        assert len(traces) == 2 * once  # for batches of two, and for one image


def test_training_goes_on_between_calls():
    model, x = classifier(), images()
    mapper = GradientMapper(model, "hires_cam")
    before, _ = mapper.maps(x, 1)
    randomised(model, seed=9)
    after, _ = mapper.maps(x, 1)
    fresh, _ = GradientMapper(model, "hires_cam").maps(x, 1)
    np.testing.assert_allclose(after, fresh, atol=1e-6)
    assert np.abs(after - before).max() > 1e-2


def test_mixed_precision_gives_nearly_the_same():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        low = classifier("linear")
    finally:
        keras.config.set_dtype_policy("float32")
    high, x = classifier("linear"), images()
    high.set_weights(low.get_weights())
    ours, expected = (kd.explain.grad_cam(model, x, 1, raw=True) for model in (low, high))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=0.03 * expected.max())


def test_the_gradient_by_the_image():
    given = keras.Input((4, 5, 2))
    model = randomised(keras.Model(given, L.Dense(3)(L.Flatten()(given))))
    found = Probe(model, layer=INPUT)(images(3, (4, 5, 2)), [0, 2, 1])
    kernel = model.layers[-1].get_weights()[0]
    np.testing.assert_allclose(found.gradients.reshape(3, -1), kernel.T[[0, 2, 1]], rtol=1e-5)


def test_a_zero_gradient_is_said():
    model, x = classifier(), images(3)
    model.layers[-1].set_weights([np.zeros((6, 4)), np.zeros(4)])
    with pytest.warns(
        UserWarning, match="gradient with respect to layer 'second' is 0 everywhere for 3 of 3"
    ):
        maps = kd.explain.grad_cam(model, x, 1)
    assert not maps.any()


ERRORS = {
    "far layer": ({"layer": "zzz"}, ValueError, "no layer 'zzz'.*feature maps are: first"),
    "near layer": ({"layer": "secnd"}, ValueError, "no layer 'secnd'.*Did you mean 'second'"),
    "layer type": ({"layer": 3}, TypeError, "layer must be the name"),
    "class": ({"classes": 4}, ValueError, "classes must be between 0 and 3.*4 to 4"),
    "classes": ({"classes": [1, 2]}, ValueError, r"one row for each of 5 images"),
    "shape": ({"images": np.zeros((5, 8, 8, 3))}, ValueError, r"shape \(n, 10, 12, 3\)"),
    "one image": ({"images": np.zeros(SHAPE)}, ValueError, r"pass image\[None\]"),
    "none": ({"images": np.zeros((0, *SHAPE))}, ValueError, "with n at least 1"),
    "nan": ({"images": np.full((2, *SHAPE), np.nan)}, ValueError, "2 of 2 images hold NaN"),
    "inputs": (
        {"images": {"a": images(), "b": images()}},
        ValueError,
        "must have the keys .*Received: 'a', 'b'",
    ),
    "target": ({"target": 3}, TypeError, "Pass classes as classes="),
    "target shape": (
        {"target": lambda out: out},
        ValueError,
        r"one number per image.*Received: \(8, 4\)",
    ),
    "both": (
        {"target": lambda out: out[:, 0], "classes": 1},
        ValueError,
        "only one of classes and target",
    ),
    "batch_size": ({"batch_size": 0}, ValueError, "batch_size must be"),
    "output": ({"output": "zzz"}, ValueError, "output must be an index below 1 or one of"),
    "image_input": ({"image_input": 1}, ValueError, "image_input must be an integer from 0 to 0"),
    "pooled": (
        {"layer": "pooled"},
        ValueError,
        r"'pooled' must output feature maps.*Received: shape \(6,\).*before the pooling",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_mistakes_are_said(name):
    options, kind, message = ERRORS[name]
    given = keras.Input(SHAPE)
    pooled = L.GlobalAveragePooling2D(name="pooled")(body(given))
    model = keras.Model(given, L.Dense(4)(pooled))
    with pytest.raises(kind, match=message):
        kd.explain.grad_cam(model, **{"images": images(), **options})


def test_models_that_cannot_be_looked_into():
    flat = keras.Sequential([keras.Input((8,)), L.Dense(3)])
    with pytest.raises(ValueError, match="no layer with feature maps"):
        kd.explain.grad_cam(flat, np.zeros((2, 8)))
    with pytest.raises(ValueError, match="method must be one of 'grad_cam'"):
        GradientMapper(classifier(), "grad_cma")
    with pytest.raises(TypeError, match="keras.Model. Received: str"):
        kd.explain.grad_cam("model.keras", images())
