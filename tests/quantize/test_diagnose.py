from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from planted_faults import (
    edited,
    examples,
    int8_file,
    network,
    scale_channel,
)

import keras_dlcourse as kd
from keras_dlcourse.edge import ModelFile
from keras_dlcourse.quantize.diagnosis.comparison import compare_layers
from keras_dlcourse.quantize.diagnosis.diagnosing import diagnose
from keras_dlcourse.quantize.diagnosis.matching import layer_name, match_operators


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    return examples()


@pytest.fixture(scope="module")
def healthy(tmp_path_factory, data):
    model = network()
    return model, int8_file(model, tmp_path_factory.mktemp("healthy") / "int8.tflite", data)


def causes(diagnosis) -> list[tuple[str, str, str]]:
    return [(layer.name, cause.name, cause.fix) for layer, cause in diagnosis.findings]


def test_nothing_is_found_in_a_healthy_file(healthy, data) -> None:
    diagnosis = diagnose(*healthy, data)
    assert diagnosis.findings == () and diagnosis.unmatched == ()
    assert diagnosis.output_sqnr_db > 25 and diagnosis.agreement > 0.95
    assert "No layer stands out" in str(diagnosis)
    assert [layer.name for layer in diagnosis.layers] == [
        "input", "stem", "depthwise", "middle", "late", "flat", "hidden", "scores",
    ]  # fmt: skip


