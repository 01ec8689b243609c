"""Checks of single arguments: each returns the converted value, or raises an error of one form."""

from __future__ import annotations

import math
import numbers
import operator
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


def check_integer(name: str, value: Any, least: int) -> int:
    """Return `value` as an int of at least `least`, else raise TypeError or ValueError."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer. Received: {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be {least} or more. Received: {number}")
    return number


def check_below(name: str, value: Any, limit: float) -> float:
    """Return `value` as a float if it is above 0 and below `limit`, else raise ValueError."""
    if not (is_real(value) and math.isfinite(value) and 0 < value < limit):
        raise ValueError(f"{name} must be above 0 and below {limit:.4g}. Received: {value!r}")
    return float(value)


def check_flag(name: str, value: Any) -> bool:
    """Return `value` if it is True or False, else raise ValueError."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False. Received: {value!r}")
    return value


def is_whole(value: object) -> bool:
    """Return whether `value` is an integer. True and False do not count."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_real(value: object) -> bool:
    """Return whether `value` is a real number. True and False do not count."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
