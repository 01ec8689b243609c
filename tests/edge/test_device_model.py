"""`DeviceModel`: any inputs and outputs, as real values, equal to the plain interpreter's."""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_files import change

from keras_dlcourse.edge import (
    DeviceModel,
    ImageClassifier,
    InvalidModel,
    Limits,
    ModelFile,
    ModelStopped,
    TensorSpec,
)

# Whole numbers, so that sums are exact in any order.
KERNEL = np.array([[1, -2], [3, 4], [-5, 6]], "float32")
TABLE = np.arange(10, dtype="float32").reshape(5, 2)


def linear(x):
    import tensorflow as tf

    return tf.matmul(x, KERNEL)


def mixed(zeta, alpha):
    """Two inputs and outputs, in an order that no sorting gives."""
    import tensorflow as tf

    found = linear(zeta) + tf.reduce_sum(tf.gather(TABLE, alpha), 1)
    return {"sum": found, "many": alpha * 2}


def sums(x):
    import tensorflow as tf

    return {"sums": tf.reduce_sum(x, 0), "twice": x * 2.0}


def wave(x):
    import tensorflow as tf

    return tf.reshape(x, (1, 8)) * 2.0


def turned(x):
    import tensorflow as tf

    return tf.reverse(x, [0])


def positive(x):
    """As many values as are above 0."""
    import tensorflow as tf

    return tf.boolean_mask(x, x[0] > 0, axis=1)


def threshold(x, least):
    return x - least


def opposite(x):
    import tensorflow as tf

    return tf.logical_not(x)


# The signature of each function, by the size of the batch.
SIGNATURES = {
    linear: lambda n: {"x": ((n, 3), "float32")},
    mixed: lambda n: {"zeta": ((n, 3), "float32"), "alpha": ((n, 2), "int32")},
    sums: lambda n: {"x": ((n, 3), "float32")},
    wave: lambda n: {"x": ((8,), "float32")},
    turned: lambda n: {"x": ((n,), "float32")},
    positive: lambda n: {"x": ((n, 3), "float32")},
    threshold: lambda n: {"x": ((n, 3), "float32"), "least": ((), "float32")},
    opposite: lambda n: {"x": ((n, 3), "bool")},
}


@functools.cache
def convert(function, batch=None, io_type="float32"):
    import tensorflow as tf

    specs = [
        tf.TensorSpec(shape, dtype, name)
        for name, (shape, dtype) in SIGNATURES[function](batch).items()
    ]
    traced = tf.function(function, input_signature=specs, autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [traced.get_concrete_function()], tf.Module()
    )
    if io_type != "float32":
        values = vectors(50)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row[None]] for row in values)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = getattr(tf, io_type)
    return converter.convert()


def vectors(count, seed=0):
    return np.random.default_rng(seed).integers(-9, 10, (count, 3)).astype("float32")


def tokens(count, seed=0):
    return np.random.default_rng(seed).integers(0, 5, (count, 2))


def plain(content, *arrays):
    """Return the stored outputs of the plain interpreter for stored inputs."""
    from ai_edge_litert.interpreter import Interpreter

    runtime = Interpreter(model_content=content)
    given = runtime.get_input_details()
    for details, values in zip(given, arrays, strict=True):
        runtime.resize_tensor_input(details["index"], values.shape)
    runtime.allocate_tensors()
    for details, values in zip(given, arrays, strict=True):
        runtime.set_tensor(details["index"], values)
    runtime.invoke()
    return [runtime.get_tensor(details["index"]) for details in runtime.get_output_details()]


