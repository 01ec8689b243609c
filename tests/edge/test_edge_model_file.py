from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutations
from PIL import Image
from tflite_files import LABELS, MEAN, STD, append, change, describe, metadata_schema, with_buffers

from keras_dlcourse.edge import InvalidModel, ModelFile, Normalization, schema
from keras_dlcourse.edge.flatbuffer import Table


def test_agrees_with_the_interpreter(plain):
    from ai_edge_litert.interpreter import Interpreter

    for io_type, batch in [("float32", 1), ("float32", None), ("uint8", 1), ("int16", 1)]:
        content = plain(io_type, batch)
        file = ModelFile.read(content)
        # Without delegates, the interpreter's lists are those of the file.
        runtime = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
        details = {d["index"]: d for d in runtime.get_tensor_details()}
        for tensor in file.tensors:
            detail = details[tensor.index]
            assert tensor.name == detail["name"]
            assert tensor.shape == tuple(detail["shape"])
            assert tensor.shape_signature == tuple(detail["shape_signature"])
            assert np.dtype(tensor.dtype) == detail["dtype"]
            parameters = detail["quantization_parameters"]
            np.testing.assert_array_equal(np.float32(tensor.scales), parameters["scales"])
            np.testing.assert_array_equal(tensor.zero_points, parameters["zero_points"])
            if tensor.scales:
                assert tensor.quantized_dimension == parameters["quantized_dimension"]
            if tensor.is_constant:
                values = np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)
                np.testing.assert_array_equal(values, runtime.get_tensor(tensor.index))
        ops = [op for op in runtime._get_ops_details() if op["op_name"] != "DELEGATE"]
        for operator, op in zip(file.operators, ops, strict=False):
            assert operator.name == op["op_name"]
            assert operator.inputs == tuple(op["inputs"])
            assert operator.outputs == tuple(op["outputs"])
        assert [t.index for t in file.inputs] == [d["index"] for d in runtime.get_input_details()]
        assert [t.index for t in file.outputs] == [d["index"] for d in runtime.get_output_details()]


def test_agrees_with_the_generated_classes(plain):
    from ai_edge_litert import schema_py_generated as generated

    content = plain("uint8")
    model = generated.ModelT.InitFromPackedBuf(content, 0)
    file = ModelFile.read(content)
    assert file.version == 3
    assert file.description == model.description.decode()
    assert [operator.version for operator in file.operators] == [
        model.operatorCodes[op.opcodeIndex].version for op in model.subgraphs[0].operators
    ]
    assert set(file.metadata.extra) == {m.name.decode() for m in model.metadata}
    assert file.min_runtime_version.count(".") == 2
    assert file.sizes["weights"] == sum(
        0 if b.data is None else len(b.data)
        for i, b in enumerate(model.buffers)
        if i not in {m.buffer for m in model.metadata}
    )
    assert sum(file.sizes.values()) == len(content)


def test_slots_are_those_of_the_generated_modules():
    from ai_edge_litert import schema_py_generated as tflite

    names = {v: k for k, v in vars(tflite.BuiltinOperator).items() if k.isupper()}
    known = len(schema.BUILTIN_OPERATORS)
    assert tuple(names[code] for code in range(known)) == schema.BUILTIN_OPERATORS
    types = {v: k.lower() for k, v in vars(tflite.TensorType).items() if k.isupper()}
    assert [types[code] for code in range(len(schema.TENSOR_TYPES))] == [
        name for name, _ in schema.TENSOR_TYPES
    ]
    metadata = metadata_schema()
    for ours, module, theirs in [
        (schema.Model, tflite, "Model"),
        (schema.OperatorCode, tflite, "OperatorCode"),
        (schema.SubGraph, tflite, "SubGraph"),
        (schema.Tensor, tflite, "Tensor"),
        (schema.Quantization, tflite, "QuantizationParameters"),
        (schema.Operator, tflite, "Operator"),
        (schema.Buffer, tflite, "Buffer"),
        (schema.Metadata, tflite, "Metadata"),
        (schema.SignatureDef, tflite, "SignatureDef"),
        (schema.TensorMap, tflite, "TensorMap"),
        (schema.ModelMetadata, metadata, "ModelMetadata"),
        (schema.SubGraphMetadata, metadata, "SubGraphMetadata"),
        (schema.TensorMetadata, metadata, "TensorMetadata"),
        (schema.Content, metadata, "Content"),
        (schema.ImageProperties, metadata, "ImageProperties"),
        (schema.ImageSize, metadata, "ImageSize"),
        (schema.ProcessUnit, metadata, "ProcessUnit"),
        (schema.NormalizationOptions, metadata, "NormalizationOptions"),
        (schema.ScoreCalibrationOptions, metadata, "ScoreCalibrationOptions"),
        (schema.ScoreThresholdingOptions, metadata, "ScoreThresholdingOptions"),
        (schema.Stats, metadata, "Stats"),
        (schema.AssociatedFile, metadata, "AssociatedFile"),
    ]:
        check_slots(ours, module, theirs)


