from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
from compression_models import images_and_labels, kernel, plain_network, transform_of

import keras_dlcourse as kd
from keras_dlcourse.compress.pruning import prune, sparsity
from keras_dlcourse.compress.transformed import strip
from keras_dlcourse.layers import ConstantSparsity, PolynomialDecay, PruneWeight


def _smallest_are_zero(weight: np.ndarray, share: float) -> np.ndarray:
    flat = weight.ravel().copy()
    flat[np.argsort(np.abs(flat))[: round(share * flat.size)]] = 0
    return flat.reshape(weight.shape)


@pytest.mark.parametrize("share", [0.0, 0.37, 0.5, 0.9])
def test_at_once_the_smallest_of_each_layer_are_zero(share) -> None:
    model = plain_network()
    pruned = prune(model, share)
    for name in ("conv", "transposed", "scores"):
        expected = _smallest_are_zero(kernel(model, name), share)
        np.testing.assert_array_equal(kernel(pruned, name), expected)
    np.testing.assert_array_equal(kernel(pruned, "depthwise"), kernel(model, "depthwise"))


def test_per_model_one_ranking_prunes_more_where_weights_are_flat() -> None:
    """A layer whose weights are nearly all noise loses more than one with equal weights."""
    model = plain_network()
    conv, dense = model.get_layer("conv"), model.get_layer("scores")
    conv.kernel.assign(np.where(np.arange(288).reshape(conv.kernel.shape) % 8 == 0, 1.0, 0.01))
    dense.kernel.assign(np.where(np.arange(32).reshape(dense.kernel.shape) % 2 == 0, 1.0, -1.0))
    found = {row.layer: row for row in sparsity(prune(model, 0.45, per="model")).layers}
    assert found["conv"].share > 0.8
    assert found["scores"].share == 0
    pruned = [row for name, row in found.items() if name != "depthwise"]
    total = sum(row.numbers for row in pruned)
    assert abs(sum(row.zeros for row in pruned) - 0.45 * total) <= 1


def test_two_of_four_along_input_channels() -> None:
    weight = np.random.default_rng(0).normal(size=(3, 3, 10, 5)).astype("float32")
    transform = PruneWeight(0.5, pattern="2:4", axis=-2)
    transform.build(weight.shape)
    transform.choose_mask(weight)
    kept = np.asarray(transform(weight)) != 0
    for group in (slice(0, 4), slice(4, 8)):
        assert (kept[:, :, group].sum(axis=2) == 2).all()
        largest = np.sort(np.abs(weight[:, :, group]), axis=2)[:, :, 2:3]
        np.testing.assert_array_equal(kept[:, :, group], np.abs(weight[:, :, group]) >= largest)
    assert kept[:, :, 8:].all()  # the two that are left over


@pytest.mark.parametrize("block", [(1, 4), (3, 2), (4, 4)])
def test_blocks_of_smallest_mean_by_loops(block) -> None:
    weight = np.random.default_rng(1).normal(size=(2, 7, 9)).astype("float32")
    transform = PruneWeight(0.5, pattern=block)
    transform.build(weight.shape)
    transform.choose_mask(weight)
    kept = np.asarray(transform(weight)) != 0
    blocks = [
        (slice(outer, outer + 1), slice(row, row + block[0]), slice(column, column + block[1]))
        for outer in range(2)
        for row in range(0, 7, block[0])
        for column in range(0, 9, block[1])
    ]
    order = sorted(blocks, key=lambda place: np.abs(weight[place]).mean())
    expected = np.ones(weight.shape, bool)
    for place in order[: round(0.5 * len(order))]:
        expected[place] = False
    np.testing.assert_array_equal(kept, expected)


def test_equal_numbers_are_pruned_to_the_exact_share() -> None:
    transform = PruneWeight(0.25)
    weight = np.ones((4, 4), "float32")
    transform.build(weight.shape)
    transform.choose_mask(weight)
    assert int((np.asarray(transform(weight)) == 0).sum()) == 4


def test_gradients_stop_at_the_mask() -> None:
    import tensorflow as tf

    weight = tf.Variable([[0.1, -2.0, 3.0, 0.2]])
    transform = PruneWeight(0.5)
    transform.build(weight.shape)
    transform.choose_mask(weight)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(transform(weight) * [[1.0, 2.0, 3.0, 4.0]])
    assert tape.gradient(loss, weight).numpy().tolist() == [[0.0, 2.0, 3.0, 0.0]]