def same(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


class TestVectors:
    @pytest.mark.parametrize("batch", [1, 4, None])
    def test_float(self, batch):
        model, x = DeviceModel(convert(linear, batch), threads=1), vectors(37)
        for values in (x, x.astype("float64"), x.astype("int8"), x.tolist(), {"x": x}):
            same(model.run(values), [x @ KERNEL])
        assert model.inputs == (TensorSpec("x", (None, 3), "float32"),)
        assert model.outputs == (TensorSpec("output_0", (None, 2), "float32"),)

    @pytest.mark.parametrize("io_type", ["int8", "uint8"])
    def test_real_values_of_integer_files(self, io_type):
        content, x = convert(linear, 1, io_type), vectors(20)
        model, file = DeviceModel(content), ModelFile.read(content)
        (given,), (returned,) = file.inputs, file.outputs
        assert given.dtype == io_type and model.inputs[0].dtype == "float32"
        limits = np.iinfo(io_type)
        codes = np.round(x / np.float32(given.scales[0])) + given.zero_points[0]
        codes = codes.clip(limits.min, limits.max).astype(io_type)
        stored = np.concatenate([plain(content, row[None])[0] for row in codes])
        scale, zero = np.float32(returned.scales[0]), returned.zero_points[0]
        same(model.run(x), [(stored.astype("float32") - np.float32(zero)) * scale])
        np.testing.assert_allclose(model.run(x)[0], x @ KERNEL, atol=3 * scale)
        # Far outside the range: the largest value, not one that wrapped around.
        same(model.run(np.full((1, 3), 3e38)), model.run(np.full((1, 3), 1e6)))

    @settings(deadline=None, max_examples=30)
    @given(st.integers(1, 70), st.sampled_from([1, 4, None]), st.integers(0, 9))
    def test_any_number_of_examples(self, count, batch, seed):
        x, ids = vectors(count, seed), tokens(count, seed)
        model = opened(mixed, batch)
        added, doubled = model.run([x, ids])
        np.testing.assert_array_equal(added, x @ KERNEL + TABLE[ids].sum(1))
        np.testing.assert_array_equal(doubled, ids * 2)


@functools.cache
def opened(function, batch=None):
    return DeviceModel(convert(function, batch))


class TestSeveralInputs:
    @pytest.mark.parametrize("untrusted", [False, True])
    @pytest.mark.parametrize("batch", [1, None])
    def test_list_and_names(self, batch, untrusted):
        content, x, ids = convert(mixed, batch), vectors(40), tokens(40)
        with DeviceModel(content, untrusted=untrusted) as model:
            assert [spec.name for spec in model.inputs] == ["zeta", "alpha"]
            assert [spec.dtype for spec in model.inputs] == ["float32", "int32"]
            assert [spec.name for spec in model.outputs] == ["sum", "many"]
            expected = plain(convert(mixed), x, ids.astype("int32"))
            same(model.run([x, ids]), expected)
            same(model.run({"alpha": ids, "zeta": x}), expected)
            same(model.run((x[:1], ids[:1].astype("uint8"))), [one[:1] for one in expected])
            assert model.runtime == DeviceModel(content).runtime

    def test_the_order_of_the_file(self):
        content = change(
            convert(mixed), lambda model: setattr(model.subgraphs[0], "inputs", [1, 0])
        )
        model, x, ids = DeviceModel(content), vectors(5), tokens(5)
        assert [spec.name for spec in model.inputs] == ["alpha", "zeta"]
        same(model.run([ids, x]), opened(mixed).run([x, ids]))
        same(model.run({"zeta": x, "alpha": ids}), opened(mixed).run([x, ids]))

    def test_names_of_tensors_without_a_signature(self):
        content = change(convert(mixed), lambda model: setattr(model, "signatureDefs", None))
        names = [spec.name for spec in DeviceModel(content).inputs]
        assert names == ["serving_default_zeta:0", "serving_default_alpha:0"]

    def test_more_input_than_the_sandbox_allows(self):
        x, ids = vectors(40_000), tokens(40_000)
        with DeviceModel(convert(mixed), untrusted=Limits(memory=1 << 28)) as model:
            expected = model.run([x[:3], ids[:3]])
            model._session._limits = Limits(memory=600)  # each of the two inputs is below it
            with pytest.raises(ModelStopped, match="was given 640 bytes of input, more than"):
                model.run([x[:32], ids[:32]])
            model._session._limits = Limits()
            same(model.run([x[:3], ids[:3]]), expected)


class TestWithoutBatch:
    def test_a_waveform(self):
        model = opened(wave)
        x = np.arange(8, dtype="float32")
        assert model.inputs[0].shape == (8,)
        same(model.run(x), [x[None] * 2])
        with pytest.raises(ValueError, match=r"'x' must have the shape \(8,\)\. Received: \(4,\)"):
            model.run(x[:4])

    def test_a_waveform_of_any_length(self):
        x = np.arange(70, dtype="float32")
        assert opened(turned).inputs[0].shape == (None,)
        same(opened(turned).run(x), [x[::-1]])

    def test_outputs_of_different_lengths(self):
        model, x = opened(positive, 1), np.array([[1, -1, 2], [3, -1, 4], [1, 2, 3]], "float32")
        same(model.run(x[2:]), [x[2:]])
        same(model.run(x[:2]), [x[:2, [0, 2]]])
        with pytest.raises(ValueError, match=r"same shape for all .*\(\(2,\),\), \(\(3,\),\)\. P"):
            model.run(x)

    def test_inputs_without_a_common_axis(self):
        model, x = opened(threshold, 1), vectors(1)
        assert {spec.name: spec.shape for spec in model.inputs} == {"x": (1, 3), "least": ()}
        same(model.run({"x": x, "least": 2.0}), [x - 2])
        with pytest.raises(ValueError, match=r"'x' must have the shape \(1, 3\)"):
            model.run({"x": vectors(2), "least": 2.0})

    @pytest.mark.parametrize("count", [2, 32, 40])
    def test_an_output_of_the_whole_batch(self, count):
        """It would be of a chunk, not of all examples."""
        model, x = opened(sums), vectors(count)
        assert [spec.name for spec in model.outputs] == ["twice", "sums"]
        same(model.run(x[:1]), [x[:1] * 2, x[0]])
        with pytest.raises(ValueError, match=r"must have the batch on their first axis.*\(3,\)"):
            model.run(x)
        fixed = opened(sums, 2)
        same(fixed.run(x[:2]), [x[:2] * 2, x[:2].sum(0)])
        with pytest.raises(ValueError, match="Pass 2 at a time"):
            fixed.run(x[:1])


def test_bool_is_stored_as_bool():
    x = vectors(5) > 0
    same(opened(opposite).run(x), [~x])
    with pytest.raises(TypeError, match="input 'x' must be bool. Received: float32"):
        opened(opposite).run(vectors(5))


NAN, FAR = np.full((2, 3), np.nan), np.full((2, 3), 3e380)
X, IDS = vectors(2), tokens(2)


@pytest.mark.parametrize(
    ("function", "inputs", "message"),
    [
        (linear, X[0], r"'x' must have the shape \(None, 3\), where None is any.*array\[None\]"),
        (linear, X[:, :2], r"'x' must have the shape \(None, 3\).*Received: \(2, 2\)"),
        (linear, X[:0], r"size of at least 1\. Received: \(0, 3\)\.$"),
        (linear, [X], r"Received: \(1, 2, 3\)"),
        (linear, NAN, r"'x' must have finite float32 values\. Received: nan"),
        (linear, FAR, r"'x' must have finite float32 values\. Received: inf"),
        (linear, {"y": X}, r"inputs must have the names 'x'\. Received: 'y'"),
        (mixed, X, r"a list of 2 arrays\. Received: ndarray.*order 'zeta', 'alpha'"),
        (mixed, [X], r"inputs must be a list of 2 arrays\. Received: 1 of them"),
        (mixed, {"zeta": X}, r"must have the names 'zeta', 'alpha'\. Received: 'zeta'"),
        (mixed, {"zeta": X, "beta": IDS}, r"Received: 'zeta', 'beta'"),
        (mixed, {}, r"Received: none"),
        (mixed, [X, IDS[:1]], r"same number of examples\. Received: 'zeta': 2, 'alpha': 1"),
        (mixed, [X, IDS + 2**40], r"'alpha' must be from -2147483648 to 2147483647"),
    ],
)
def test_wrong_values(function, inputs, message):
    with pytest.raises(ValueError, match=message):
        opened(function).run(inputs)


@pytest.mark.parametrize(
    ("function", "inputs", "message"),
    [
        (linear, "text", r"input 'x' must be numbers\. Received: <U4"),
        (linear, [["a", "b", "c"]], r"input 'x' must be numbers\. Received: <U1"),
        (linear, None, r"input 'x' must be numbers\. Received: object"),
        (linear, [[1, 2, 3], [4]], r"must be an array of numbers\. Received: rows of different"),
        (linear, X > 0, r"input 'x' must be numbers\. Received: bool"),
        (mixed, [X, X[:, :2]], r"'alpha' must be integers, as the file takes int32\. Rec.*float32"),
        (mixed, [X, IDS > 1], r"'alpha' must be integers.*Received: bool"),
    ],
)
def test_wrong_types(function, inputs, message):
    with pytest.raises(TypeError, match=message):
        opened(function).run(inputs)


def test_a_token_that_the_table_does_not_have():
    model = DeviceModel(convert(mixed))
    with pytest.raises(InvalidModel, match=r"cannot run the model of \d+ bytes.*out of bounds"):
        model.run([X, IDS + 99])
    same(model.run([X, IDS]), opened(mixed).run([X, IDS]))


def test_files_that_it_cannot_run():
    def edit(content, **fields):
        """Return a file with other fields of its input, or of the quantization of its input."""

        def work(model):
            tensor = model.subgraphs[0].tensors[0]
            for name, value in fields.items():
                setattr(tensor if hasattr(tensor, name) else tensor.quantization, name, value)

        return change(content, work)

    complex64 = edit(convert(linear, 1), type=8)
    with pytest.raises(ValueError, match=r"of the types .*'x' of the.*is complex64\. Convert"):
        DeviceModel(complex64)
    with pytest.raises(ValueError, match=r"sizes of at least 1\. Received: 'x' .* shape \(0, 3\)"):
        DeviceModel(edit(convert(linear, 1), shape=[0, 3]))
    int8 = edit(convert(linear, 1, "int8"), scale=[0.5] * 3, zeroPoint=[0] * 3)
    with pytest.raises(ValueError, match=r"int8, uint8, int16 with one scale.*with 3 scales"):
        DeviceModel(edit(int8, quantizedDimension=1))
    with pytest.raises(InvalidModel, match="not a .tflite file"):
        DeviceModel(b"something else")
    with pytest.raises(ValueError, match="threads must be an integer of at least 1"):
        DeviceModel(convert(linear), threads=0)
    with pytest.raises(ModelStopped, match="needs at least 0 MiB of memory"):
        DeviceModel(convert(linear), untrusted=Limits(memory=4))


@pytest.mark.parametrize("untrusted", [False, True])
def test_closed_and_pickled(tmp_path, untrusted):
    (tmp_path / "m.tflite").write_bytes(convert(mixed))
    inputs = [vectors(3), tokens(3)]
    with DeviceModel(tmp_path / "m.tflite", threads=1, untrusted=untrusted) as model:
        expected = model.run(inputs)
        copy = pickle.loads(pickle.dumps(model))
        assert model.model_file.what == str(tmp_path / "m.tflite")
    with pytest.raises(ValueError, match=r"m\.tflite is closed\. Open it again"):
        model.run(inputs)
    with copy:
        same(copy.run(inputs), expected)
        assert copy._options == {"threads": 1, "untrusted": untrusted}


def test_latency():
    for function in (linear, mixed, wave, opposite):
        assert opened(function).benchmark(runs=3).runs == 3


def test_an_image_model_is_one(described, network):
    """The same file on pixels and on arrays."""
    images = network.images(3)
    pixels = ImageClassifier(described("int8"))
    arrays = DeviceModel(described("int8"))
    assert isinstance(pixels, DeviceModel)
    same(pixels.run(images), arrays.run(pixels.normalization(images)))
    assert pixels.inputs == arrays.inputs == (TensorSpec("x", (None, 12, 10, 3), "float32"),)


SCRIPT = """
import sys
import numpy as np
from keras_dlcourse.edge import DeviceModel

given = np.load(sys.argv[2])
for untrusted in (False, True):
    with DeviceModel(sys.argv[1], untrusted=untrusted) as model:
        for inputs in ([given["zeta"], given["alpha"]], dict(given)):
            for name, values in zip(("sum", "many"), model.run(inputs)):
                np.testing.assert_array_equal(values, np.load(sys.argv[3])[name])
assert "PIL" not in sys.modules
"""


@pytest.mark.skipif("KD_RUNTIME_PYTHON" not in os.environ, reason="needs tflite-runtime")
def test_the_older_runtime(tmp_path):
    x, ids = vectors(40), tokens(40)
    added, doubled = opened(mixed).run([x, ids])
    (tmp_path / "m.tflite").write_bytes(convert(mixed))
    np.savez(tmp_path / "given.npz", zeta=x, alpha=ids)
    np.savez(tmp_path / "expected.npz", sum=added, many=doubled)
    files = [tmp_path / name for name in ("m.tflite", "given.npz", "expected.npz")]
    child = subprocess.run(
        [os.environ["KD_RUNTIME_PYTHON"], "-P", "-c", SCRIPT, *files],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"]},
        timeout=500,
    )
    assert child.returncode == 0, child.stderr


def test_pillow_is_not_needed():
    code = "import sys; from keras_dlcourse.edge import DeviceModel; print('PIL' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env=environment
    )
    assert child.stdout == "False\n", child.stderr
