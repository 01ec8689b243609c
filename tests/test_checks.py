"""TypeError for a value of the wrong type, ValueError for one that is not allowed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_dlcourse._checks import (
    check_flag,
    check_folder,
    check_fraction,
    check_integer,
    check_number,
    check_one_of,
)

VERSION = (1, 2, None)

WRONG = [
    (check_integer, ("k", "3"), TypeError, "k must be an integer of at least 1. Received: '3'"),
    (check_integer, ("k", None), TypeError, "Received: None"),
    (check_integer, ("k", True), TypeError, "Received: True"),
    (check_integer, ("k", 2.0), TypeError, "Received: 2.0"),
    (check_integer, ("k", 0), ValueError, "k must be an integer of at least 1. Received: 0"),
    (check_integer, ("k", 9, 0, 8), ValueError, "k must be an integer from 0 to 8. Received: 9"),
    (check_fraction, ("p", "0.5"), TypeError, "p must be a number of at least 0 and below 1"),
    (check_fraction, ("p", False), TypeError, "Received: False"),
    (check_fraction, ("p", 1), ValueError, "Received: 1"),
    (check_fraction, ("p", float("nan")), ValueError, "Received: nan"),
    (check_number, ("x", None), TypeError, "x must be a finite number. Received: None"),
    (check_number, ("x", float("inf")), ValueError, "x must be a finite number. Received: inf"),
    (check_one_of, ("by", 3, ("a", "b")), TypeError, "by must be one of 'a', 'b'. Received: 3"),
    (check_one_of, ("by", "c", ("a", "b")), ValueError, "Received: 'c'"),
    (check_one_of, ("by", True, VERSION), TypeError, "by must be one of 1, 2, None"),
    (check_one_of, ("by", np.int64(3), VERSION), ValueError, "Received: .*3"),
    (check_one_of, ("by", np.zeros(2), VERSION), TypeError, "Received: array"),
    (check_flag, ("on", 1), TypeError, "on must be True or False. Received: 1"),
    (check_folder, ("folder", 3), TypeError, "folder must be a folder path. Received: 3"),
    (check_folder, ("folder", ""), ValueError, "folder must be a folder path. Received: ''"),
]


@pytest.mark.parametrize(("check", "arguments", "error", "message"), WRONG)
def test_wrong_values(check, arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        check(*arguments)


@pytest.mark.parametrize(
    ("bounds", "good", "bad", "message"),
    [
        ({"above": 0}, 1e-9, 0, "a finite number above 0"),
        ({"least": 0}, 0, -1, "a finite number of at least 0"),
        ({"least": 0, "most": 1}, 1, 1.01, "a number from 0 to 1"),
        ({"above": 0, "most": 1}, 1, 0, "a number above 0 and at most 1"),
        ({"above": 0, "below": 2}, 1.99, 2, "a number above 0 and below 2"),
    ],
)
def test_bounds(bounds, good, bad, message) -> None:
    found = check_number("x", good, **bounds)
    assert type(found) is float and found == good
    with pytest.raises(ValueError, match=f"x must be {message}. Received: {bad}"):
        check_number("x", bad, **bounds)


def test_good_values_become_plain() -> None:
    assert type(check_integer("k", np.int32(3))) is int
    assert type(check_number("x", np.float32(0.5))) is float
    assert type(check_one_of("version", np.int64(2), VERSION)) is int
    assert check_one_of("version", None, VERSION) is None
    assert check_folder("folder", Path("runs")) == Path("runs")