def test_polynomial_schedule_follows_the_formula_in_plain_fit() -> None:
    schedule = PolynomialDecay(end_step=10, begin_step=2, initial=0.1, frequency=3)
    model = prune(plain_network(), 0.8, schedule)
    model.compile("sgd", "sparse_categorical_crossentropy")
    images, labels = images_and_labels(4)
    expected = 0.0
    for step in range(13):
        model.fit(images, labels, batch_size=4, verbose=0)
        if step in (2, 5, 8, 10):
            expected = 0.8 + (0.1 - 0.8) * (1 - (step - 2) / 8) ** 3
        zeros = int((kernel(model, "conv") == 0).sum())
        assert zeros == round(np.float32(expected) * np.float32(288)), step
    assert transform_of(model, "conv").is_finished
    assert not sparsity(model).notes


def test_constant_schedule_starts_late_and_chooses_anew() -> None:
    model = prune(plain_network(), 0.5, ConstantSparsity(begin_step=2, frequency=2))
    model.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy")
    images, labels = images_and_labels(4)
    shares, masks = [], []
    for _ in range(12):
        model.fit(images, labels, batch_size=4, verbose=0)
        shares.append((kernel(model, "conv") == 0).mean())
        masks.append(np.asarray(transform_of(model, "conv").mask).copy())
    assert shares[:2] == [0, 0] and set(shares[2:]) == {0.5}
    assert (masks[2] != masks[-1]).any()  # numbers crossed while it trained
    np.testing.assert_array_equal(masks[2], masks[3])  # not due


def test_evaluation_does_not_count_as_training() -> None:
    model = prune(plain_network(), 0.5, ConstantSparsity(begin_step=0))
    images, _ = images_and_labels(4)
    model.predict(images, verbose=0)
    assert transform_of(model, "conv").step == 0
    assert sparsity(model).total.zeros == 0


def test_a_frozen_layer_is_not_pruned_further() -> None:
    model = prune(plain_network(), 0.5, ConstantSparsity(begin_step=0))
    model.get_layer("conv").trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(*images_and_labels(4), verbose=0)
    assert (kernel(model, "conv") != 0).all()
    assert (kernel(model, "scores") == 0).mean() == 0.5


def test_a_shared_layer_counts_training_steps_not_calls() -> None:
    shared = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(2)(shared(shared(inputs)))
    model = prune(keras.Model(inputs, outputs), 0.5, ConstantSparsity(begin_step=3, frequency=1))
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    for step in range(1, 5):
        model.fit(rng.normal(size=(2, 4)), rng.normal(size=(2, 2)), verbose=0)
        assert transform_of(model, "shared").step == step
        assert ((kernel(model, "shared") == 0).mean() == 0.5) == (step == 4)


def test_saved_in_the_middle_of_a_schedule_goes_on_equally(tmp_path) -> None:
    images, labels = images_and_labels(16)

    def fit(model: keras.Model) -> None:
        model.fit(images, labels, batch_size=4, shuffle=False, verbose=0)

    model = prune(plain_network(), 0.8, PolynomialDecay(end_step=7, frequency=1))
    model.compile("adam", "sparse_categorical_crossentropy")
    fit(model)
    model.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    assert transform_of(loaded, "conv").step == 4
    fit(model)
    fit(loaded)
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-6)
    assert (kernel(loaded, "conv") == 0).mean() == pytest.approx(0.8, abs=0.01)


def test_pruning_leaves_the_model_as_it_was_and_computes_the_same_at_zero() -> None:
    model = plain_network()
    before = [np.asarray(weight).copy() for weight in model.weights]
    images, labels = images_and_labels(8)
    pruned = prune(model, 0.0)
    np.testing.assert_allclose(pruned(images), model(images), atol=1e-6)
    assert pruned.input_shape == model.input_shape
    pruned = prune(model, 0.7)
    pruned.compile("adam", "sparse_categorical_crossentropy")
    pruned.fit(images, labels, verbose=0)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), value)