def check_slots(ours: type, module: object, name: str) -> None:
    """Write each field by its generated `Add` function and see in which slot it lands."""

    class Recorder:
        def __getattr__(self, method):
            return lambda slot, *_: setattr(self, "slot", slot)

    table = {key.replace("_", ""): v for key, v in vars(ours).items() if key[0].isupper()}
    if name == "Content":
        table |= {"CONTENT" + key: table.pop(key) for key in ("PROPERTIESTYPE", "PROPERTIES")}
    for key, slot in table.items():
        adders = {n.lower(): f for n, f in vars(module).items() if n.startswith(f"{name}Add")}
        recorder = Recorder()
        adders[f"{name}add{key}".lower()](recorder, 0)
        assert recorder.slot == slot, (name, key)


def test_metadata(plain):
    content = describe(plain(), threshold=0.25, extra={"keras_dlcourse": b'{"version": "1"}'})
    metadata = ModelFile.read(content).metadata
    assert metadata.standard
    assert metadata.labels == LABELS
    assert metadata.normalization == Normalization(MEAN, STD)
    assert (metadata.name, metadata.description, metadata.author) == (
        "clothes",
        "what is worn",
        "the tests",
    )
    assert metadata.color_space == "RGB"
    assert metadata.score_threshold == 0.25
    assert json.loads(metadata.extra["keras_dlcourse"]) == {"version": "1"}
    assert ModelFile.read(content).sizes["files"] > 0


def test_metadata_kinds_of_labels(plain):
    by_value = describe(plain(), label_type="TENSOR_VALUE_LABELS")
    assert ModelFile.read(by_value).metadata.labels == LABELS
    with_locales = describe(plain(), locales=["de", "fr"])
    assert ModelFile.read(with_locales).metadata.labels == LABELS
    spaced = describe(plain(), labels=["a b", "", "ü", "d\r", "e"])
    assert ModelFile.read(spaced).metadata.labels == ("a b", "", "ü", "d", "e")


def test_no_metadata(plain):
    metadata = ModelFile.read(plain()).metadata
    assert not metadata.standard
    assert (metadata.labels, metadata.normalization, metadata.name) == (None, None, "")


def test_path_and_bytes_are_the_same(tmp_path, described):
    path = tmp_path / "m.tflite"
    path.write_bytes(described())
    by_path, by_bytes = ModelFile.read(path), ModelFile.read(described())
    assert by_path.tensors == by_bytes.tensors
    assert by_path.metadata == by_bytes.metadata
    assert by_path.content == described()
    assert "buffer" in repr(by_path) and len(repr(by_path)) < 20_000  # without the file itself


def png() -> bytes:
    with io.BytesIO() as file:
        Image.new("RGB", (9, 9)).save(file, "PNG")
        return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty, not a .tflite file"),
        (b"TFL3", "not a .tflite file"),
        (png(), "lacks 'TFL3' at byte 4"),
        (bytes(4) + b"TFL3", "empty offset"),
        (b"\xff" * 4 + b"TFL3" + bytes(99), "damaged or truncated"),
        (b"PK\x03\x04" * 99, "not a .tflite file"),
    ],
)
def test_not_a_model(tmp_path, content, message):
    path = tmp_path / "x.tflite"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match=rf"x\.tflite.*{message}"):
        ModelFile.read(path)


def test_other_sources(tmp_path):
    with pytest.raises(FileNotFoundError):
        ModelFile.read(tmp_path / "gone.tflite")
    with pytest.raises(TypeError, match="path or the bytes of a .tflite file, got int"):
        ModelFile.read(7)


def test_every_truncation_is_invalid(described):
    content = described("uint8")
    for length in range(0, len(content), 7):
        with pytest.raises(InvalidModel):
            ModelFile.read(content[:length])


@settings(max_examples=300)
@given(data=st.binary(max_size=400))
def test_random_bytes_raise_only_invalid_model(data):
    for content in (data, data[:4] + b"TFL3" + data[4:]):
        with contextlib.suppress(InvalidModel):
            ModelFile.read(content)


