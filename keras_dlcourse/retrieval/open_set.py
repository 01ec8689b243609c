"""Choose the distance above which an image is unknown, for a given false accept rate."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from keras_dlcourse._checks import check_number


class OpenSetThreshold(NamedTuple):
    """A threshold, and its rates on the distances it was chosen from.

    Attributes:
        threshold: Largest accepted distance.
        false_accept_rate: Fraction of strangers accepted.
        true_accept_rate: Fraction of known images accepted.
    """

    threshold: float
    false_accept_rate: float
    true_accept_rate: float


def open_set_threshold(
    known: Any, strangers: Any, false_accept_rate: float = 0.01
) -> OpenSetThreshold:
    """Choose the largest threshold that accepts at most a given fraction of strangers.

    Args:
        known: Distances to the nearest template for validation images of classes with templates,
            `(n,)`.
        strangers: The same for images of classes without templates. A rate of 1 % needs at least
            100 of them.
        false_accept_rate: Fraction of strangers that may be accepted, 0 to 1.

    Returns:
        The threshold and both rates; pass `threshold` to `identify`.

    Raises:
        ValueError: If either array is empty or holds NaN, or the rate is not from 0 to 1.

    Example:
        >>> open_set_threshold([0.1, 0.2, 0.6], [0.5, 0.7, 0.8, 0.9], false_accept_rate=0.25)
        OpenSetThreshold(threshold=0.699..., false_accept_rate=0.25, true_accept_rate=1.0)

    Reference:
        Phillips, Grother, Micheals (2011), Evaluation Methods in Face Recognition, Handbook of Face
        Recognition: the open-set identification task.
    """
    given = {"known": known, "strangers": strangers}
    inside, outside = (_check_distances(name, values) for name, values in given.items())
    check_number("false_accept_rate", false_accept_rate, least=0, most=1)
    outside.sort()
    allowed = int(false_accept_rate * len(outside) + 1e-9)
    if allowed == len(outside):
        limit = np.float32(np.inf)
    else:  # just below the first distance to reject
        limit = np.nextafter(outside[allowed], np.float32(-np.inf))
    return OpenSetThreshold(
        float(limit), float((outside <= limit).mean()), float((inside <= limit).mean())
    )


def _check_distances(name: str, values: Any) -> np.ndarray:
    distances = np.array(values, np.float32)
    if distances.ndim != 1 or not distances.size or np.isnan(distances).any():
        raise ValueError(
            f"{name} must be distances (n,), at least one and none NaN. Received: shape "
            f"{distances.shape} with {int(np.isnan(distances).sum())} NaN."
        )
    return distances
