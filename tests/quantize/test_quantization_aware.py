"""Quantization-aware copies: every kind of layer, from Keras to the device."""

from __future__ import annotations

import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from quantized_models import BODIES, SHAPE, L, device, inputs, network, randomised

import keras_dlcourse as kd
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.layers import FakeQuantize
from keras_dlcourse.quantize.qat.planning import flatten


def calibrated(model: keras.Model, **options) -> keras.Model:
    return kd.quantize.calibrate(kd.quantize.quantization_aware(model, **options), inputs())


@pytest.mark.parametrize("name", BODIES)
def test_every_kind_of_layer_runs_in_integers_and_as_in_keras(name: str, tmp_path: Path) -> None:
    model = network(BODIES[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # nothing may stay in float
        quantized = calibrated(model)
    result = kd.export.to_tflite(quantized, tmp_path / "model.tflite")
    assert (result.quantization, result.float_islands) == ("int8", ())
    file = ModelFile.read(str(result.path))
    kinds = {tensor.dtype for op in file.operators for tensor in [file.tensors[op.outputs[0]]]}
    assert kinds <= {"int8", "uint8"}

    x = inputs(seed=2)
    ours = keras.ops.convert_to_numpy(quantized(x, training=False))
    theirs, step = device(result.path, x)
    assert len(np.unique(np.round(ours / step))) > 20  # the outputs do vary
    steps = np.abs(ours - theirs) / step
    # Two kernels of one file differ by a step here and there, so Keras may differ by two.
    assert steps.max() <= 3.01 and np.mean(steps <= 1.01) >= 0.95
    floats = keras.ops.convert_to_numpy(model(x, training=False))
    signal = 10 * np.log10(np.sum(floats**2) / np.sum((floats - theirs) ** 2))
    assert signal > 20, f"{signal:.1f} dB"


@pytest.mark.parametrize("name", sorted(set(BODIES) - {"layer_normalization"}))
def test_opened_networks_compute_what_the_original_does(name: str) -> None:
    model = network(BODIES[name])
    x = inputs(4)
    opened = keras.ops.convert_to_numpy(flatten(model).model(x))
    np.testing.assert_allclose(opened, keras.ops.convert_to_numpy(model(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "advice"),
    [
        (lambda: kd.layers.LocalResponseNormalization(), "normalization='batch'"),
        (lambda: kd.layers.SparseConnectedConv2D([[0], [1, 2]], 3), "after training"),
    ],
)
def test_layers_without_an_integer_form_say_what_to_do(layer, advice) -> None:
    with pytest.warns(UserWarning, match=f"1 layer stays in float .*{advice}"):
        kd.quantize.quantization_aware(network(lambda x: layer()(x)))


def test_of_a_split_only_the_parts_in_use_are_computed() -> None:
    kinds = [
        type(node.operation).__name__ for node in flatten(network(BODIES["split_in_part"])).nodes
    ]
    assert kinds.count("GetItem") == 2 and "Split" not in kinds


def test_layer_normalization_differs_by_epsilon_only() -> None:
    given = keras.Input((5, 8))
    model = keras.Model(given, L.LayerNormalization(epsilon=1e-6)(given))
    x = np.random.default_rng(0).normal(2, 3, (4, 5, 8)).astype("float32")
    opened = keras.ops.convert_to_numpy(flatten(model).model(x))
    np.testing.assert_allclose(opened, keras.ops.convert_to_numpy(model(x)), atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (L.LSTM(3), "it is a loop.*unroll=True"),
        (L.GRU(3, unroll=True, dropout=0.1), "dropout between its steps"),
        (L.GRU(3, unroll=True, reset_after=False), "reset_after=True"),
        (L.LSTM(3, unroll=True, stateful=True), "stateful or return_state"),
        (L.Bidirectional(L.LSTM(3, unroll=True)), "use two, one with go_backwards"),
    ],
)
def test_recurrent_layers_that_stay_in_float_say_why(layer, reason: str) -> None:
    given = keras.Input((4, 3), batch_size=2)
    model = keras.Model(given, L.Dense(2)(layer(given)))
    with pytest.warns(UserWarning, match=reason):
        kd.quantize.quantization_aware(model)


def test_before_any_data_only_weights_are_rounded() -> None:
    model = network(BODIES["relu6"])
    quantized = kd.quantize.quantization_aware(model)
    x = inputs(8)
    floats = keras.ops.convert_to_numpy(model(x))
    close = keras.ops.convert_to_numpy(quantized(x))
    assert not np.array_equal(close, floats)
    np.testing.assert_allclose(close, floats, atol=0.02 * np.abs(floats).max())


def test_the_float_model_is_left_as_it_was() -> None:
    model = network(BODIES["squeeze_excite"])
    x, before = inputs(4), model.get_weights()
    expected = keras.ops.convert_to_numpy(model(x))
    names = [layer.name for layer in model.layers]
    quantized = calibrated(model)
    quantized.compile("sgd", "mse")
    quantized.fit(x, np.zeros((4, 5)), verbose=0)
    assert [layer.name for layer in model.layers] == names
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(x)), expected)


