"""What was found out about an integer file: a table, a picture, and the causes with their fixes."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keras_dlcourse._files import write_bytes
from keras_dlcourse.quantize.diagnosis.causes import Cause

DECENT_DB = 20.0  # below it, answers begin to change


@dataclass(frozen=True)
class LayerDiagnosis:
    """One layer of the float network beside the same layer of the integer file.

    Ratios of signal to noise (SQNR) are in decibels: 20 dB is an error of a tenth of the signal,
    every 6 dB are one bit. They are None where there is no error at all.

    Attributes:
        name: The Keras layer, as well as it can be told.
        operator: What computes it in the file, e.g. `"CONV_2D"`.
        position: Its place among the operators of the float file.
        shape: Shape of what it writes.
        dtype: Type of that in the integer file.
        sqnr_db: SQNR of what it writes: the error of all layers until here.
        own_sqnr_db: SQNR of the same with the error alone that arises here.
        alone_db: SQNR behind this layer, or behind those who read it, if it alone were rounded.
            Unlike `own_sqnr_db` it sees errors in small channels that matter to the next layer.
        error_steps: Mean absolute error in quantization steps; None where it is in float.
        max_error_steps: The largest one.
        range_used: Share of the codes that 99.9 % of the numbers keep to.
        saturated: Share of the float numbers that lie beyond the range.
        causes: What is wrong with it, the most certain first; empty for a healthy layer.
    """

    name: str
    operator: str
    position: int
    shape: tuple[int, ...]
    dtype: str
    sqnr_db: float | None
    own_sqnr_db: float | None
    alone_db: float | None
    error_steps: float | None
    max_error_steps: float | None
    range_used: float | None
    saturated: float | None
    causes: tuple[Cause, ...]


@dataclass(frozen=True)
class Diagnosis:
    """How an integer file differs from its float network, layer by layer. It prints as a table.

    Attributes:
        path: The integer file.
        examples: How many examples were run.
        output_sqnr_db: SQNR of the network's output; None for no error.
        agreement: Share of examples with the same largest output.
        layers: All matched layers in the order of the network.
        unmatched: Operators that have no counterpart in the other file.
        fixed: What `fix=True` made of it, else None.
    """

    path: Path
    examples: int
    output_sqnr_db: float | None
    agreement: float
    layers: tuple[LayerDiagnosis, ...]
    unmatched: tuple[str, ...]
    fixed: Fixed | None = None

    @property
    def worst(self) -> tuple[LayerDiagnosis, ...]:
        """The layers, the one that does most harm first."""
        return tuple(sorted(self.layers, key=lambda layer: _order(layer.alone_db)))

    @property
    def findings(self) -> tuple[tuple[LayerDiagnosis, Cause], ...]:
        """Layers that something is wrong with and the causes, the most harmful first."""
        return tuple((layer, cause) for layer in self.worst for cause in layer.causes)

    @property
    def fixes(self) -> tuple[str, ...]:
        """The names of the fixes, for the most harmful layer first."""
        return tuple(dict.fromkeys(cause.fix for _, cause in self.findings))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return asdict(self) | {
            "path": os.fspath(self.path),
            "fixed": None if self.fixed is None else self.fixed.to_dict(),
        }

    def picture(self, path: str | os.PathLike[str]) -> None:
        """Draw the ratio of signal to noise along the network.

        Args:
            path: The PNG file to write.
        """
        from keras_dlcourse.quantize.diagnosis.picture import draw_diagnosis
        from keras_dlcourse.report.canvas import png_bytes

        write_bytes(path, png_bytes(draw_diagnosis(self)))

    def table(self, most: int | None = 10) -> str:
        """Return the layers as a table, the most harmful first.

        Args:
            most: How many layers; None for all.
        """
        from keras_dlcourse._tables import text_table

        return text_table(
            ["layer", "operator", "alone dB", "here dB", "until here dB", "steps off",
             "codes used", "beyond range"],
            [
                [layer.name, layer.operator, _db(layer.alone_db), _db(layer.own_sqnr_db),
                 _db(layer.sqnr_db), layer.error_steps, _share(layer.range_used),
                 _share(layer.saturated)]
                for layer in self.worst[:most]
            ],
            width=120,
        )  # fmt: skip

    def __str__(self) -> str:
        lines = [
            f"{self.path}: output {_db(self.output_sqnr_db)} dB, the same answer for "
            f"{self.agreement:.1%} of {self.examples} examples",
            "",
            self.table(),
            "",
        ]
        lines += [f"{layer.name} ({layer.operator}): {cause}" for layer, cause in self.findings]
        if not self.findings:
            lines.append("No layer stands out: what is lost is eight-bit rounding as such.")
        if self.unmatched:
            lines.append(f"not compared, fused differently: {', '.join(self.unmatched)}")
        if self.fixed is not None:
            lines += ["", str(self.fixed)]
        return "\n".join(lines)


@dataclass(frozen=True)
class Fixed:
    """What the fixes of a diagnosis made of the file.

    Attributes:
        path: The new file.
        applied: The fixes, in the order in which they were applied.
        not_applied: Fixes that need the user, each with the reason.
        before: SQNR of the old file's output in dB, and its agreement.
        after: The same of the new file.
    """

    path: Path
    applied: tuple[str, ...]
    not_applied: tuple[str, ...]
    before: tuple[float | None, float]
    after: tuple[float | None, float]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return asdict(self) | {"path": os.fspath(self.path)}

    def __str__(self) -> str:
        from keras_dlcourse._tables import text_table

        rows = [
            ["output, dB", _db(self.before[0]), _db(self.after[0])],
            ["same answer as float", f"{self.before[1]:.1%}", f"{self.after[1]:.1%}"],
        ]
        title = f"{self.path}: {', '.join(self.applied) or 'nothing'} applied"
        lines = [text_table(["", "before", "after"], rows, title=title)]
        return "\n".join(lines + [f"not applied: {text}" for text in self.not_applied])


def _order(ratio: float | None) -> float:
    return float("inf") if ratio is None else ratio


def _db(ratio: float | None) -> str:
    return "exact" if ratio is None else f"{ratio:.1f}"


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
