"""What was found out about one layer of an integer file."""

from __future__ import annotations

from dataclasses import dataclass

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
