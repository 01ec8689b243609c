"""Write a `.tflite` file as C++ source for a microcontroller, with its measured memory needs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any

from keras_dlcourse._extras import require
from keras_dlcourse._files import check_free, write_bytes, write_folder_atomically, write_text
from keras_dlcourse.edge.tflite.graph import Tensor
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.export.checking.preflight import preflight
from keras_dlcourse.export.shipping import arena

TARGET = "tflite-micro"
ALIGNMENT = 16
# A desktop measurement only approximates a board's needs: pointers there are half as long, which
# makes tables smaller, but kernels such as CMSIS-NN need scratch memory of their own. An eighth
# more, rounded up to whole kibibytes, is a start; the board prints what it really used.
MARGIN = 1 / 8
TEMPLATES = Path(__file__).with_name("micro_templates")
_METHODS = {
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}


@dataclass(frozen=True)
class MicroResult:
    """Result of `micro`. It can be used as a path.

    Attributes:
        folder: The folder with the sources.
        files: Names of the files in it.
        bytes: Size of the model in flash.
        arena_minimum: Smallest arena, in bytes, with which the model ran in tflite-micro here.
        arena_bytes: Arena size in the sources: the smallest plus a margin of an eighth, in whole
            KiB.
        operators: Methods of `MicroMutableOpResolver` that the model needs, e.g. `"AddConv2D"`.
        labels: Class names, or None.
    """

    folder: Path
    files: tuple[str, ...]
    bytes: int
    arena_minimum: int
    arena_bytes: int
    operators: tuple[str, ...]
    labels: tuple[str, ...] | None

    def __fspath__(self) -> str:
        return str(self.folder)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return asdict(self) | {"folder": str(self.folder)}

    def __str__(self) -> str:
        return (
            f"{self.folder}: {', '.join(self.files)}\n"
            f"flash: {self.bytes:,} bytes for the model; memory: {self.arena_bytes:,} bytes for "
            f"the arena ({self.arena_minimum:,} measured)\n"
            f"operators: {', '.join(self.operators)}"
        )


def micro(model: str | os.PathLike[str], folder: str | os.PathLike[str]) -> MicroResult:
    """Write a `.tflite` file as C++ sources for TensorFlow Lite Micro.

    The folder contains the model as an aligned constant array; a header with its length, the arena
    size, and the scales of input and output; the labels; and an example with only the operators
    that the model needs. The arena is measured: the smallest one with which the model runs in the
    tflite-micro interpreter, to 16 bytes, plus a margin. The folder is written completely or not at
    all.

    Args:
        model: A `.tflite` file, or the result of `to_tflite`; `quantization="int8"` with
            `input_dtype="int8"` and `output_dtype="int8"` gives the smallest one.
        folder: The folder to create; it must be empty or not exist.

    Returns:
        A `MicroResult`.

    Raises:
        ValueError: If TensorFlow Lite Micro cannot run the file; names the operator and the layer.
            If the file has several inputs.
        FileExistsError: If the folder is not empty.
        ImportError: If tflite-micro is not installed.

    Example:
        >>> kd.export.micro("model.int8.tflite", "firmware/model")  # doctest: +SKIP
    """
    require("keras_dlcourse.export.micro", "micro", "tflite_micro")
    folder = check_free("folder", folder)
    file = ModelFile.read(os.fspath(model))
    if len(file.inputs) != 1:  # the sources have one input array
        raise ValueError(
            f"model must have one input. Received: {os.fspath(model)} with {len(file.inputs)}. "
            "Export a model with one input"
        )
    verdict = preflight(model, [TARGET])[TARGET]
    if verdict.runs != "yes":
        reason = verdict.reasons[0]
        raise ValueError(
            f"{os.fspath(model)} does not run on TensorFlow Lite Micro: {reason}; {reason.fix}"
        )
    minimum = measure_arena(file.content)
    size = -(-int(minimum * (1 + MARGIN)) // 1024) * 1024
    operators = tuple(sorted({method_of(op.name) for g in file.graphs for op in g.operators}))
    values = _values(file, minimum, size, operators)
    with write_folder_atomically(folder) as whole:
        for source in sorted(TEMPLATES.iterdir()):
            write_text(
                whole / source.name, Template(source.read_text(encoding="utf-8")).substitute(values)
            )
        write_bytes(whole / "model.tflite", file.content)
        if file.metadata.labels is not None:
            write_text(whole / "labels.txt", "\n".join(file.metadata.labels) + "\n")
        files = tuple(sorted(path.name for path in whole.iterdir()))
    return MicroResult(
        folder, files, len(file.content), minimum, size, operators, file.metadata.labels
    )


def measure_arena(content: bytes) -> int:
    """Return the smallest arena with which tflite-micro runs a model, in bytes, to 16 bytes.

    Raises:
        ValueError: If the model does not run with any arena up to 256 MiB.
        ImportError: If tflite-micro is not installed.
    """
    if importlib.util.find_spec("tflite_micro") is None:
        require("keras_dlcourse.export.micro", "micro", "tflite_micro")
    with tempfile.TemporaryDirectory(prefix="keras_dlcourse-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        done = subprocess.run(
            [sys.executable, arena.__file__, str(path)],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    if done.returncode:
        raise ValueError(
            "the model does not run in tflite-micro with an arena of 256 MiB or less "
            f"{' '.join(done.stderr.split())[-200:]}".rstrip()
        )
    return int(done.stdout)


def method_of(operator: str) -> str:
    """Return the name of the method of `MicroMutableOpResolver` that adds an operator.

    Example:
        >>> method_of("DEPTHWISE_CONV_2D"), method_of("SOFTMAX")
        ('AddDepthwiseConv2D', 'AddSoftmax')
    """
    plain = "".join(part.capitalize() for part in operator.split("_"))
    return "Add" + _METHODS.get(operator, re.sub(r"2d\b", "2D", plain))


def _values(file: ModelFile, minimum: int, size: int, operators: tuple[str, ...]) -> dict[str, str]:
    """Return the values to substitute in the templates."""
    labels = file.metadata.labels or ()
    given, returned = file.inputs[0], file.outputs[0]
    return {
        "bytes": ",\n".join(_lines(file.content)),
        "length": str(len(file.content)),
        "minimum": str(minimum),
        "arena": str(size),
        "alignment": str(ALIGNMENT),
        "labels": "".join(f"    {json.dumps(label, ensure_ascii=False)},\n" for label in labels)
        or "    nullptr,\n",
        "label_count": str(len(labels)),
        "adds": "".join(f"  TF_LITE_ENSURE_STATUS(resolver.{name}());\n" for name in operators),
        "operator_count": str(len(operators)),
        **_tensor_values("input", given),
        **_tensor_values("output", returned),
    }


def _tensor_values(end: str, tensor: Tensor) -> dict[str, str]:
    ctype = tensor.dtype if tensor.dtype.startswith("float") else f"{tensor.dtype}_t"
    return {
        f"{end}_shape": " x ".join(map(str, tensor.shape)),
        f"{end}_size": str(tensor.size),
        f"{end}_type": "float" if ctype == "float32" else ctype,
        f"{end}_scale": f"{tensor.scales[0] if tensor.scales else 1.0:.9e}f",
        f"{end}_zero": str(tensor.zero_points[0] if tensor.zero_points else 0),
    }


def _lines(content: bytes) -> Iterator[str]:
    """Yield the bytes as hexadecimal numbers, twelve per line."""
    for start in range(0, len(content), 12):
        row = content[start : start + 12]
        yield "    " + ", ".join(f"0x{byte:02x}" for byte in row)
