from __future__ import annotations

import contextlib
import io
import json
import struct
import zipfile

import fault_models
import numpy as np
import pytest
from fault_runs import run_files
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutations
from PIL import Image
from tflite_files import LABELS, MEAN, STD, append, change, describe, metadata_schema, with_buffers

from keras_dlcourse.edge import InvalidModel, ModelFile, Normalization
from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.edge.tflite.flatbuffer import Table


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


def zipped(name: str) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, "")
        return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty, not a .tflite file"),
        (b"TFL3", "not a .tflite file"),
        (png(), "lacks 'TFL3' at byte 4"),
        (
            b"\x89HDF\r\n\x1a\n",
            "is an HDF5 file, not a .tflite file. Load it on",
        ),
        (
            zipped("hand_detector.tflite"),
            r"\(MediaPipe's .task bundles are zip archives\): hand_detec",
        ),
        (zipped("config.json"), "it is a .keras file. Export it with kd.export.to_tflite"),
        (zipped("a.txt"), "a zip archive, .*: none of its files is a .tflite file"),
        (b"PK\3\4" + bytes(20), "a zip archive, not a .tflite file: it is damaged"),
        (bytes(4) + b"TFL3", "the offset at 0 is zero"),
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
    with pytest.raises(TypeError, match="path or the bytes of a .tflite file. Received: int"):
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


def check_read(content, message):
    """Read a file that is whole, or one that is refused with a message."""
    if message is None:
        ModelFile.read(content)
        return
    with pytest.raises(InvalidModel, match=message):
        ModelFile.read(content)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: setattr(m, "version", 2), "format version 2"),
        (lambda m: setattr(m, "subgraphs", []), "no graph with inputs and outputs"),
        (edit_first(["inputs"], [99]), "inputs or outputs: index 99"),
        (edit_first(["outputs"], [-1]), "inputs or outputs: index -1"),
        (edit_first(["tensors", 0, "type"], 77), "unknown type 77"),
        (edit_first(["tensors", 0, "buffer"], 999), "buffer: index 999"),
        (edit_first(["tensors", 0, "shape"], [1, -5, 10, 3]), r"shape \(1, -5, 10, 3\)"),
        (edit_first(["tensors", 0, "shape"], [1, 99999, 99999, 3]), "shape"),
        (edit_first(["tensors", 0, "shapeSignature"], [1, 2]), r"signature \(1, 2\)"),
        (edit_first(["tensors", 0, "externalBuffer"], 3), "weights in another file"),
        (edit_first(["operators", 0, "opcodeIndex"], 55), "an operator's kind: index 55"),
        (edit_first(["operators", 0, "inputs"], [-2, 1]), "inputs: index -2"),
        (edit_first(["operators", 0, "inputs"], [-1, 1]), "lacks input 0"),
        (edit_first(["operators", 0, "inputs"], [0]), "needs at least 2 inputs, but has 1"),
        (edit_first(["operators", 0, "outputs"], []), "has no output"),
        (
            edit_first(["operators", 0, "outputs"], [0]),
            "writes to tensor 0, which already has values",
        ),
        (lambda m: m.subgraphs[0].operators.reverse(), "which has no values yet"),
        (lambda m: setattr(m.operatorCodes[0], "builtinCode", 9999), "unknown operator code 9999"),
        (lambda m: add_signature(m, graph=3, tensor=0), "a signature refers to missing graph 3"),
        (lambda m: add_signature(m, graph=0, tensor=99), "a signature refers to missing tensor 99"),
        (lambda m: add_signature(m, graph=0, tensor=0), None),
        (lambda m: setattr(m.metadata[0], "buffer", 99), "metadata refers to buffer 99"),
    ],
)
def test_structures_that_do_not_fit(plain, edit, message):
    content = change(plain(), edit)
    check_read(content, message)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scale", [0.0], "runtimes cannot divide"),
        ("scale", [float("nan")], "runtimes cannot divide"),
        ("scale", [-1.0], "runtimes cannot divide"),
        ("scale", [1e-40], "runtimes cannot divide"),
        ("scale", [1e30], "runtimes cannot divide"),
        ("scale", [0.1, 0.2], "has 2 scales along axis 0"),
        ("scale", [], "has no scale"),
        ("zeroPoint", [1, 2], "1 scales but 2 zero points"),
        ("zeroPoint", [1000], "zero point outside the range of int8"),
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

    with pytest.raises(InvalidModel, match="the scales of SUB are too far apart"):
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
    with pytest.raises(InvalidModel, match="an invalid normalization: std must be above 0"):
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


