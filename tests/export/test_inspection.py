"""inspect says what an interpreter says, without one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from small_models import CLASSES, images, small_classifier

import keras_dlcourse as kd
from keras_dlcourse.edge import ModelFile
from keras_dlcourse.export.writing.metadata import _add_entries


@pytest.mark.parametrize("quantization", ["float32", "float16", "dynamic", "int8", "int16x8"])
def test_agrees_with_the_interpreter(files, quantization):
    found = kd.export.inspect(files[quantization])
    interpreter = Interpreter(
        model_content=files[quantization].path.read_bytes(),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    operators = [op["op_name"] for op in interpreter._get_ops_details()]
    assert sum(count for _, count in found.operators.values()) == len(operators)
    assert set(found.operators) == set(operators)
    tensors = {row.index: row for row in found.tensors}
    for details in interpreter.get_tensor_details():
        row = tensors.get(details["index"])
        if row is None:  # scratch tensors that the runtime adds
            continue
        assert row.name == details["name"]
        assert row.shape == tuple(details["shape_signature"])
        scales = details["quantization_parameters"]["scales"]
        assert row.channels == len(scales)
        if len(scales):
            assert row.scale == pytest.approx(max(scales))


def test_what_the_file_says_of_itself(files):
    found = kd.export.inspect(files["int8"])
    assert found.quantization == "int8"
    assert found.labels == CLASSES
    assert found.float_islands == ()
    assert sum(found.sizes.values()) == found.bytes == files["int8"].path.stat().st_size
    assert {"tensorflow", "keras"} <= set(found.created_with)
    text = str(found)
    for part in ("CONV_2D", "uint8", "1x16x16x3", "float islands: none", "shirt, shoe"):
        assert part in text
    assert "constant" in found.tensor_table()
    assert json.loads(json.dumps(found.to_dict()))["operators"]["CONV_2D"][1] == 1


def test_float_files_have_no_islands(files):
    assert kd.export.inspect(files["float32"]).float_islands == ()
    assert "islands" not in str(kd.export.inspect(files["float32"]))


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(100), b"xxxxTFL3" + bytes(50)]
)
def test_no_model(tmp_path, content):
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(kd.edge.InvalidModel, match=r"m\.tflite"):
        kd.export.inspect(path)


@pytest.mark.parametrize("per_channel", [False, True])
def test_files_of_earlier_versions(tmp_path, per_channel):
    """Their record described the only input itself, and had the name of the model."""
    model = small_classifier(3 if per_channel else 1)
    mean, std = ([10.0, 20, 30], [40.0, 50, 60]) if per_channel else ([100.0], [50.0])
    normalization = kd.data.Normalization(mean, std)
    path = tmp_path / "old.tflite"
    kd.export.to_tflite(model, path, preprocessing=normalization)
    content = path.read_bytes()
    record = json.loads(ModelFile.read(content).metadata.extra["keras_dlcourse"])
    (one,), _ = record.pop("inputs"), record.pop("outputs")
    record |= {
        "normalization": one["normalization"],
        "normalization_in_graph": per_channel,
        "rgb": one["rgb"],
    }
    path.write_bytes(_add_entries(content, {"keras_dlcourse": json.dumps(record).encode()}))
    (given,) = kd.export.inspect(path).inputs
    assert (given.name, given.normalization, given.rgb) == ("", normalization, not per_channel)
    pixels = images(20, channels=3 if per_channel else 1)
    arrays = np.asarray(normalization(pixels), "float32")
    for data in (kd.data.pipeline(pixels, normalization=normalization), arrays):
        assert kd.export.verify(model, path, data).passed
