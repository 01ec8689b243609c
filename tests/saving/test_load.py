"""Models that open: the same answers as before, the weights of the file, and what does not fit."""

from __future__ import annotations

import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops
from strange_files import members, small_model, with_config, with_weights

import keras_dlcourse as kd
from keras_dlcourse.saving import InvalidModelFile, UntrustedModelError


@keras.saving.register_keras_serializable("Strangers")
class Doubled(layers.Layer):
    """A layer of the reader's own, which counts how often it is made."""

    made = 0

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        Doubled.made += 1

    def build(self, shape):
        # A value at once, which a variable without memory cannot have.
        self.factor = keras.Variable(2.0, trainable=False)

    def call(self, x):
        return x * self.factor


@keras.saving.register_keras_serializable("Strangers")
def third(x):
    return x / 3


class Unregistered(layers.Layer):
    def call(self, x):
        return x + 1


def half(x):
    return x / 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def small(folder) -> Path:
    small_model().save(folder / "small.keras")
    return folder / "small.keras"


RANGES = {"low": -99.0, "high": 99.0, "observed": 1.0}  # of fake quantization


def _randomised(model: keras.Model) -> keras.Model:
    random = np.random.default_rng(1)
    for weight in model.weights:
        if weight.name in RANGES:
            weight.assign(RANGES[weight.name])
        elif "float" in weight.dtype:
            low = -0.5 if len(weight.shape) > 1 else 0.1  # variances are no kernels
            weight.assign(random.uniform(low, 0.5, weight.shape))
    return model


def _sequential() -> keras.Model:
    return keras.Sequential([keras.Input((6, 5, 2)), layers.Conv2D(3, 2), layers.Flatten()])


def _nested() -> keras.Model:
    """A model in a model in a model, called twice, a layer called twice, operators and `ops`."""
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dropout(0.5)])
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    branch = keras.Model(a, ops.relu(inner(a)) - 1, name="branch")
    shared = layers.Dense(4, activation="tanh", kernel_regularizer="l2")
    x = branch(a) * shared(b) + shared(branch(b))[:, :1]
    return keras.Model({"a": a, "b": b}, [x, ops.mean(x, axis=-1)])


def _images() -> keras.Model:
    x = inputs = keras.Input((8, 8, 3))
    for layer in (
        layers.Rescaling(1 / 255),
        layers.RandomFlip(),
        layers.RandomRotation(0.1),
        layers.Normalization(mean=[1.0, 2, 3], variance=[4.0, 5, 6]),
        layers.SeparableConv2D(4, 3, padding="same"),
        layers.GroupNormalization(2),
        layers.PReLU(),
        layers.Conv2DTranspose(4, 3, padding="same", kernel_constraint="unit_norm"),
        layers.SpectralNormalization(layers.Conv2D(4, 3)),
        layers.Activation(keras.activations.silu),
        kd.layers.DenseBlock(2, 3),
        kd.layers.FakeQuantize(),
        layers.GlobalAveragePooling2D(),
    ):
        x = layer(x)
    return keras.Model(inputs, x)


def _sequence() -> keras.Model:
    x = inputs = keras.Input((7,), dtype="int32")
    x = layers.Embedding(11, 6, mask_zero=True)(x)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.RNN(layers.StackedRNNCells([layers.GRUCell(3), layers.LSTMCell(2)]), True)(x)
    x = layers.TimeDistributed(layers.Dense(4))(x)
    x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 3)(x, x) + x)
    return keras.Model(inputs, layers.GlobalAveragePooling1D()(x))


def _mixed() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            kd.layers.InvertedResidual(4, dtype="mixed_float16"),
            layers.Flatten(),
            layers.Dense(2, dtype=keras.DTypePolicy("mixed_bfloat16")),
            layers.Dense(2, dtype="bfloat16"),
        ]
    )


def _aware() -> keras.Model:
    x = inputs = keras.Input((8, 8, 3))
    for layer in (
        layers.Conv2D(4, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(3),
    ):
        x = layer(x)
    return kd.quantize.quantization_aware(keras.Model(inputs, x))


def _integers() -> keras.Model:
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5), layers.Dense(3)])
    model.quantize("int8")
    return model


