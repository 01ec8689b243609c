"""Durations as text."""

from __future__ import annotations


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest units, at least 1 s.

    Example:
        >>> [format_duration(seconds) for seconds in (0.2, 45, 125.2, 600, 5400, 36_060)]
        ['1 s', '45 s', '2 min 5 s', '10 min', '1 h 30 min', '10 h 1 min']
    """
    whole = max(1, round(seconds))
    if whole >= 3600:
        return _join(round(whole / 60), "h", "min")
    return _join(whole, "min", "s")


def _join(number: int, large: str, small: str) -> str:
    parts = zip(divmod(number, 60), (large, small), strict=True)
    return " ".join(f"{count} {unit}" for count, unit in parts if count)