def test_sqnr_is_that_of_the_two_models_outputs(healthy, data) -> None:
    model, path = healthy
    diagnosis = diagnose(model, path, data, limit=16)
    exact = model.predict(data[:16], verbose=0)
    file = ModelFile.read(path)
    # Kernels of a delegate round single codes otherwise.
    runtime = Interpreter(
        str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    runtime.allocate_tensors()
    given, returned = file.inputs[0], file.outputs[0]
    rows = []
    for image in data[:16, None]:
        codes = np.round(image / given.scales[0]) + given.zero_points[0]
        runtime.set_tensor(given.index, codes.clip(-128, 127).astype("int8"))
        runtime.invoke()
        codes = runtime.get_tensor(returned.index).astype("float64")
        rows.append((codes - returned.zero_points[0]) * returned.scales[0])
    error = np.concatenate(rows) - exact
    expected = 10 * np.log10((exact**2).sum() / (error**2).sum())
    assert diagnosis.output_sqnr_db == pytest.approx(expected, abs=0.01)
    assert diagnosis.layers[-1].sqnr_db == pytest.approx(diagnosis.output_sqnr_db)
    assert diagnosis.examples == 16


@pytest.mark.parametrize("first, second", [("stem", "depthwise"), ("middle", "late")])
def test_an_outlier_channel_is_named(tmp_path, data, first, second) -> None:
    model = network()
    before = model.predict(data[:8], verbose=0)
    scale_channel(model, first, second, channel=3, factor=100)
    assert np.allclose(model.predict(data[:8], verbose=0), before, atol=1e-4)
    diagnosis = diagnose(model, int8_file(model, tmp_path / "model.tflite", data), data)
    assert causes(diagnosis)[0] == (first, "outlier channel", "equalize")
    assert "channel 3 reaches" in diagnosis.findings[0][1].evidence
    worst = diagnosis.worst[0]
    # As a whole the layer looks right: the error is seen only in the next one.
    assert worst.alone_db < 15 < 30 < worst.own_sqnr_db
    assert diagnosis.agreement < 0.9


def test_calibration_on_a_tenth_of_the_range(tmp_path, data) -> None:
    model = network()
    diagnosis = diagnose(model, int8_file(model, tmp_path / "model.tflite", data / 10), data)
    assert causes(diagnosis)[0] == ("input", "range clipped", "min_max")
    assert diagnosis.layers[1].saturated > 0.05


@pytest.mark.parametrize("layer, position", [("stem", 1), ("middle", 3)])
def test_one_clipped_range(tmp_path, data, healthy, layer, position) -> None:
    model, path = healthy
    clipped = edited(path, tmp_path / "clipped.tflite", position - 1, scale_of_output(0.1))
    diagnosis = diagnose(model, clipped, data)
    assert causes(diagnosis)[0] == (layer, "range clipped", "min_max")
    assert diagnosis.worst[0].saturated > 0.05
    others = [found for found in causes(diagnosis) if found[0] != layer]
    assert not [found for found in others if found[1] == "range clipped"]


def test_one_range_too_wide(tmp_path, data, healthy) -> None:
    model, path = healthy
    wide = edited(path, tmp_path / "wide.tflite", 2, scale_of_output(30))
    diagnosis = diagnose(model, wide, data)
    assert causes(diagnosis)[0] == ("middle", "range too wide", "percentile")
    assert diagnosis.worst[0].range_used < 0.1


def test_ranges_measured_on_an_outlying_example(tmp_path, data) -> None:
    model = network()
    calibration = np.concatenate([data, 60 * data[:1]])
    diagnosis = diagnose(model, int8_file(model, tmp_path / "model.tflite", calibration), data)
    assert diagnosis.fixes == ("percentile",)
    assert {"stem", "depthwise", "middle", "late"} <= {name for name, *_ in causes(diagnosis)}


def test_one_scale_for_filters_of_different_size(tmp_path, data) -> None:
    model = network()
    scale_channel(model, "hidden", "scores", channel=5, factor=100)
    path = int8_file(model, tmp_path / "model.tflite", data, dense_per_tensor=True)
    diagnosis = diagnose(model, path, data)
    assert causes(diagnosis)[0] == ("hidden", "one scale for all channels", "per_channel")
    assert "channel 5" in diagnosis.findings[0][1].evidence
    per_channel = diagnose(model, int8_file(model, tmp_path / "better.tflite", data), data)
    assert "per_channel" not in per_channel.fixes


def test_saturated_weights(tmp_path, data, healthy) -> None:
    model, path = healthy
    diagnosis = diagnose(model, edited(path, tmp_path / "bad.tflite", 3, saturate), data)
    assert causes(diagnosis)[0] == ("late", "saturated weights", "per_channel")


def test_a_wrong_bias(tmp_path, data, healthy) -> None:
    model, path = healthy
    diagnosis = diagnose(model, edited(path, tmp_path / "bad.tflite", 3, shift_bias), data)
    assert causes(diagnosis)[0] == ("late", "bias error", "bias_correction")
    assert "channel 2 is off by +" in diagnosis.findings[0][1].evidence


def test_a_float_island(tmp_path, data) -> None:
    model = network("elu")
    diagnosis = diagnose(model, int8_file(model, tmp_path / "model.tflite", data), data)
    assert causes(diagnosis) == [("bend", "float island", "replace_activation")]


def test_an_activation_that_throws_the_range_away(tmp_path, data) -> None:
    model = network("hard_silu")
    kernel, bias = model.get_layer("middle").get_weights()
    bias[3] -= 300  # behind hard-swish this channel is 0
    model.get_layer("middle").set_weights([kernel, bias])
    diagnosis = diagnose(model, int8_file(model, tmp_path / "model.tflite", data), data)
    assert causes(diagnosis)[0] == ("middle", "unfused activation", "replace_activation")


def test_a_float_file_does_in_place_of_the_model(tmp_path, data, healthy) -> None:
    model, path = healthy
    result = kd.export.to_tflite(model, tmp_path / "float.tflite")
    ours, theirs = diagnose(result.path, path, data), diagnose(model, path, data)
    assert [x.alone_db for x in ours.layers] == [x.alone_db for x in theirs.layers]
    # Without the model, names come from the paths in the file.
    assert [x.name for x in ours.layers][:3] == ["input", "stem", "depthwise"]


@pytest.mark.parametrize("rgb, per_channel", [(True, False), (False, True)])
def test_what_the_graph_itself_does_to_pixels(tmp_path, rgb, per_channel) -> None:
    channels = 1 if rgb else 3
    model = keras.Sequential(
        [
            keras.Input((8, 8, channels)),
            keras.layers.Conv2D(4, 3, name="only"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    means = (100.0, 110.0, 120.0) if per_channel else (100.0,)
    pixels = np.random.default_rng(0).integers(0, 256, (100, 8, 8, channels), "uint8")
    normalization = kd.data.Normalization(means, (60.0,) * len(means))
    data = kd.data.pipeline(pixels, normalization=normalization)
    path = kd.export.to_tflite(
        model, tmp_path / "model.tflite", quantization="int8", calibration=data, rgb=rgb
    )
    diagnosis = diagnose(model, path, data)
    assert diagnosis.output_sqnr_db > 25
    assert "only" in [layer.name for layer in diagnosis.layers]


def test_int16_activations(tmp_path, data) -> None:
    model = network()
    path = kd.export.to_tflite(
        model, tmp_path / "m.tflite", quantization="int16x8", calibration=data
    )
    diagnosis = diagnose(model, path, data)
    assert diagnosis.output_sqnr_db > 35 and diagnosis.layers[1].range_used is None


def test_operators_without_counterpart_are_reported(tmp_path, data, healthy) -> None:
    _, path = healthy
    other = network("elu")
    float_file = ModelFile.read(kd.export.to_tflite(other, tmp_path / "elu.tflite").path)
    matching = match_operators(float_file, ModelFile.read(path))
    elu = next(i for i, op in enumerate(float_file.operators) if op.name == "ELU")
    assert matching.only_float == (elu,) and matching.only_integer == ()
    comparison = compare_layers(float_file, ModelFile.read(path), [data[:1]])
    assert len(comparison.layers) == len(float_file.operators) - 1
    diagnosis = diagnose(other, path, data)
    assert diagnosis.unmatched == ("bend (ELU, float file)",)
    assert "fused differently: bend (ELU" in str(diagnosis)


def test_names_of_layers(tmp_path) -> None:
    inputs = keras.Input((8, 8, 3))
    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name="deep")])
    x = kd.layers.InvertedResidual(4, expansion=2, name="block")(inner(inputs))
    model = keras.Model(inputs, keras.layers.Flatten()(x))
    file = ModelFile.read(
        kd.export.to_tflite(
            model, tmp_path / "model.tflite", preprocessing=kd.data.Normalization.identity()
        ).path
    )
    known = {layer.name for layer in model._flatten_layers(include_self=False)}
    names = [layer_name(file, operator, known) for operator in file.operators]
    assert names[0] == "deep" and set(names) <= known | {"output"}


def test_the_picture_and_the_dictionary(tmp_path, healthy, data) -> None:
    diagnosis = diagnose(*healthy, data, limit=2)
    diagnosis.picture(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes()[1:4] == b"PNG"
    stored = json.loads(json.dumps(diagnosis.to_dict()))
    assert stored["layers"][1]["name"] == "stem" and stored["examples"] == 2


@pytest.mark.parametrize("recorded", [True, False])
def test_a_file_of_other_weights_is_refused(tmp_path, data, healthy, recorded) -> None:
    model, path = healthy
    if recorded:
        path = kd.export.to_tflite(
            model, tmp_path / "m.tflite", quantization="int8", calibration=data
        ).path
    diagnose(model, path, data, limit=2)
    with pytest.raises(ValueError, match=r"path must be .* made from other weights.*Export the"):
        diagnose(network(seed=1), path, data)
    head = keras.models.clone_model(model)  # all layers but the last are the same
    head.set_weights([*model.get_weights()[:-2], *network(seed=1).get_weights()[-2:]])
    with pytest.raises(ValueError, match="in one of its layers, only 4.% of the weights"):
        diagnose(head, path, data)


def test_a_file_of_a_corrected_copy_is_not_one_of_other_weights(tmp_path, data) -> None:
    model = network()
    scale_channel(model, "stem", "depthwise", channel=3, factor=100)
    scale_channel(model, "middle", "late", channel=3, factor=100)
    path = kd.quantize.after_training(
        model, tmp_path / "m.tflite", data, equalize=True, correct_bias=True
    )
    assert diagnose(model, path, data, limit=2).agreement == 1


def test_a_file_of_the_network_before_more_training_is_refused(healthy, data) -> None:
    model, path = healthy
    rng = np.random.default_rng(9)
    trained = keras.models.clone_model(model)
    trained.set_weights(
        [weight + rng.normal(0, 0.2 * weight.std(), weight.shape) for weight in model.get_weights()]
    )
    with pytest.raises(ValueError, match="in one of its layers, only [89].% of the weights"):
        diagnose(trained, path, data)


def test_bad_input(tmp_path, healthy, data) -> None:
    model, path = healthy
    with pytest.raises(TypeError, match="a Keras model or the path"):
        diagnose(3, path, data)
    with pytest.raises(ValueError, match="limit must be an integer of at least 1"):
        diagnose(model, path, data, limit=0)
    with pytest.raises(ValueError, match="model must be a float32 file"):
        diagnose(path, path, data)
    result = kd.export.to_tflite(model, tmp_path / "float.tflite")
    with pytest.raises(ValueError, match="nothing to diagnose"):
        diagnose(model, result, data)
    with pytest.raises(ValueError, match=r"must have examples of shape .* Received: \(8, 8, 4\)"):
        diagnose(model, path, data[:, ::2, ::2])
    other = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.GlobalAveragePooling2D()])
    with pytest.raises(ValueError, match="not the same network"):
        diagnose(other, path, data)