KINDS = {
    "sequential": _sequential,
    "nested": _nested,
    "images": _images,
    "sequence": _sequence,
    "mixed": _mixed,
    "aware": _aware,
    "integers": _integers,
}


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_before(kind, folder):
    model = _randomised(KINDS[kind]())
    model.save(folder / f"{kind}.keras")
    random = np.random.default_rng(2)
    inputs = keras.tree.map_structure(
        lambda x: random.integers(1, 9, (3, *x.shape[1:])).astype(x.dtype),
        model.inputs[0] if len(model.inputs) == 1 else model.input,
    )
    expected = model(inputs, training=False)
    actual = kd.load(folder / f"{kind}.keras")(inputs, training=False)
    for one, other in zip(keras.tree.flatten(expected), keras.tree.flatten(actual), strict=True):
        one, other = (ops.convert_to_numpy(ops.cast(x, "float32")) for x in (one, other))
        assert np.isfinite(one).all() and one.std() > 0
        np.testing.assert_array_equal(one, other)


def test_shared_layers_stay_shared(folder):
    _nested().save(folder / "nested.keras")
    assert len(kd.load(folder / "nested.keras").weights) == 4


class TestTraining:
    def test_goes_on_where_it_was(self, folder):
        model = small_model()
        schedule = keras.optimizers.schedules.CosineDecay(0.1, 20)
        model.compile(
            keras.optimizers.Adam(schedule),
            loss=kd.losses.WeightedBinaryCrossentropy([1.0, 2.0], from_logits=True),
            metrics=["mse", keras.losses.huber, keras.metrics.F1Score(name="f")],
        )
        x = np.random.default_rng(0).normal(size=(8, 4))
        y = np.tile([[0, 1], [1, 0]], (4, 1))
        model.fit(x, y, verbose=0)
        model.save(folder / "trained.keras")
        loaded = kd.load(folder / "trained.keras")
        np.testing.assert_equal(
            loaded.evaluate(x, y, verbose=0, return_dict=True),
            model.evaluate(x, y, verbose=0, return_dict=True),
        )
        for each in (model, loaded):
            each.fit(x, y, shuffle=False, verbose=0)
        for one, other in zip(model.variables, loaded.variables, strict=True):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("kind", ["SGD", "Muon", "Ftrl", "LossScaleOptimizer"])
    def test_optimizers(self, kind, folder):
        model = small_model()
        of = getattr(keras.optimizers, kind)
        model.compile(of(keras.optimizers.Lion()) if kind.startswith("Loss") else of(), "mse")
        model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
        model.save(folder / "optimizer.keras")
        loaded = kd.load(folder / "optimizer.keras").optimizer
        assert type(loaded) is type(model.optimizer)
        for one, other in zip(model.optimizer.variables, loaded.variables, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_without_it(self, folder):
        model = small_model()
        model.compile("adam", "mse")
        model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
        model.save(folder / "compiled.keras")
        assert not kd.load(folder / "compiled.keras", compile=False).compiled
        assert kd.load(folder / "compiled.keras").compiled

    def test_what_is_refused_there_only_is_said(self, small, tmp_path):
        def change(config):
            config["compile_config"] = {
                "optimizer": {
                    "module": "keras.src.backend.elsewhere",
                    "class_name": "Adam",
                    "config": {},
                    "registered_name": "Adam",
                },
                "loss": "mse",
            }

        path = with_config(small, tmp_path / "m.keras", change)
        with pytest.raises(UntrustedModelError, match="compile=False loads it without"):
            kd.load(path)
        assert kd.load(path, compile=False).name == "small"


class TestTrust:
    @pytest.fixture
    def own(self, folder) -> Path:
        model = keras.Sequential(
            [
                keras.Input((3,)),
                Doubled(name="doubled"),
                layers.Dense(2, activation=third),
                Unregistered(),
                layers.Activation(half),
            ]
        )
        model.save(folder / "own.keras")
        return folder / "own.keras"

    def test_all_is_listed(self, own):
        Doubled.made = 0
        with pytest.raises(UntrustedModelError) as caught:
            kd.load(own)
        assert [one.where.removeprefix("config.json: config.") for one in caught.value.refused] == [
            "layers[1]",
            "layers[2].config.activation",
            "layers[3]",
            "layers[4].config.activation",
        ]
        names = [one.name for one in caught.value.refused]
        assert names[0].endswith("test_load.Doubled, registered as Strangers>Doubled")
        assert names[1::2] == ["function Strangers>third", "function half"]
        for part in (str(own), *names, "trust=[MyLayer]"):
            assert part in str(caught.value)
        assert not Doubled.made

    def test_opens_these_and_nothing_else(self, own):
        with pytest.raises(UntrustedModelError) as caught:
            kd.load(own, trust=[Doubled, half])
        assert [one.name.split(".")[-1] for one in caught.value.refused] == [
            "function Strangers>third",
            "Unregistered",
        ]
        loaded = kd.load(own, trust=[Doubled, Unregistered, third, half])
        x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
        expected = keras.saving.load_model(
            own, custom_objects={"Unregistered": Unregistered, "half": half}
        )
        np.testing.assert_array_equal(loaded(x), expected(x))

    def test_a_class_of_that_name_from_elsewhere_is_not_it(self, own):
        other = type("Unregistered", (layers.Layer,), {"__module__": "elsewhere"})
        with pytest.raises(UntrustedModelError, match="test_load.Unregistered"):
            kd.load(own, trust=[Doubled, other, third, half])

    def test_of_keras(self, folder):
        model = keras.Sequential([keras.Input((1,), dtype="string"), layers.StringLookup()])
        model.layers[0].adapt(np.array([["b"], ["b"], ["a"]]))
        model.save(folder / "lookup.keras")
        assert len(members(folder / "lookup.keras")) == 4
        with pytest.raises(UntrustedModelError, match="opens files of its own"):
            kd.load(folder / "lookup.keras")
        loaded = kd.load(folder / "lookup.keras", trust=[layers.StringLookup])
        assert loaded.layers[0].get_vocabulary() == ["[UNK]", "b", "a"]

    @pytest.mark.parametrize("thing", ["Doubled", lambda x: x, 3, Unregistered()])
    def test_takes_classes_and_named_functions(self, small, thing):
        with pytest.raises(TypeError, match="trust must contain classes and named functions"):
            kd.load(small, trust=[thing])

    @pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only there is export")
    def test_export_trusts_what_the_caller_has_registered(self, folder, tmp_path):
        model = keras.Sequential(
            [keras.Input((4, 4, 1)), Doubled(), layers.Flatten(), layers.Lambda(third)]
        )
        model.save(folder / "registered.keras")
        assert kd.export.to_tflite(
            folder / "registered.keras",
            tmp_path / "m.tflite",
            preprocessing=kd.data.Normalization.identity(),
        ).path.exists()


class TestWeights:
    def test_other_shape(self, small, tmp_path):
        def change(file):
            del file["layers/dense/vars/1"]
            file["layers/dense/vars/1"] = np.zeros(5, "float32")

        path = with_weights(small, tmp_path / "m.keras", change)
        with pytest.raises(InvalidModelFile, match=r"vars/1 has shape \(5,\).* requires \(3,\)"):
            kd.load(path)

    def test_missing(self, small, tmp_path):
        path = with_weights(small, tmp_path / "m.keras", lambda file: file.pop("layers/dense_1"))
        with pytest.raises(InvalidModelFile) as caught:
            kd.load(path)
        assert "dense_1/vars/0 is missing; layers/dense_1/vars/1 is missing" in str(caught.value)

    def test_left_over(self, small, tmp_path):
        path = with_weights(
            small,
            tmp_path / "m.keras",
            lambda file: file.create_dataset("layers/more/vars/0", data=1),
        )
        with pytest.raises(InvalidModelFile, match="more/vars/0 does not belong to any layer"):
            kd.load(path)

    def test_of_trusted_layers(self, folder, tmp_path):
        """Which may not be built without values, so their weights are held beside them after."""
        keras.Sequential([keras.Input((3,)), Doubled()]).save(folder / "own_weights.keras")
        path = with_weights(
            folder / "own_weights.keras",
            tmp_path / "m.keras",
            lambda file: file.create_dataset("layers/more/vars/0", data=1),
        )
        with pytest.raises(InvalidModelFile, match="more/vars/0 does not belong to any layer"):
            kd.load(path, trust=[Doubled])

    @pytest.mark.parametrize(
        "units", [10**6, 10**12, 10**30], ids=["millions", "billions", "no number"]
    )
    def test_more_than_there_are_take_no_memory(self, small, tmp_path, units):
        def change(config):
            config["config"]["layers"][1]["config"]["units"] = units

        path = with_config(small, tmp_path / "m.keras", change)
        with pytest.raises(InvalidModelFile, match="describes far more weights than the file"):
            kd.load(path)
        # Keras must not make up for it when a scope without state ends the next time.
        with keras.StatelessScope():
            pass

    def test_many_small_ones_are_counted_as_they_are_made(self, tmp_path):
        inputs = keras.Input((4, 4, 2))
        keras.Model(inputs, kd.layers.DenseBlock(2, 3)(inputs)).save(tmp_path / "block.keras")

        def change(config):
            config["config"]["layers"][1]["config"]["repeats"] = 300

        path = with_config(tmp_path / "block.keras", tmp_path / "m.keras", change)
        with pytest.raises(InvalidModelFile, match="describes far more weights"):
            kd.load(path)


class TestPaths:
    @pytest.mark.parametrize(
        ("name", "error", "text"),
        [
            ("no.keras", FileNotFoundError, "there is no file .*no.keras"),
            ("folder.keras", InvalidModelFile, "is a folder"),
            ("text.keras", InvalidModelFile, "not a valid zip archive"),
            ("empty.keras", InvalidModelFile, "not a valid zip archive"),
            ("model.h5", InvalidModelFile, "must be a .keras file"),
        ],
    )
    def test_what_is_no_model(self, tmp_path, name, error, text):
        (tmp_path / "folder.keras").mkdir()
        (tmp_path / "text.keras").write_text("hello")
        (tmp_path / "empty.keras").touch()
        (tmp_path / "model.h5").touch()
        with pytest.raises(error, match=text):
            kd.load(tmp_path / name)

    def test_text_works_as_well(self, small):
        assert kd.saving.load(str(small)).name == "small"

    def test_a_config_of_something_else(self, small, tmp_path):
        zeros = keras.saving.serialize_keras_object(keras.initializers.Zeros())
        path = with_config(small, tmp_path / "m.keras", lambda config: zeros)
        with pytest.raises(InvalidModelFile, match="describes a Zeros, not a model"):
            kd.load(path)

    def test_a_config_that_keras_cannot_build(self, small, tmp_path):
        def change(config):
            config["config"]["layers"][1]["config"]["units"] = -3

        path = with_config(small, tmp_path / "m.keras", change)
        with pytest.raises(
            InvalidModelFile, match="cannot build the model: .* expected a positive integer"
        ):
            kd.load(path)


def test_nothing_is_said_and_nothing_is_left(small):
    """No warning, and no variable that waits for a value."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kd.load(small)
    from keras.src.backend.common import global_state

    assert not global_state.get_global_attribute("uninitialized_variables")


def test_classes_of_this_package_are_found_wherever_they_were(folder):
    """Keras finds them by their registered names; files of earlier versions name other modules."""
    model = kd.models.MobileNetV2((28, 28, 1), alpha=0.05, classes=["a", "b"])
    model.save(folder / "new.keras")

    def move(config, module="keras_dlcourse.somewhere.else"):
        for layer in config["config"]["layers"]:
            if str(layer["registered_name"]).startswith("keras_dlcourse>"):
                layer["module"] = module

    old = with_config(folder / "new.keras", folder / "old.keras", move)
    loaded = kd.load(old)
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    for module in ("keras_dlcourse_evil.layers", "evil", None):
        foreign = with_config(
            folder / "new.keras", folder / "foreign.keras", lambda c, m=module: move(c, m)
        )
        with pytest.raises(UntrustedModelError, match="InvertedResidual"):
            kd.load(foreign)
