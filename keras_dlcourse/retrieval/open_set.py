"""From which distance on something is unknown, for a given rate of strangers let in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class OpenSetThreshold(NamedTuple):
    """A threshold, and what it did on the distances that it was chosen on.

    Attributes:
        threshold: Largest distance that is accepted.
        false_accept_rate: Share of strangers accepted.
        true_accept_rate: Share of known ones accepted.
    """

    threshold: float
    false_accept_rate: float
    true_accept_rate: float


def open_set_threshold(
    known: Any, strangers: Any, false_accept_rate: float = 0.01
) -> OpenSetThreshold:
    """Choose the largest threshold that accepts at most a given share of strangers.

    Args:
        known: Distances of validation images to the nearest template, of classes that have
            templates, `(n,)`.
        strangers: The same for images of classes that have none. A rate of 1 % can be told by 100
            of them at the least.
        false_accept_rate: The share of strangers that may be taken for someone, 0 to 1.

    Returns:
        The threshold and both rates; pass `threshold` to `identify`.

    Raises:
        ValueError: If there are no distances of a kind, some are NaN, or the rate is no share.

    Example:
        >>> open_set_threshold([0.1, 0.2, 0.6], [0.5, 0.7, 0.8, 0.9], false_accept_rate=0.25)
        OpenSetThreshold(threshold=0.699..., false_accept_rate=0.25, true_accept_rate=1.0)

    Reference:
        Phillips, Grother, Micheals (2011), Evaluation Methods in Face Recognition, Handbook of Face
        Recognition: the open-set identification task.
    """
    given = {"known": known, "strangers": strangers}
    inside, outside = (_checked(name, values) for name, values in given.items())
    if not 0 <= false_accept_rate <= 1:
        raise ValueError(f"false_accept_rate must be from 0 to 1, got {false_accept_rate!r}")
    outside.sort()
    allowed = int(false_accept_rate * len(outside) + 1e-9)
    if allowed == len(outside):
        limit = np.float32(np.inf)
    else:  # just below the first that must stay out
        limit = np.nextafter(outside[allowed], np.float32(-np.inf))
    return OpenSetThreshold(
        float(limit), float((outside <= limit).mean()), float((inside <= limit).mean())
    )


def _checked(name: str, values: Any) -> np.ndarray:
    distances = np.array(values, np.float32)
    if distances.ndim != 1 or not distances.size or np.isnan(distances).any():
        raise ValueError(
            f"{name} must be distances (n,), at least one and none NaN, got shape "
            f"{distances.shape} with {int(np.isnan(distances).sum())} NaN"
        )
    return distances