def test_training_learns_saves_and_goes_on(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    x = inputs(64)
    y = (x[:, :6].mean((1, 2, 3)) > x[:, 6:].mean((1, 2, 3))).astype("int32")
    quantized = kd.quantize.quantization_aware(network(BODIES["inverted_residual"]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    quantized.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    history = quantized.fit(x, y, epochs=25, verbose=0).history
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    quantized.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), quantized.predict(x, verbose=0))
    for model in (quantized, again):  # the optimizer's state came along, too
        model.fit(x, y, shuffle=False, verbose=0)
    np.testing.assert_allclose(
        again.predict(x, verbose=0), quantized.predict(x, verbose=0), atol=1e-6
    )


def test_the_same_seed_gives_the_same_training() -> None:
    x, y = inputs(32), np.zeros((32, 5))

    def trained() -> list[np.ndarray]:
        keras.utils.set_random_seed(3)
        model = kd.quantize.quantization_aware(network(BODIES["dropout"]))
        model.compile("sgd", "mse")
        model.fit(x, y, epochs=2, verbose=0)
        return model.get_weights()

    for first, second in zip(trained(), trained(), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-7)


def _two_sided() -> keras.Model:
    """Two inputs, a shared nested backbone and two outputs, by name."""
    backbone = keras.Sequential(
        [keras.Input(SHAPE), L.Conv2D(8, 3, name="conv"), L.BatchNormalization(), L.ReLU()],
        name="backbone",
    )
    left, right = keras.Input(SHAPE, name="left"), keras.Input(SHAPE, name="right")
    pool = L.GlobalAveragePooling2D()
    both = L.Concatenate()([pool(backbone(left)), pool(backbone(right))])
    outputs = {"same": L.Dense(2, activation="softmax")(both), "distance": L.Dense(1)(both)}
    return randomised(keras.Model({"left": left, "right": right}, outputs, name="pair"))


def test_nested_shared_several_inputs_and_outputs() -> None:
    model = _two_sided()
    quantized = kd.quantize.quantization_aware(model)
    data = {"left": inputs(16), "right": inputs(16, seed=5)}
    assert set(quantized.input) == {"left", "right"}
    kd.quantize.calibrate(quantized, data)
    ours, floats = quantized(data, training=False), model(data, training=False)
    assert set(ours) == {"same", "distance"}
    for name in ours:
        near, exact = (keras.ops.convert_to_numpy(out[name]) for out in (ours, floats))
        np.testing.assert_allclose(near, exact, atol=0.05 * np.abs(exact).max() + 1 / 128)
    # One kernel, called twice; a range for each place.
    convolutions = [layer for layer in quantized.layers if isinstance(layer, L.Conv2D)]
    assert len(convolutions) == 1
    rounders = [x for x in quantized.layers if x.name.startswith("re_lu") and "range" in x.name]
    assert len(rounders) == 2
    with pytest.raises(ValueError, match=r"the inputs \['left', .*Received: \['left', 'wrong'\]"):
        kd.quantize.calibrate(quantized, {"left": data["left"], "wrong": data["right"]})


def test_probabilities_are_not_rounded_while_the_loss_needs_their_logarithm() -> None:
    given = keras.Input((4,))
    outputs = L.Activation("softmax", name="softmax")(L.Dense(3, name="logits")(given))
    model = keras.Model(given, outputs)
    quantized = kd.quantize.quantization_aware(model)
    layer = quantized.get_layer("softmax_range")
    assert (layer.ranges, layer.in_training) == ((0.0, 255 / 256), False)
    assert quantized.get_layer("logits_range").ranges == "moving_average"


def test_fixed_ranges_of_kernels_inside_a_network() -> None:
    quantized = kd.quantize.quantization_aware(network(BODIES["squeeze_excite"]))
    fixed = {x.name: x for x in quantized.layers if isinstance(x, FakeQuantize) and x.is_fixed}
    assert [x.ranges for x in fixed.values()] == [(0.0, 255 / 256)]
    assert all(x.in_training for x in fixed.values())


def test_skipped_layers_stay_in_float_on_the_device(tmp_path: Path) -> None:
    given = keras.Input(SHAPE)
    x = given
    for number in range(3):
        x = L.Conv2D(8, 3, activation="relu", name=f"conv_{number}")(x)
    model = randomised(keras.Model(given, L.Dense(5)(L.GlobalAveragePooling2D()(x))))
    quantized = calibrated(model, skip=["conv_1"])
    assert type(quantized.get_layer("conv_1")) is L.Conv2D
    with pytest.warns(UserWarning, match="not all integer"):
        result = kd.export.to_tflite(quantized, tmp_path / "model.tflite")
    convolutions = [name for name in result.float_islands if name.startswith("CONV_2D")]
    assert len(convolutions) == 1 and "conv_1" in convolutions[0]
    x = inputs(seed=2)
    theirs, step = device(result.path, x)
    ours = keras.ops.convert_to_numpy(quantized(x, training=False))
    assert np.abs(ours - theirs).max() <= 2.01 * step


def test_layers_without_integer_kernel_are_reported_with_the_reason() -> None:
    model = network(lambda x: L.Conv2D(4, 3)(L.ELU(name="odd")(x)))
    with pytest.warns(UserWarning, match=r"1 layer stays .* odd .ELU.: elu: integer runtimes"):
        kd.quantize.quantization_aware(model)
    (left,) = kd.quantize.plan(model).left_in_float
    assert (left.layer, left.kind, left.output, left.weights) == ("odd", "ELU", "float", ())


def test_the_plan_says_what_happens_to_each_layer() -> None:
    given = keras.Input(SHAPE)
    x = L.Conv2D(4, 3, name="conv")(given)
    x = L.BatchNormalization(name="norm")(x)
    x = L.ReLU(name="relu")(x)
    x = L.Flatten(name="flat")(x)
    model = keras.Model(given, L.Dense(2, activation="softmax", name="scores")(x))
    plan = kd.quantize.plan(model)
    assert [(step.layer, step.weights, step.output) for step in plan.steps] == [
        ("conv", ("kernel",), "inside relu"),
        ("norm", (), "inside relu"),
        ("relu", (), "observed"),
        ("flat", (), "as its input"),
        ("scores", ("kernel",), "observed"),
        ("scores_activation", (), "fixed"),
    ]
    assert "conv" in str(plan) and "kernel" in str(plan)


class Projection(keras.layers.Layer):
    """A user's layer with a kernel."""

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(shape[-1], self.units))

    def call(self, x):
        return keras.ops.matmul(x, self.kernel)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_rules_for_users_layers(tmp_path: Path) -> None:
    model = network(lambda x: Projection(6, name="mine")(L.GlobalAveragePooling2D()(x)))
    with pytest.warns(UserWarning, match="no rule for Projection; register one with @kd.quantize"):
        kd.quantize.quantization_aware(model)

    @kd.quantize.rule(Projection)
    def projection(layer):
        return kd.quantize.Rule(weights={"kernel": -1}, fuses=("scale", "relu"))

    try:
        quantized = calibrated(model)
        assert type(quantized.get_layer("mine")).__name__ == "CompressedProjection"
        result = kd.export.to_tflite(quantized, tmp_path / "model.tflite")
        assert not result.float_islands
        x = inputs(seed=2)
        theirs, step = device(result.path, x)
        ours = keras.ops.convert_to_numpy(quantized(x, training=False))
        assert np.abs(ours - theirs).max() <= 2.01 * step

        @kd.quantize.rule(Projection)
        def broken(layer):
            raise KeyError("nothing")

        with pytest.raises(ValueError, match="rule for Projection raised KeyError on .*'mine'"):
            kd.quantize.quantization_aware(model)

        @kd.quantize.rule(Projection)
        def confused(layer):
            return "int8"

        with pytest.raises(ValueError, match="must return a kd.quantize.Rule. Received: 'int8'"):
            kd.quantize.quantization_aware(model)
    finally:
        from keras_dlcourse.quantize.qat.rules import RULES

        RULES.pop(Projection, None)
    with pytest.raises(TypeError, match="must be a Keras layer class. Received: 'conv'"):
        kd.quantize.rule("conv")


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (lambda: keras.Sequential([L.Dense(2)], name="raw"), {}, ValueError, "raw.*not been built"),
        (lambda: Subclassed(name="sub"), {}, ValueError, "sub.*subclassed.*Wrap its functional"),
        (lambda: "model", {}, TypeError, "must be a keras.Model. Received: str"),
        (
            lambda: network(BODIES["relu6"]),
            {"scheme": "int16x8"},
            ValueError,
            "only after training",
        ),
        (
            lambda: network(BODIES["relu6"]),
            {"scheme": "int4"},
            ValueError,
            "int8'. Received: 'int4",
        ),
        (lambda: network(BODIES["relu6"]), {"ranges": "best"}, ValueError, "learned'. .*'best'"),
        (lambda: network(BODIES["relu6"]), {"momentum": 1.5}, ValueError, "momentum .*1.5"),
        (lambda: network(BODIES["relu6"]), {"skip": ["stem*"]}, ValueError, "'stem\\*' matches no"),
        (
            lambda: kd.quantize.quantization_aware(network(BODIES["relu6"])),
            {},
            ValueError,
            "already quantized",
        ),
    ],
)
def test_bad_arguments(make, options, error, message) -> None:
    model = make()
    with pytest.raises(error, match=message):
        kd.quantize.quantization_aware(model, **options)


