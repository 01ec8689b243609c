"""Score calibration from the standard metadata, as applied by MediaPipe."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_dlcourse.edge.tflite.metadata import ScoreCalibration

_LEAST = np.float32(1e-16)  # MediaPipe's lower bound for arguments of logarithms


def calibrate(scores: np.ndarray, calibration: ScoreCalibration) -> np.ndarray:
    """Return `scale / (1 + exp(-(slope * g(x) + offset)))` for each score x.

    Args:
        scores: float32 array of shape (n, classes).
        calibration: g, and scale, slope, offset and minimum score of each class. Classes without
            parameters and scores below the minimum get the default score.

    Returns:
        float32 array of the same shape.
    """
    parameters = np.array(
        [(0, 0, 0, np.inf) if row is None else row for row in calibration.parameters], np.float64
    )
    scale, slope, offset, least = parameters.T
    exponent = slope * _TRANSFORMATIONS[calibration.transformation](scores) + offset
    calibrated = scale * 0.5 * (1 + np.tanh(0.5 * exponent))  # sigmoid without overflow
    return np.where(scores >= least, calibrated, calibration.default_score).astype(np.float32)


def _log(x: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(x, _LEAST))


_TRANSFORMATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "IDENTITY": lambda x: x,
    "LOG": _log,
    "INVERSE_LOGISTIC": lambda x: _log(x) - _log(1 - x),
}
