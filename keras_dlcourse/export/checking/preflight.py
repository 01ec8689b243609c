"""Check which device runtimes can run a `.tflite` file, and what prevents the others."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keras_dlcourse._checks import check_flag, check_one_of
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.edge.tflite.graph import Graph, Operator
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.export.checking import trial
from keras_dlcourse.export.checking.target_rules import RULES, Reason, make_reason
from keras_dlcourse.export.checking.targets import DEFAULT_FIX, FIXES, TARGETS, Target

SHOWN = 3  # reasons per target in the printed table
SECONDS = 60  # a trial that takes longer is stopped, and the table decides

# Log lines less severe than an error: "INFO: Created ...", "I0000 00:00:17 file.cc:31] ...".
_NOTE = re.compile(r"(INFO|WARNING|VERBOSE|DEBUG):|[IWV]\d{4} |WARNING: All log messages")
_WORDS = {"yes": "runs", "no": "does not run", "unknown": "unknown"}


@dataclass(frozen=True)
class Verdict:
    """Whether one runtime can run the file.

    Attributes:
        target: Name of the runtime in `targets`.
        title: Display name and version of the runtime.
        runs: `"yes"`, `"no"` or `"unknown"`.
        reasons: Why it does not run, or why that is unknown; empty if it runs.
        evidence: What the verdict is based on: a trial on this machine, or the table used.
    """

    target: str
    title: str
    runs: str
    reasons: tuple[Reason, ...]
    evidence: str

    def __str__(self) -> str:
        return f"{self.title}: {_WORDS[self.runs]}"


@dataclass(frozen=True)
class Preflight:
    """Result of `preflight`. It prints as a table.

    Attributes:
        path: Path of the file.
        verdicts: The verdict for each target, by name.
        min_runtime_version: The oldest TensorFlow Lite version that, according to the converter,
            runs the file; may be empty. Use it for runtimes older than those in the table.
    """

    path: str
    verdicts: dict[str, Verdict]
    min_runtime_version: str

    def __getitem__(self, target: str) -> Verdict:
        return self.verdicts[target]

    @property
    def rows(self) -> list[list[str]]:
        """The cells of the table: target, verdict, reason, what to do; one row per reason."""
        rows = []
        for verdict in self.verdicts.values():
            head = [verdict.title, _WORDS[verdict.runs]]
            if not verdict.reasons:
                rows.append([*head, f"({verdict.evidence})", ""])
            for reason in verdict.reasons:
                rows.append([*head, str(reason), reason.fix])
                head = ["", ""]
        return rows

    def _shorten_rows(self) -> list[list[str]]:
        """Return the rows, with only the first few reasons for each target."""
        rows: list[list[str]] = []
        more = 0
        for row in [*self.rows, ["end", "", "", ""]]:
            if row[0]:
                rows += [["", "", f"and {more} more", ""]] if more > 0 else []
                more = -SHOWN
            more += 1
            rows += [row] if more <= 0 else []
        return rows[:-1]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return asdict(self)

    def require(self, *targets: str) -> Preflight:
        """Raise an error if one of the targets cannot run the file; return the result itself.

        Args:
            targets: Names of targets; all targets that were checked if none is given.

        Raises:
            ValueError: If a target cannot run the file; names each such target with its first
                reason.
        """
        failed = [self.verdicts[name] for name in _check_targets(targets or tuple(self.verdicts))]
        failed = [verdict for verdict in failed if verdict.runs == "no"]
        if failed:
            said = "; ".join(f"{verdict.target}: {verdict.reasons[0]}" for verdict in failed)
            raise ValueError(f"{self.path} does not run on {said}")
        return self

    def __str__(self) -> str:
        from keras_dlcourse._tables import text_table

        table = text_table(
            ["target", "", "why", "what to do"], self._shorten_rows(), title=self.path, width=120
        )
        oldest = self.min_runtime_version or "not recorded in the file"
        return f"{table}\noldest TensorFlow Lite according to the converter: {oldest}"


@renamed_arguments(file="path")
def preflight(
    path: str | os.PathLike[str],
    targets: Sequence[str] | None = None,
    *,
    trials: bool = True,
) -> Preflight:
    """Check which device runtimes can run a `.tflite` file, and what prevents the others.

    Each operator's name, version and data types are looked up in a table for the runtime, and the
    runtime's other rules are checked (static shapes, integers only, metadata). If the runtime is
    installed here, the file is also run on it once, in a separate process, because a runtime can
    crash its process; the outcome of this trial is then the verdict.

    Args:
        path: A `.tflite` file from any source, or the result of `to_tflite`.
        targets: The runtimes: any of `"ai-edge-litert"`, `"tflite-runtime"`, `"mediapipe"`,
            `"tflite-micro"`, `"edge-tpu"`, `"gpu-delegate"`; all if None.
        trials: Whether to run the file on installed runtimes; if False, only the tables are used.

    Returns:
        A `Preflight`; `print` it to see a table.

    Raises:
        TypeError: If `targets` is a single string, or `trials` neither True nor False.
        ValueError: If a target is unknown.
        keras_dlcourse.edge.InvalidModel: If the file is not a `.tflite` file, or is damaged.
        OSError: If the file cannot be read.

    Example:
        >>> import keras, tempfile
        >>> import keras_dlcourse as kd
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, "gelu")])
        >>> result = kd.export.to_tflite(model, tempfile.mkdtemp() + "/model.tflite")
        >>> kd.export.preflight(result)["tflite-micro"].runs
        'no'
    """
    names = _check_targets(TARGETS if targets is None else targets)
    check_flag("trials", trials)
    checked = ModelFile.read(os.fspath(path))
    return Preflight(
        path=os.fspath(path),
        verdicts={name: _judge(checked, TARGETS[name], trials) for name in names},
        min_runtime_version=checked.min_runtime_version,
    )


def _check_targets(targets: Sequence[str] | dict[str, Target]) -> tuple[str, ...]:
    if isinstance(targets, str):
        raise TypeError(
            f"targets must be a sequence of names. Received: the single string {targets!r}"
        )
    return tuple(check_one_of("targets", name, tuple(TARGETS)) for name in targets)


def _judge(file: ModelFile, target: Target, trials: bool) -> Verdict:
    reasons = _merge_reasons(
        [*_check_operators(file, target), *(r for name in target.rules for r in RULES[name](file))]
    )
    runs = "yes"
    if reasons:
        runs = "no" if any(reason.certain for reason in reasons) else "unknown"
    tried = _try(file, target) if trials else None
    if tried is None:
        return Verdict(target.name, target.title, runs, reasons, target.source)
    ran, said = tried
    if ran:
        return Verdict(target.name, target.title, "yes", (), "tried here")
    if runs != "no" and _is_open(file):
        why = f"its input has a dynamic size, and it ran with none of the sizes tried: {said}"
        fix = "call resize_tensor_input with the size of your data, or export with fixed sizes"
        reasons = (Reason(None, None, why, fix, certain=False),)
        return Verdict(target.name, target.title, "unknown", reasons, "tried here")
    if runs != "no":
        reasons = (Reason(None, None, f"rejected when tried: {said}", DEFAULT_FIX),)
    return Verdict(target.name, target.title, "no", reasons, "tried here")


def _is_open(file: ModelFile) -> bool:
    """Whether a size other than the batch is dynamic, so that the caller must choose it."""
    return any(-1 in tensor.shape_signature[1:] for tensor in file.inputs)


def _check_operators(file: ModelFile, target: Target) -> Iterator[Reason]:
    """Look up each operator's name, version and data type."""
    for graph in file.graphs:
        for op in graph.operators:
            if op.custom:
                if op.name not in target.custom:
                    yield _make_custom_reason(graph, op)
                continue
            fix = FIXES.get(op.name, DEFAULT_FIX)
            newest = target.operators.get(op.name)
            given = [graph.tensors[index].dtype for index in op.inputs[:1] if index >= 0]
            if newest is None:
                yield make_reason(graph, op, "is not supported by the runtime", fix)
            elif op.version > newest:
                why = f"is version {op.version}, but the runtime supports up to {newest}"
                yield make_reason(graph, op, why, fix)
            elif given and given[0] in target.refused_types.get(op.name, ()):
                why = f"has no kernel for {given[0]}"
                yield make_reason(graph, op, why, _find_fix(given[0], fix))