def test_export_before_any_range_was_observed_says_what_to_do(tmp_path: Path) -> None:
    quantized = kd.quantize.quantization_aware(network(BODIES["relu6"]))
    with pytest.raises(kd.export.ExportError, match="observed no range yet. Train .*calibrate"):
        kd.export.to_tflite(quantized, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())
    calibrated_model = calibrated(network(BODIES["relu6"]))
    next(x for x in calibrated_model.layers if hasattr(x, "low")).low.assign(np.nan)
    with pytest.raises(kd.export.ExportError, match="is \\(nan, .*NaN or infinite"):
        kd.export.to_tflite(calibrated_model, tmp_path / "model.tflite")


def test_freezing_batch_norm_and_learned_ranges_train_and_export(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    x = inputs(32)
    quantized = kd.quantize.quantization_aware(
        network(BODIES["relu6"]), ranges="learned", freeze_batch_norm_after=2
    )
    quantized.compile(keras.optimizers.SGD(0.01), "mse")
    quantized.fit(x, np.zeros((32, 5)), batch_size=8, epochs=1, verbose=0)
    norms = [y for y in quantized.layers if isinstance(y, L.BatchNormalization)]
    still = [keras.ops.convert_to_numpy(norm.moving_mean) for norm in norms]
    factors = [keras.ops.convert_to_numpy(y.factors) for y in quantized.layers if hasattr(y, "low")]
    assert any(np.any(factor != 1) for factor in factors)
    quantized.fit(x, np.zeros((32, 5)), batch_size=8, epochs=1, verbose=0)
    for norm, before in zip(norms, still, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(norm.moving_mean), before)
    result = kd.export.to_tflite(quantized, tmp_path / "model.tflite")
    assert not result.float_islands
    theirs, step = device(result.path, x)
    ours = keras.ops.convert_to_numpy(quantized(x, training=False))
    assert np.abs(ours - theirs).max() <= 3.01 * step


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_and_exports_what_float32_gives(policy: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    given = keras.Input(SHAPE)
    x = L.Conv2D(8, 3, dtype=policy)(given)
    x = L.ReLU(dtype=policy)(L.BatchNormalization(dtype=policy)(x))
    x = L.GlobalAveragePooling2D(dtype=policy)(x)
    model = randomised(keras.Model(given, L.Dense(5, dtype="float32")(x)))
    quantized = kd.quantize.quantization_aware(model)
    quantized.compile(keras.optimizers.SGD(1e-3), "mse")
    quantized.fit(inputs(), np.zeros((32, 5)), epochs=2, verbose=0)
    ranges = [layer.range() for layer in quantized.layers if isinstance(layer, FakeQuantize)]
    assert all(np.isfinite(ends).all() and ends[0] < ends[1] for ends in ranges)
    result = kd.export.to_tflite(quantized, tmp_path / "model.tflite")
    assert not result.float_islands
    x = inputs(seed=2)
    theirs, step = device(result.path, x)
    ours = keras.ops.convert_to_numpy(quantized(x, training=False))
    # Half precision moves numbers over the border between two codes more often.
    assert np.abs(ours - theirs).max() <= (4.01 if policy == "mixed_float16" else 8.01) * step
