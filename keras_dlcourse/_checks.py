"""Checks of single arguments, shared by layers and models, so that their messages are uniform."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any


def check_positive_int(argument: str, value: object) -> int:
    """Return `value` as an int if it is an integer of at least 1, else raise ValueError."""
    if is_whole(value) and int(value) >= 1:  # type: ignore[call-overload]
        return int(value)  # type: ignore[call-overload]
    raise ValueError(f"{argument} must be an integer of at least 1. Received: {value!r}")


def check_positive_float(argument: str, value: object) -> float:
    """Return `value` as a float if it is a finite number above 0, else raise ValueError."""
    if is_real(value) and math.isfinite(value) and value > 0:  # type: ignore[arg-type, operator]
        return float(value)  # type: ignore[arg-type]
    raise ValueError(f"{argument} must be a finite number above 0. Received: {value!r}")


def check_fraction(argument: str, value: object) -> float:
    """Return `value` as a float if it is at least 0 and below 1, else raise ValueError."""
    if is_real(value) and 0 <= value < 1:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    raise ValueError(f"{argument} must be at least 0 and below 1. Received: {value!r}")


def check_one_of(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Return `value` if it is one of the choices, else raise ValueError."""
    if not any(value is choice or value == choice for choice in choices):
        known = ", ".join(map(repr, choices))
        raise ValueError(f"{name} must be one of {known}. Received: {value!r}")
    return value


def is_whole(value: object) -> bool:
    """Return whether `value` is an integer. True and False do not count."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_real(value: object) -> bool:
    """Return whether `value` is a real number. True and False do not count."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