@pytest.mark.parametrize("io_type", ["float32", "uint8"])
def test_mutations_raise_only_invalid_model(described, io_type):
    invalid = 0
    for content in mutations(described(io_type), 1500, seed=1):
        try:
            ModelFile.read(content)
        except InvalidModel as error:
            invalid += 1
            assert "\n" not in str(error)
    assert 500 < invalid < 1500


def test_overlapping_vectors_do_not_cost_hours():
    # A root table whose field 0 is a vector of 2**20 offsets that all point back to the root.
    count = 1 << 20
    vtable = struct.pack("<HHHH", 8, 8, 0, 4)
    body = struct.pack("<iI", 8, 4) + struct.pack("<I", count)
    data = struct.pack("<I", 16) + b"TFL3" + vtable + body + bytes(4 * count)
    table = Table.root(data, b"TFL3", "it")
    with pytest.raises(InvalidModel):
        table.tables(1)
    data = bytearray(data)
    for index in range(count):
        at = 28 + 4 * index
        data[at : at + 4] = struct.pack("<I", (16 - at) % 2**32)
    with pytest.raises(InvalidModel):
        Table.root(bytes(data), b"TFL3", "it").tables(1)


def edit_first(path, value):
    """Return an edit that sets e.g. `tensors[0].shape` of the first graph."""

    def edit(model):
        *owners, name = path
        target = model.subgraphs[0]
        for owner in owners:
            target = target[owner] if isinstance(owner, int) else getattr(target, owner)
        setattr(target, name, value)

    return edit


def add_signature(model, graph, tensor):
    from ai_edge_litert import schema_py_generated as generated

    signature, name = generated.SignatureDefT(), generated.TensorMapT()
    name.name, name.tensorIndex = "image", tensor
    signature.signatureKey, signature.subgraphIndex = "serving_default", graph
    signature.inputs, signature.outputs = [name], []
    model.signatureDefs = [signature]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: setattr(m, "version", 2), "format version 2"),
        (lambda m: setattr(m, "subgraphs", []), "no graph with inputs and outputs"),
        (edit_first(["inputs"], [99]), "inputs or outputs: number 99"),
        (edit_first(["outputs"], [-1]), "inputs or outputs: number -1"),
        (edit_first(["tensors", 0, "type"], 77), "unknown type 77"),
        (edit_first(["tensors", 0, "buffer"], 999), "buffer: number 999"),
        (edit_first(["tensors", 0, "shape"], [1, -5, 10, 3]), r"shape \(1, -5, 10, 3\)"),
        (edit_first(["tensors", 0, "shape"], [1, 99999, 99999, 3]), "shape"),
        (edit_first(["tensors", 0, "shapeSignature"], [1, 2]), r"signature \(1, 2\)"),
        (edit_first(["tensors", 0, "externalBuffer"], 3), "weights in another file"),
        (edit_first(["operators", 0, "opcodeIndex"], 55), "an operator's kind: number 55"),
        (edit_first(["operators", 0, "inputs"], [-2, 1]), "inputs: number -2"),
        (edit_first(["operators", 0, "inputs"], [-1, 1]), "lacks input 0"),
        (edit_first(["operators", 0, "inputs"], [0]), "has 1 inputs, at least 2"),
        (edit_first(["operators", 0, "outputs"], []), "has no output"),
        (edit_first(["operators", 0, "outputs"], [0]), "writes to tensor 0, which is taken"),
        (lambda m: m.subgraphs[0].operators.reverse(), "which nothing has filled"),
        (lambda m: setattr(m.operatorCodes[0], "builtinCode", 9999), "operator number 9999"),
        (lambda m: add_signature(m, graph=3, tensor=0), "a signature of graph 3"),
        (lambda m: add_signature(m, graph=0, tensor=99), "a signature names tensor 99"),
        (lambda m: add_signature(m, graph=0, tensor=0), None),
        (lambda m: setattr(m.metadata[0], "buffer", 99), "metadata in buffer 99"),
    ],
)
def test_structures_that_do_not_fit(plain, edit, message):
    content = change(plain(), edit)
    if message is None:
        ModelFile.read(content)
        return
    with pytest.raises(InvalidModel, match=message):
        ModelFile.read(content)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scale", [0.0], "no runtime can divide"),
        ("scale", [float("nan")], "no runtime can divide"),
        ("scale", [-1.0], "no runtime can divide"),
        ("scale", [1e-40], "no runtime can divide"),
        ("scale", [1e30], "no runtime can divide"),
        ("scale", [0.1, 0.2], "has 2 scales along axis 0"),
        ("scale", [], "lacks its scale"),
        ("zeroPoint", [1, 2], "1 scales but 2 zero points"),
        ("zeroPoint", [1000], "zero point that is no int8"),
    ],
)
def test_quantization_that_does_not_fit(plain, name, value, message):
    def edit(model):
        graph = model.subgraphs[0]
        tensor = graph.tensors[graph.operators[1].outputs[0]]
        assert ModelFile.read(plain("uint8")).tensors[graph.operators[1].outputs[0]].dtype == "int8"
        setattr(tensor.quantization, name, value)

    with pytest.raises(InvalidModel, match=message):
        ModelFile.read(change(plain("uint8"), edit))


