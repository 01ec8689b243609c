"""Checks of single arguments. Each returns the converted value, or raises an error of one form.

The error is a TypeError if the type of the value is wrong, such as a string or True where a count
is expected, and a ValueError if the type is right but the value is not allowed.
"""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Sequence
from typing import Any


def check_integer(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Return `value` as an int if it is an integer of at least `least` and at most `most`."""
    expected = f"an integer of at least {least}"
    if most is not None:
        expected = f"an integer from {least} to {most}"
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(_message(name, expected, value))
    if number < least or (most is not None and number > most):
        raise ValueError(_message(name, expected, value))
    return number


def check_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> float:
    """Return `value` as a float if it is a finite real number within the bounds.

    Args:
        name: Name of the argument.
        value: The value received.
        least: Lower bound, itself allowed.
        above: Lower bound, itself not allowed.
        most: Upper bound, itself allowed.
        below: Upper bound, itself not allowed.
    """
    real = is_real(value)
    within = (
        real
        and math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )
    if within:
        return float(value)
    words = {"of at least": least, "above": above, "at most": most, "below": below}
    bounds = {word: bound for word, bound in words.items() if bound is not None}
    expected = " and ".join(f"{word} {bound:.4g}" for word, bound in bounds.items())
    if least is not None and most is not None:
        expected = f"from {least:.4g} to {most:.4g}"
    expected = f"a {'finite ' * (len(bounds) < 2)}number {expected}".rstrip()
    raise (ValueError if real else TypeError)(_message(name, expected, value))


def check_fraction(name: str, value: Any) -> float:
    """Return `value` as a float if it is at least 0 and below 1."""
    return check_number(name, value, least=0, below=1)


def check_one_of(name: str, value: Any, choices: Sequence[Any], why: str = "") -> Any:
    """Return the choice that `value` equals. `why` is added to the error: the reason, or a hint."""
    alike = [choice for choice in choices if _is_alike(value, choice)]
    for choice in alike:
        if value == choice:
            return choice
    error = ValueError if alike else TypeError
    raise error(_message(name, f"one of {', '.join(map(repr, choices))}", value) + why)


def check_flag(name: str, value: Any) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(_message(name, "True or False", value))
    return value


def check_folder(name: str, value: Any) -> str | os.PathLike[str]:
    """Return `value` if it is a path: an `os.PathLike`, or a string that is not empty."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(_message(name, "a folder path", value))
    if not os.fspath(value):
        raise ValueError(_message(name, "a folder path", value))
    return value


def is_whole(value: object) -> bool:
    """Return whether `value` is an integer. True and False do not count."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_real(value: object) -> bool:
    """Return whether `value` is a real number. True and False do not count."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_alike(value: object, choice: object) -> bool:
    """Return whether `value` has the type of `choice`; all integers have one type."""
    if type(value) is type(choice):
        return True
    return is_whole(value) if is_whole(choice) else isinstance(value, type(choice))


def _message(name: str, expected: str, value: object) -> str:
    return f"{name} must be {expected}. Received: {value!r}"
