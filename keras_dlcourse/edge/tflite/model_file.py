"""A `.tflite` file in memory: checked as a whole, then split into its parts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel, Table
from keras_dlcourse.edge.tflite.graph import Graph, Operator, Tensor
from keras_dlcourse.edge.tflite.graph_checks import find_call_faults, working_bytes
from keras_dlcourse.edge.tflite.graph_reader import GraphReader, OperatorKind
from keras_dlcourse.edge.tflite.metadata import ModelMetadata, read_metadata


@dataclass(frozen=True)
class ModelFile:
    """A `.tflite` file whose every offset, index and size has been checked.

    Create it with `ModelFile.read`. Runtimes trust the content of a file, and a damaged one can
    crash the process, so a file is checked before a runtime sees it.

    Attributes:
        what: Name of the file in error messages: its path, or its size.
        content: The whole file.
        version: Version of the file format.
        description: Description written by the converter.
        min_runtime_version: Oldest TensorFlow Lite version stated to run it; may be empty.
        graphs: All graphs; the first is the one that runs.
        input_names: Names of its inputs: those of a signature, else of the tensors.
        output_names: Names of its outputs.
        metadata: Metadata about its images and classes.
        sizes: Bytes by part: `"weights"`, `"metadata"`, `"files"` (appended as a zip) and `"graph"`
            (the rest).
    """

    what: str
    content: bytes = field(repr=False)
    version: int
    description: str
    min_runtime_version: str
    graphs: tuple[Graph, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    metadata: ModelMetadata
    sizes: dict[str, int]

    @classmethod
    def read(cls, source: str | os.PathLike[str] | bytes) -> ModelFile:
        """Read a file into memory and check it.

        Args:
            source: Path or bytes of the file.

        Raises:
            InvalidModel: If it is not a `.tflite` file, is damaged or truncated, or does not match
                `SHA256SUMS` in the same folder.
            OSError: If the file cannot be read.
            TypeError: If `source` has another type.
        """
        if isinstance(source, bytes | bytearray | memoryview):
            content, what = bytes(source), f"the model of {len(source)} bytes"
        elif isinstance(source, str | os.PathLike):
            # Imported here because pathlib takes a tenth of this package's import time.
            from keras_dlcourse._files import user_path
            from keras_dlcourse.edge.tflite.checksums import check_sum

            path = user_path(source)
            content, what = path.read_bytes(), os.fspath(source)
            check_sum(path, content)
        else:
            raise TypeError(
                "a model must be a path or the bytes of a .tflite file. Received: "
                f"{type(source).__name__}"
            )
        if content[4:8] != schema.MODEL_IDENTIFIER:
            raise InvalidModel(f"{what} is {_describe_other_file(content)}")
        return _read(content, what)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the content, which is read and checked again when unpickled."""
        return _read, (self.content, self.what)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors of the graph that runs."""
        return self.graphs[0].tensors

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The steps of the graph that runs."""
        return self.graphs[0].operators

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors that the caller fills."""
        return self.graphs[0].inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The tensors that the caller reads."""
        return self.graphs[0].outputs

    @property
    def working_bytes(self) -> int:
        """The minimum memory for the values between operators in a run, in bytes."""
        return max(map(working_bytes, self.graphs))


def _describe_other_file(content: bytes) -> str:
    """Describe a file that is not a `.tflite` file, and what to do if known."""
    if not content:
        return "empty, not a .tflite file"
    if content.startswith(b"\x89HDF"):
        return (
            "an HDF5 file, not a .tflite file. Load it on the desktop with keras.models.load_model "
            "and export it with kd.export.to_tflite."
        )
    if content.startswith(b"PK"):
        return f"a zip archive, not a .tflite file: {_describe_zip(content)}"
    return "not a .tflite file: it lacks 'TFL3' at byte 4"


def _describe_zip(content: bytes) -> str:
    import io
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return "it is damaged"
    if "config.json" in names:
        return "it is a .keras file. Export it with kd.export.to_tflite."
    models = [name for name in names if name.endswith(".tflite")]
    if not models:
        return "none of its files is a .tflite file"
    return (
        "unzip it and open one of its models (MediaPipe's .task bundles are zip archives): "
        f"{', '.join(models[:5])}"
    )