def _make_custom_reason(graph: Graph, op: Operator) -> Reason:
    """Return the reason for an operator that needs a library the runtime does not include."""
    flex = " and needs TensorFlow on the device" if op.name.startswith("Flex") else ""
    fix = "export it with kd.export.to_tflite, which allows builtin operators only"
    return make_reason(graph, op, f"is not a builtin operator{flex}", fix)


def _find_fix(dtype: str, fix: str) -> str:
    if dtype == "float16":
        return "export with quantization='int8' or 'float32'"
    return "export with quantization='int8'" if dtype == "int16" else fix


def _merge_reasons(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """Keep the first of all reasons that differ only in the layer; put certain ones first."""
    first: dict[tuple[str | None, str], Reason] = {}
    for reason in reasons:
        key = (reason.operator, reason.why)
        first.setdefault(key, reason)
    return tuple(sorted(first.values(), key=lambda reason: not reason.certain))


def _try(file: ModelFile, target: Target) -> tuple[bool, str] | None:
    """Run the file on the runtime in a child process; None if that is not possible here."""
    if target.module is None or importlib.util.find_spec(target.module) is None:
        return None
    with tempfile.TemporaryDirectory(prefix="keras_dlcourse-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(file.content)  # run exactly the bytes that were checked
        command = [sys.executable, trial.__file__, target.name, str(path)]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=SECONDS, encoding="utf-8", errors="replace"
            )
        except (subprocess.TimeoutExpired, OSError):
            return None
    if done.returncode == trial.ABSENT:
        return None
    if done.returncode not in (0, trial.REFUSED):
        return False, f"the runtime crashed (exit status {done.returncode})"
    return done.returncode == 0, _drop_notes(done.stderr)[-200:]


def _drop_notes(log: str) -> str:
    """Return a runtime's errors, without the other messages it logs."""
    lines = [line for line in log.splitlines() if not _NOTE.match(line)]
    return " ".join(" ".join(lines).split())