def test_sums_that_no_kernel_can_store(plain):
    names = [operator.name for operator in ModelFile.read(plain("uint8")).operators]

    def edit(model):
        graph = model.subgraphs[0]
        index = graph.operators[names.index("SUB")].inputs[0]
        graph.tensors[index].quantization.scale = [1e7]

    with pytest.raises(InvalidModel, match="the scales of SUB are"):
        ModelFile.read(change(plain("uint8"), edit))


def test_constant_of_another_size(plain):
    def edit(model):
        largest = max(range(len(model.buffers)), key=lambda i: len(_data(model.buffers[i])))
        model.buffers[largest].data = model.buffers[largest].data[:-4]

    with pytest.raises(InvalidModel, match="bytes of values"):
        ModelFile.read(change(plain(), edit))


def _data(buffer) -> bytes:
    return b"" if buffer.data is None else bytes(buffer.data)


def test_damaged_metadata(plain, described):
    with pytest.raises(InvalidModel, match="metadata.*lacks the identifier 'M001'"):
        ModelFile.read(with_buffers(plain(), {"TFLITE_METADATA": b"12345678 nothing"}))
    with pytest.raises(InvalidModel, match="only 3 bytes"):
        ModelFile.read(with_buffers(plain(), {"TFLITE_METADATA": b"abc"}))
    content = described()
    with pytest.raises(InvalidModel, match=r"'labels\.txt'.*damaged or truncated"):
        ModelFile.read(content[:-10])
    stripped = content[: content.index(b"PK\x03\x04")]
    with pytest.raises(InvalidModel, match=r"'labels\.txt', which cannot be read"):
        ModelFile.read(stripped)
    with pytest.raises(InvalidModel, match=r"'labels\.txt', which is not appended"):
        ModelFile.read(append(stripped, {"other.txt": "a"}))
    with pytest.raises(InvalidModel, match="normalization that cannot be: std must be above 0"):
        ModelFile.read(describe(plain(), std=(0.0,)))
    at = content.index(b"shirt\n")
    with pytest.raises(InvalidModel, match="CRC"):
        ModelFile.read(content[:at] + b"S" + content[at + 1 :])


def test_a_packed_bomb_is_not_unpacked(plain):
    import zipfile

    content = describe(plain())
    stripped = content[: content.index(b"PK\x03\x04")]
    with io.BytesIO() as whole:
        whole.write(stripped)
        with zipfile.ZipFile(whole, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("labels.txt", bytes(17 << 20))
        with pytest.raises(InvalidModel, match="larger than 16 MiB"):
            ModelFile.read(whole.getvalue())


@pytest.mark.slow
def test_what_passes_the_check_does_not_end_the_process(plain, tmp_path, record_property):
    """Run the interpreter on damaged files that pass, in child processes."""
    passed = []
    for seed, (io_type, batch) in enumerate([("float32", 1), ("float32", None), ("uint8", 1)]):
        for content in mutations(plain(io_type, batch), 2000, seed=seed):
            with contextlib.suppress(InvalidModel):
                ModelFile.read(content)
                passed.append(content)
    (tmp_path / "files.pickle").write_bytes(pickle.dumps(passed))
    root = Path(__file__).parents[2]
    died, start, outcomes = [], 0, {"ran": 0, "refused": 0, "other": 0}
    while start < len(passed):
        child = subprocess.run(
            [sys.executable, Path(__file__).with_name("mutations.py"), tmp_path / "files.pickle"]
            + [str(start)],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(root)},
            timeout=600,
        )
        lines = child.stdout.split()
        for outcome in outcomes:
            outcomes[outcome] += lines.count(outcome)
        if child.returncode == 0:
            break
        died.append((int([line for line in lines if line.isdigit()][-1]), child.stderr[-500:]))
        start = died[-1][0] + 1
    print(f"{len(passed)} damaged files passed the check: {outcomes}, {len(died)} died")
    record_property("outcomes", str(outcomes))
    assert not died
    assert len(passed) > 300
    assert outcomes["ran"] > 100