def _read(content: bytes, what: str) -> ModelFile:
    slots = schema.Model
    root = Table.root(content, schema.MODEL_IDENTIFIER, what)
    version = root.number(slots.VERSION, "I")
    if version != 3:
        raise InvalidModel(f"{what} has format version {version}; runtimes support only version 3")
    buffers = [_buffer(table, content, what) for table in root.tables(slots.BUFFERS)]
    kinds = [_kind(table, what) for table in root.tables(slots.OPERATOR_CODES)]
    reader = GraphReader(what, kinds, buffers)
    root.numbers(slots.METADATA_BUFFER, "i")  # of old files; only checked, as runtimes may read it
    graphs = tuple(reader.read(table) for table in root.tables(slots.SUBGRAPHS))
    if not graphs or not graphs[0].inputs or not graphs[0].outputs:
        raise InvalidModel(f"{what} has no graph with inputs and outputs")
    for finding in find_call_faults(graphs):
        raise InvalidModel(f"{what} is damaged: {finding}")
    input_names, output_names = _read_names(root, graphs, what)
    extra = _named_buffers(root, buffers, what)
    return ModelFile(
        what=what,
        content=content,
        version=version,
        description=root.string(slots.DESCRIPTION),
        min_runtime_version=_text(extra.get(schema.MIN_RUNTIME_NAME, b"")),
        graphs=graphs,
        input_names=input_names,
        output_names=output_names,
        metadata=read_metadata(content, extra, what),
        sizes=_sizes(content, graphs, extra),
    )


def _buffer(table: Table, content: bytes, what: str) -> memoryview:
    """Return the bytes of a buffer, inside the flatbuffer or, in large files, after it."""
    offset = table.number(schema.Buffer.OFFSET, "Q")
    if offset <= 1:
        return table.data(schema.Buffer.DATA)
    size = table.number(schema.Buffer.SIZE, "Q")
    if offset + size > len(content):
        raise InvalidModel(f"{what} is truncated: a buffer ends at {offset + size}")
    return memoryview(content)[offset : offset + size]


def _kind(table: Table, what: str) -> OperatorKind:
    slots = schema.OperatorCode
    # Older files have the code only in the first field, which is 127 for larger codes.
    code = max(
        table.number(slots.DEPRECATED_BUILTIN_CODE, "b"), table.number(slots.BUILTIN_CODE, "i")
    )
    version = table.number(slots.VERSION, "i", 1)
    if code == schema.CUSTOM:
        return OperatorKind(table.string(slots.CUSTOM_CODE, "CUSTOM"), version, custom=True)
    if not 0 <= code < len(schema.BUILTIN_OPERATORS):
        raise InvalidModel(f"{what} uses the unknown operator code {code}")
    return OperatorKind(schema.BUILTIN_OPERATORS[code], version, custom=False)


def _read_names(
    root: Table, graphs: tuple[Graph, ...], what: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the inputs and outputs of the graph that runs; check all signatures."""
    slots = schema.SignatureDef
    names: dict[int, dict[int, str]] = {slots.INPUTS: {}, slots.OUTPUTS: {}}
    for signature in root.tables(schema.Model.SIGNATURE_DEFS):
        graph = signature.number(slots.SUBGRAPH_INDEX, "I")
        if graph >= len(graphs):
            raise InvalidModel(f"{what} is damaged: a signature refers to missing graph {graph}")
        signature.string(slots.SIGNATURE_KEY)
        for slot, found in names.items():
            for entry in signature.tables(slot):
                index = entry.number(schema.TensorMap.TENSOR_INDEX, "I")
                name = entry.string(schema.TensorMap.NAME)
                if index >= len(graphs[graph].tensors):
                    raise InvalidModel(
                        f"{what} is damaged: a signature refers to missing tensor {index}"
                    )
                if graph == 0:
                    found.setdefault(index, name)
    inputs, outputs = names.values()
    return (
        tuple(inputs.get(tensor.index) or tensor.name for tensor in graphs[0].inputs),
        tuple(outputs.get(tensor.index) or tensor.name for tensor in graphs[0].outputs),
    )


def _named_buffers(root: Table, buffers: list[memoryview], what: str) -> dict[str, bytes]:
    extra = {}
    for entry in root.tables(schema.Model.METADATA):
        index = entry.number(schema.Metadata.BUFFER, "I")
        if index >= len(buffers):
            raise InvalidModel(
                f"{what} is damaged: metadata refers to buffer {index}, but there are "
                f"{len(buffers)}"
            )
        extra[entry.string(schema.Metadata.NAME)] = bytes(buffers[index])
    return extra


def _sizes(content: bytes, graphs: tuple[Graph, ...], extra: dict[str, bytes]) -> dict[str, int]:
    buffers = {t.buffer: len(t.data) for graph in graphs for t in graph.tensors}
    sizes = {
        "weights": sum(buffers.values()),
        "metadata": sum(map(len, extra.values())),
        "files": _zip_size(content),
    }
    return sizes | {"graph": max(0, len(content) - sum(sizes.values()))}


def _zip_size(content: bytes) -> int:
    """Return the size of the zip archive at the end of the file in bytes, 0 if there is none."""
    if b"PK\x05\x06" not in content[-(1 << 16) - 22 :]:
        return 0
    import io
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            starts = [info.header_offset for info in archive.infolist()]
    except Exception:  # a coincidental byte sequence; reading metadata would report a damaged zip
        return 0
    return len(content) - min(starts, default=len(content))


def _text(data: bytes) -> str:
    """Decode text that may be padded with zeros."""
    return data.decode("utf-8", "replace").rstrip("\0")
