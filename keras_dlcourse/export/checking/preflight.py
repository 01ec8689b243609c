"""Which device runtimes run a `.tflite` file, and what stops the others."""

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

from keras_dlcourse.edge.tflite.graph import Graph, Operator
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.export.checking import trial
from keras_dlcourse.export.checking.target_rules import RULES, Reason, of_operator
from keras_dlcourse.export.checking.targets import DEFAULT_FIX, FIXES, TARGETS, Target

SHOWN = 3  # reasons for a target in the printed table
SECONDS = 60  # no trial takes longer; what does is left to the table

# Lines of a log below an error: "INFO: Created ...", "I0000 00:00:17 file.cc:31] ...".
_NOTE = re.compile(r"(INFO|WARNING|VERBOSE|DEBUG):|[IWV]\d{4} |WARNING: All log messages")
_WORDS = {"yes": "runs", "no": "does not run", "unknown": "unknown"}


@dataclass(frozen=True)
class Verdict:
    """Whether one runtime runs the file.

    Attributes:
        target: Name of the runtime in the table.
        title: Its name and version for people.
        runs: `"yes"`, `"no"` or `"unknown"`.
        reasons: What stops it or leaves it open; empty if it runs.
        evidence: What the verdict stands on: a trial on this machine, or which table.
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
    """What `preflight` found. It prints as a table.

    Attributes:
        path: The file.
        verdicts: A verdict by name of the target.
        min_runtime_version: The oldest TensorFlow Lite that the converter says runs it; may be
            empty. Runtimes older than those of the table go by that.
    """

    path: str
    verdicts: dict[str, Verdict]
    min_runtime_version: str

    def __getitem__(self, target: str) -> Verdict:
        return self.verdicts[target]

    @property
    def rows(self) -> list[list[str]]:
        """The cells of the table: target, verdict, reason, what to do; a row for each reason."""
        rows = []
        for verdict in self.verdicts.values():
            head = [verdict.title, _WORDS[verdict.runs]]
            if not verdict.reasons:
                rows.append([*head, f"({verdict.evidence})", ""])
            for reason in verdict.reasons:
                rows.append([*head, str(reason), reason.fix])
                head = ["", ""]
        return rows

    def _shown(self) -> list[list[str]]:
        """Return the rows, but of many reasons for one target the first few."""
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
        """Raise an error if one of the targets cannot run the file; return the findings.

        Args:
            targets: Names of targets; all that were looked at if none is given.

        Raises:
            ValueError: Naming each such target with its first reason.
        """
        failed = [self.verdicts[name] for name in _known(targets or tuple(self.verdicts))]
        failed = [verdict for verdict in failed if verdict.runs == "no"]
        if failed:
            said = "; ".join(f"{verdict.target}: {verdict.reasons[0]}" for verdict in failed)
            raise ValueError(f"{self.path} does not run on {said}")
        return self

    def __str__(self) -> str:
        from keras_dlcourse._tables import text_table

        table = text_table(
            ["target", "", "why", "what to do"], self._shown(), title=self.path, width=120
        )
        oldest = self.min_runtime_version or "not recorded in the file"
        return f"{table}\noldest TensorFlow Lite, as the converter says: {oldest}"


def preflight(
    file: str | os.PathLike[str],
    targets: Sequence[str] | None = None,
    *,
    trials: bool = True,
) -> Preflight:
    """Say on which device runtimes a `.tflite` file runs, and what stops the others.

    Each operator's name, version and types are looked up in a table of the runtime, and the
    runtime's other rules are checked (static shapes, integers only, metadata). Where the runtime is
    installed here, the file is also run on it once, in a process of its own, because a runtime can
    end its process; then what happened is the verdict.

    Args:
        file: A `.tflite` file, anyone's, or what `to_tflite` returned.
        targets: Which runtimes: any of `"ai-edge-litert"`, `"tflite-runtime"`, `"mediapipe"`,
            `"tflite-micro"`, `"edge-tpu"`, `"gpu-delegate"`; all if None.
        trials: Whether to run the file on runtimes that are installed; False goes by the tables.

    Returns:
        A `Preflight`; `print` it for a table.

    Raises:
        ValueError: If a target is not known.
        keras_dlcourse.edge.InvalidModel: If it is no `.tflite` file, or a damaged one.
        OSError: If it cannot be read.

    Example:
        >>> import keras, tempfile
        >>> import keras_dlcourse as kd
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, "gelu")])
        >>> result = kd.export.to_tflite(model, tempfile.mkdtemp() + "/model.tflite")
        >>> kd.export.preflight(result)["tflite-micro"].runs
        'no'
    """
    names = _known(TARGETS if targets is None else targets)
    checked = ModelFile.read(os.fspath(file))
    return Preflight(
        path=os.fspath(file),
        verdicts={name: _judge(checked, TARGETS[name], trials) for name in names},
        min_runtime_version=checked.min_runtime_version,
    )


def _known(targets: Sequence[str] | dict[str, Target]) -> tuple[str, ...]:
    if isinstance(targets, str):
        raise TypeError(f"targets must be a sequence of names; received the one string {targets!r}")
    for name in targets:
        if name not in TARGETS:
            raise ValueError(f"target {name!r} is not known; choose from: {', '.join(TARGETS)}")
    return tuple(targets)


def _judge(file: ModelFile, target: Target, trials: bool) -> Verdict:
    reasons = _merged(
        [*_of_table(file, target), *(r for name in target.rules for r in RULES[name](file))]
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
        why = f"its input has an open size, and none of the sizes that were tried ran: {said}"
        fix = "call resize_tensor_input with the size of your data, or export with fixed sizes"
        reasons = (Reason(None, None, why, fix, certain=False),)
        return Verdict(target.name, target.title, "unknown", reasons, "tried here")
    if runs != "no":
        reasons = (Reason(None, None, f"refused when tried: {said}", DEFAULT_FIX),)
    return Verdict(target.name, target.title, "no", reasons, "tried here")


def _is_open(file: ModelFile) -> bool:
    """Whether a size besides the batch is open, so that the caller has to choose it."""
    return any(-1 in tensor.shape_signature[1:] for tensor in file.inputs)


def _of_table(file: ModelFile, target: Target) -> Iterator[Reason]:
    """Look up each operator's name, version and type."""
    for graph in file.graphs:
        for op in graph.operators:
            if op.custom:
                if op.name not in target.custom:
                    yield _of_custom(graph, op)
                continue
            fix = FIXES.get(op.name, DEFAULT_FIX)
            newest = target.operators.get(op.name)
            given = [graph.tensors[index].dtype for index in op.inputs[:1] if index >= 0]
            if newest is None:
                yield of_operator(graph, op, "is not among its operators", fix)
            elif op.version > newest:
                why = f"is version {op.version}, it knows up to {newest}"
                yield of_operator(graph, op, why, fix)
            elif given and given[0] in target.refused_types.get(op.name, ()):
                why = f"has no kernel for {given[0]}"
                yield of_operator(graph, op, why, _fix_of_type(given[0], fix))


