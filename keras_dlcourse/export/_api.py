"""The public names of `keras_dlcourse.export`."""

from keras_dlcourse._extras import require

require("keras_dlcourse.export", "tensorflow", "keras", "flatbuffers", "ai_edge_litert")

from keras_dlcourse.export.checking.inspection import Inspection, inspect
from keras_dlcourse.export.checking.preflight import Preflight, Verdict, preflight
from keras_dlcourse.export.checking.verification import (
    Verification,
    VerificationError,
    verify,
)
from keras_dlcourse.export.conversion.errors import ExportError
from keras_dlcourse.export.shipping.bundle import bundle
from keras_dlcourse.export.shipping.micro import MicroResult, micro
from keras_dlcourse.export.to_tflite import ExportResult, to_tflite

__all__ = [
    "ExportError",
    "ExportResult",
    "Inspection",
    "MicroResult",
    "Preflight",
    "Verdict",
    "Verification",
    "VerificationError",
    "bundle",
    "inspect",
    "micro",
    "preflight",
    "to_tflite",
    "verify",
]
