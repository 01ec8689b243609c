"""The diagnosis of one layer of an integer file."""

from __future__ import annotations

from dataclasses import dataclass

from keras_dlcourse.quantize.diagnosis.causes import Cause

DECENT_DB = 20.0  # below this, answers begin to change


@dataclass(frozen=True)
class LayerDiagnosis:
    """One layer of the float network compared with the same layer of the integer file.

    Signal-to-quantization-noise ratios (SQNR) are in decibels: 20 dB is an error of a tenth of the
    signal, and 6 dB correspond to one bit. They are None if there is no error at all.

    Attributes:
        name: The Keras layer, as far as it can be determined.
        operator: The operator that computes it in the file, e.g. `"CONV_2D"`.
        position: Its index among the operators of the float file.
        shape: Shape of its output.
        dtype: Type of its output in the integer file.
        sqnr_db: SQNR of its output: the error of all layers up to here.
        own_sqnr_db: SQNR of its output, counting only the error that originates in this layer.
        alone_db: SQNR after this layer, or after the layers that read it, if only this layer were
            rounded. Unlike `own_sqnr_db`, it reflects errors in small channels that matter to the
            next layer.
        error_steps: Mean absolute error in quantization steps; None if the layer is in float.
        max_error_steps: Largest absolute error in quantization steps.
        range_used: Fraction of the codes that 99.9 % of the values use.
        saturated: Fraction of the float values that lie beyond the range.
        causes: The causes found, the most certain first; empty for a healthy layer.
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
