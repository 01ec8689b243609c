"""Write, inspect, verify and bundle `.tflite` files."""

from keras_dlcourse._extras import require

require("keras_dlcourse.export", "tensorflow", "keras", "flatbuffers", "ai_edge_litert")

from keras_dlcourse.export.bundle import bundle  # noqa: E402
from keras_dlcourse.export.device_model import ExportError  # noqa: E402
from keras_dlcourse.export.inspection import Inspection, inspect  # noqa: E402
from keras_dlcourse.export.micro import MicroResult, micro  # noqa: E402
from keras_dlcourse.export.preflight import Preflight, Verdict, preflight  # noqa: E402
from keras_dlcourse.export.to_tflite import ExportResult, to_tflite  # noqa: E402
from keras_dlcourse.export.verification import (  # noqa: E402
    Verification,
    VerificationError,
    verify,
)

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