def test_blocks_are_opened_and_their_kernels_pruned() -> None:
    model = kd.models.MobileNetV2((28, 28, 1), alpha=0.1, classes=3)
    rows = {row.layer: row.share for row in sparsity(prune(model, 0.5, skip=["stem"])).layers}
    assert rows.pop("stem") == 0
    assert all((share == 0) == ("depthwise" in name) for name, share in rows.items())
    assert len(rows) == 52


def test_depthwise_when_asked() -> None:
    rows = sparsity(prune(plain_network(), 0.5, depthwise=True)).layers
    assert all(row.share == 0.5 for row in rows)


def test_strip_gives_plain_layers_with_equal_outputs(tmp_path) -> None:
    images, labels = images_and_labels(16)
    model = prune(plain_network(), 0.5)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images, labels, verbose=0)
    plain = strip(model)
    np.testing.assert_allclose(plain(images), model(images), atol=1e-6)
    assert {type(layer).__module__.split(".")[0] for layer in plain.layers} == {"keras"}
    assert (np.asarray(plain.get_layer("conv").kernel) == 0).mean() == 0.5
    again = prune(plain, 0.75)
    assert (kernel(again, "conv") == 0).mean() == 0.75


def test_strip_warns_if_the_schedule_has_not_ended() -> None:
    model = prune(plain_network(), 0.5, PolynomialDecay(end_step=100))
    with pytest.warns(UserWarning, match="conv is at step 0 of 101"):
        strip(model)
    assert "not finished: conv is at step 0 of 101" in str(sparsity(model))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        strip(prune(plain_network(), 0.5))


def test_pruned_models_export_with_their_zeros(tmp_path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    model = prune(plain_network(), 0.75)
    images, _ = images_and_labels(3)
    kd.export.to_tflite(model, tmp_path / "pruned.tflite")
    device = Interpreter(str(tmp_path / "pruned.tflite"))
    device.allocate_tensors()
    for image in images:
        device.set_tensor(device.get_input_details()[0]["index"], image[None])
        device.invoke()
        scores = device.get_tensor(device.get_output_details()[0]["index"])
        np.testing.assert_allclose(scores, model(image[None]), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, "sparsity must be a number of at least 0 and below 1. Received: 1.0"),
        ({"sparsity": -0.1}, "sparsity.*-0.1"),
        ({"per": "network"}, "per must be one of 'layer', 'model'. Received: 'network'"),
        ({"pattern": "4:2"}, 'pattern must be "n:m" with 0 < n < m'),
        ({"pattern": (1, 0)}, r"pattern must be.*Received: \(1, 0\)"),
        ({"pattern": "1:4", "sparsity": 0.5}, "a sparsity of 0.75. Received: sparsity=0.5"),
        ({"pattern": "2:4", "per": "model"}, 'Use per="layer"'),
        ({"pattern": "2:4", "schedule": PolynomialDecay(5)}, "ConstantSparsity"),
        ({"skip": ["stemm"]}, "skip='stemm' matches no layer.*Its names are: conv"),
        ({"skip": ["*"]}, "has no layer to prune"),
    ],
)
def test_wrong_arguments_are_named(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        prune(plain_network(), **arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PolynomialDecay(end_step=5, begin_step=9), "end_step=5, begin_step=9"),
        (lambda: PolynomialDecay(end_step=5, begin_step=5), "both 5"),
        (lambda: PolynomialDecay(end_step=5, initial=1.0), "initial"),
        (lambda: PolynomialDecay(end_step=5, power=0), "power"),
        (lambda: ConstantSparsity(begin_step=-1), "begin_step.*-1"),
        (lambda: ConstantSparsity(begin_step=3, end_step=2), "end_step=2"),
        (lambda: ConstantSparsity(frequency=0), "frequency"),
    ],
)
def test_wrong_schedules_are_refused(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_models_that_cannot_be_pruned() -> None:
    with pytest.raises(ValueError, match="already pruned"):
        prune(prune(plain_network()))
    with pytest.raises(ValueError, match="not been built"):
        prune(keras.Sequential([keras.layers.Dense(2)]))
    with pytest.raises(TypeError, match="must be a keras.Model"):
        prune("model.keras")
    with pytest.raises(TypeError, match="list of layer names"):
        prune(plain_network(), skip="conv")
    with pytest.raises(ValueError, match="has no pruned or clustered layer"):
        strip(plain_network())

    class Subclassed(keras.Model):
        pass

    with pytest.raises(ValueError, match="is subclassed"):
        prune(Subclassed())