def _of_custom(graph: Graph, op: Operator) -> Reason:
    """Say that an operator needs a library that the runtime does not bring."""
    flex = ", it needs TensorFlow on the device" if op.name.startswith("Flex") else ""
    fix = "export it with kd.export.to_tflite, which allows builtin operators only"
    return of_operator(graph, op, f"is no builtin operator{flex}", fix)


def _fix_of_type(dtype: str, fix: str) -> str:
    if dtype == "float16":
        return "export with quantization='int8' or 'float32'"
    return "export with quantization='int8'" if dtype == "int16" else fix


def _merged(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """Keep the first of reasons that differ only in the layer, certain ones first."""
    first: dict[tuple[str | None, str], Reason] = {}
    for reason in reasons:
        key = (reason.operator, reason.why)
        first.setdefault(key, reason)
    return tuple(sorted(first.values(), key=lambda reason: not reason.certain))


def _try(file: ModelFile, target: Target) -> tuple[bool, str] | None:
    """Run the file on the runtime in a child process; None if that says nothing here."""
    if target.module is None or importlib.util.find_spec(target.module) is None:
        return None
    with tempfile.TemporaryDirectory(prefix="keras_dlcourse-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(file.content)  # what was checked is what runs
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
        return False, f"the runtime ended its process (exit status {done.returncode})"
    return done.returncode == 0, _without_notes(done.stderr)[-200:]


def _without_notes(log: str) -> str:
    """Return what a runtime complained of, without the progress that it reports beside."""
    lines = [line for line in log.splitlines() if not _NOTE.match(line)]
    return " ".join(" ".join(lines).split())