def scale_of_output(factor: float):
    """Change the scale of what an operator writes, and all that has to follow it."""

    def edit(model, graph, operator) -> None:
        index = operator.outputs[0]
        quantization = graph.tensors[index].quantization
        quantization.scale = np.asarray(quantization.scale) * np.float32(factor)
        for reader in graph.operators:
            if index == reader.inputs[0] and len(reader.inputs) == 3:
                bias = graph.tensors[reader.inputs[2]]
                bias.quantization.scale = np.asarray(bias.quantization.scale) * np.float32(factor)
                codes = model.buffers[bias.buffer].data.view("int32") / factor
                model.buffers[bias.buffer].data = np.round(codes).astype("int32").view("uint8")

    return edit


def saturate(model, graph, operator) -> None:
    """Store weights at a third of their scale, so that many do not fit."""
    weights, bias = (graph.tensors[index] for index in operator.inputs[1:3])
    for tensor in (weights, bias):
        scale = np.asarray(tensor.quantization.scale) / np.float32(3)
        tensor.quantization.scale = scale
    codes = model.buffers[weights.buffer].data.view("int8").astype("int32") * 3
    model.buffers[weights.buffer].data = codes.clip(-127, 127).astype("int8").view("uint8")
    codes = model.buffers[bias.buffer].data.view("int32") * 3
    model.buffers[bias.buffer].data = codes.astype("int32").view("uint8")


def shift_bias(model, graph, operator) -> None:
    """Add twenty output steps to the bias of channel 2."""
    bias = graph.tensors[operator.inputs[2]]
    step = graph.tensors[operator.outputs[0]].quantization.scale[0]
    codes = np.array(model.buffers[bias.buffer].data.view("int32"))
    codes[2] += round(20 * step / bias.quantization.scale[2])
    model.buffers[bias.buffer].data = codes.view("uint8")
