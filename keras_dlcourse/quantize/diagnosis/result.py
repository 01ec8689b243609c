"""The diagnosis of an integer file: a table, a plot, and the causes with their fixes."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keras_dlcourse._files import write_bytes
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.quantize.diagnosis.causes import Cause
from keras_dlcourse.quantize.diagnosis.layer import LayerDiagnosis


@dataclass(frozen=True)
class Diagnosis:
    """How an integer file differs from its float network, layer by layer. Prints as a table.

    Attributes:
        path: The integer file.
        examples: Number of examples that were run.
        output_sqnr_db: SQNR of the network's output; None for no error.
        agreement: Fraction of examples with the same largest output.
        layers: All matched layers, in network order.
        unmatched: Operators without a counterpart in the other file.
        same_weights: Whether the file was made from the model's weights, perhaps with corrected
            biases or rescaled channels; False if the weights were trained in between, None if that
            cannot be told.
    """

    path: Path
    examples: int
    output_sqnr_db: float | None
    agreement: float
    layers: tuple[LayerDiagnosis, ...]
    unmatched: tuple[str, ...]
    same_weights: bool | None = None

    @property
    def worst(self) -> tuple[LayerDiagnosis, ...]:
        """The layers, the most harmful first."""
        return tuple(sorted(self.layers, key=lambda layer: _order(layer.alone_db)))

    @property
    def findings(self) -> tuple[tuple[LayerDiagnosis, Cause], ...]:
        """The layers with causes, paired with each cause, the most harmful layer first."""
        return tuple((layer, cause) for layer in self.worst for cause in layer.causes)

    @property
    def fixes(self) -> tuple[str, ...]:
        """The names of the fixes, starting with those for the most harmful layer."""
        return tuple(dict.fromkeys(cause.fix for _, cause in self.findings))

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON-serializable values."""
        return asdict(self) | {"path": os.fspath(self.path)}

    def picture(self, path: str | os.PathLike[str]) -> None:
        """Draw the SQNR along the network.

        Args:
            path: The PNG file to write.
        """
        from keras_dlcourse.quantize.diagnosis.picture import draw_layers
        from keras_dlcourse.report.canvas import png_bytes

        write_bytes(path, png_bytes(draw_layers(self.layers)))

    @renamed_arguments(most="limit")
    def table(self, limit: int | None = 10) -> str:
        """Return the layers as a table, the limit harmful first.

        Args:
            limit: Maximum number of layers; None for all.
        """
        from keras_dlcourse._tables import text_table

        return text_table(
            ["layer", "operator", "alone (dB)", "own (dB)", "up to here (dB)", "error (steps)",
             "codes used", "beyond range"],
            [
                [layer.name, layer.operator, format_db(layer.alone_db),
                 format_db(layer.own_sqnr_db), format_db(layer.sqnr_db), layer.error_steps,
                 _share(layer.range_used), _share(layer.saturated)]
                for layer in self.worst[:limit]
            ],
            width=120,
        )  # fmt: skip

    def __str__(self) -> str:
        lines = [
            f"{self.path}: output SQNR {format_db(self.output_sqnr_db)} dB, same answer for "
            f"{self.agreement:.1%} of {self.examples} examples",
            "",
            self.table(),
            "",
        ]
        lines += [f"{layer.name} ({layer.operator}): {cause}" for layer, cause in self.findings]
        if not self.findings:
            lines.append("No layer stands out: the loss comes from 8-bit rounding in general.")
        if self.same_weights is False:
            lines.append(
                "The weights were trained between this model and the file, and the differences "
                "are counted as errors: pass the model that the file was made from."
            )
        if self.unmatched:
            lines.append(f"not compared, because fused differently: {', '.join(self.unmatched)}")
        return "\n".join(lines)


def _order(ratio: float | None) -> float:
    return float("inf") if ratio is None else ratio


def format_db(ratio: float | None) -> str:
    """Format an SQNR in dB."""
    return "exact" if ratio is None else f"{ratio:.1f}"


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