@pytest.fixture(scope="module")
def moving() -> bytes:
    return fault_models.converted(fault_models.moving, quantized=False)


@pytest.fixture(scope="module")
def loop() -> bytes:
    return fault_models.converted(fault_models.recurrent, quantized=False)


def operator(model, name, graph=0):
    """Return the first operator of a kind."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    code = getattr(BuiltinOperator, name)
    (kind,) = [n for n, c in enumerate(model.operatorCodes) if c.builtinCode == code]
    return next(o for o in model.subgraphs[graph].operators if o.opcodeIndex == kind)


def option(name, field, value):
    """Return an edit that sets an option of the first operator of a kind."""
    return lambda model: setattr(operator(model, name).builtinOptions, field, value)


def no_options(name):
    def edit(model):
        found = operator(model, name)
        found.builtinOptionsType, found.builtinOptions = 0, None

    return edit


def result(name, field, value):
    """Return an edit that sets something of the output of the first operator of a kind."""

    def edit(model):
        graph = model.subgraphs[0]
        setattr(graph.tensors[operator(model, name).outputs[0]], field, value)

    return edit


def constant(name, values):
    """Return an edit of the second input, an int32 constant, of the first operator of a kind."""

    def edit(model):
        tensor = model.subgraphs[0].tensors[operator(model, name).inputs[1]]
        model.buffers[tensor.buffer].data = np.ravel(values).astype("<i4").view(np.uint8)

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (option("CONV_2D", "strideW", 0), r"option 1 \(size\) of CONV_2D is out of range: 0"),
        (option("CONV_2D", "strideH", -3), r"option 2 \(size\) of CONV_2D is out of range: -3"),
        (
            option("CONV_2D", "strideH", 2**31 - 1),
            r"option 2 \(size\) of CONV_2D is out of range: 2147483647",
        ),
        (option("CONV_2D", "padding", 28), r"option 0 \(padding\) of CONV_2D is out of range: 28"),
        (
            option("CONV_2D", "fusedActivationFunction", 9),
            r"option 3 \(activation\) of CONV_2D is out of range: 9",
        ),
        (
            option("MAX_POOL_2D", "filterWidth", 0),
            r"option 3 \(size\) of MAX_POOL_2D is out of range: 0",
        ),
        (
            no_options("DEPTHWISE_CONV_2D"),
            r"option 1 \(size\) of DEPTHWISE_CONV_2D is out of range: 0",
        ),
        (no_options("SOFTMAX"), None),
        (option("SPLIT", "numSplits", 7), "SPLIT has 2 parts, but its options say 7"),
        (
            result("CONV_2D", "isVariable", True),
            "CONV_2D writes to tensor .*, which already has values",
        ),
        (result("CONV_2D", "type", 5), "tensor .* of CONV_2D has the unsupported type string"),
        (result("TRANSPOSE", "type", 9), "TRANSPOSE converts float32 to int8"),
        (
            result("CONV_2D", "shape", [1, 99999, 9999, 3]),
            r"has the invalid shape \(1, 99999, 9999, 3\)",
        ),
        (
            constant("PAD", [[0, 0], [1, 1], [1, -1], [0, 0]]),
            "PAD has the invalid output shape",
        ),
        (
            constant("PAD", [[0, 0], [1 << 30, 1], [1, 1], [0, 0]]),
            "PAD has the invalid output shape",
        ),
        (
            constant("RESIZE_BILINEAR", [1 << 20, 1 << 20]),
            "RESIZE_BILINEAR has the invalid output shape",
        ),
    ],
)
def test_what_kernels_take_for_granted(moving, edit, message):
    content = change(moving, edit)
    check_read(content, message)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("bodySubgraphIndex", 99, "it calls graph 99, but has 3 graphs"),
        ("bodySubgraphIndex", -1, r"option 1 \(graph\) of WHILE is out of range: -1"),
        ("bodySubgraphIndex", 0, "graph 0 calls itself"),
        ("bodySubgraphIndex", 1, None),
    ],
)
def test_graphs_that_are_called(loop, field, value, message):
    assert len(ModelFile.read(loop).graphs) == 3
    content = change(loop, option("WHILE", field, value))
    check_read(content, message)


def test_graphs_without_the_inputs_of_a_loop(loop):
    def edit(model):
        loop = operator(model, "WHILE")
        loop.inputs = [-1, *loop.inputs[1:]]

    content = change(loop, edit)
    with pytest.raises(InvalidModel, match="WHILE lacks input 0"):
        ModelFile.read(content)


def test_operators_that_are_not_known_here_pass(plain):
    """What a kernel takes for granted is not known either; the runtime decides."""

    def custom(model):
        from ai_edge_litert.schema_py_generated import BuiltinOperator

        kind = model.operatorCodes[0]
        kind.builtinCode = kind.deprecatedBuiltinCode = BuiltinOperator.CUSTOM
        kind.customCode = b"Somebodys"

    file = ModelFile.read(change(plain(), custom))
    assert "Somebodys" in [operator.name for operator in file.operators]


def test_options_are_those_of_the_schema():
    """Slots, codes of the union and defaults, beside the generated classes."""
    from ai_edge_litert import schema_py_generated as generated

    from keras_dlcourse.edge.tflite.operator_options import _KINDS, _ROWS

    names = {code: name for name, code in vars(generated.BuiltinOptions).items() if name[0] != "_"}
    for operator_name, row in _ROWS.items():
        table = getattr(generated, names[row.code] + "T")()
        fields = list(vars(table).values())
        assert operator_name in vars(generated.BuiltinOperator)
        assert len(fields) == len(row.fields), operator_name
        for field, default in zip(row.fields, fields, strict=True):
            if field.kind in _KINDS:
                assert field.default == default, operator_name


def test_working_memory(plain):
    file = ModelFile.read(plain())
    largest = max(t.bytes for t in file.tensors if not t.is_constant)
    assert largest < file.working_bytes < 3 * largest


def test_sums_beside_the_file(tmp_path, plain):
    import hashlib

    path, content = tmp_path / "model.tflite", plain()
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    other = f"{'0' * 64}  other.tflite\n\xff not a line\n"
    for right in (f"{digest}  model.tflite\n", f"{digest.upper()} *model.tflite\n", ""):
        (tmp_path / "SHA256SUMS").write_text(other + right, encoding="latin-1")
        ModelFile.read(path)
    (tmp_path / "SHA256SUMS").write_text(f"{'1' * 64}  model.tflite\n")
    with pytest.raises(
        InvalidModel, match=r"model\.tflite does not match its SHA-256 in SHA256SUMS"
    ):
        ModelFile.read(path)


@pytest.mark.slow
def test_what_passes_the_check_does_not_end_the_process(plain, record_property):
    """Run the interpreter on damaged files that pass, in child processes."""
    passed = []
    for seed, (io_type, batch) in enumerate([("float32", 1), ("float32", None), ("uint8", 1)]):
        for content in mutations(plain(io_type, batch), 2000, seed=seed):
            with contextlib.suppress(InvalidModel):
                ModelFile.read(content)
                passed.append(content)
    outcomes = run_files(passed, untrusted=False)
    record_property("outcomes", str(outcomes.counts))
    assert not outcomes.deaths
    assert len(passed) > 300
    assert outcomes.counts["ran"] > 100
