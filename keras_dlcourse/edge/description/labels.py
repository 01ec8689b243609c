"""Class names, in any form that assigns each one a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral
from typing import IO, Any

Labels = Sequence[str] | Mapping[int, str] | Mapping[str, int] | IO[Any]


def order_labels(labels: Any, name: str = "labels") -> tuple[str, ...]:
    """Return the class names in the order of their numbers, stripped of surrounding whitespace.

    Args:
        labels: A sequence of names in the order of the model's outputs; a dictionary of numbers to
            names (`{0: "cat"}`, in JSON `{"0": "cat"}`) or of names to numbers (`{"cat": 0}`); or
            an open file with one name per line.
        name: Name of the argument, used in error messages.

    Raises:
        TypeError: If it is a set, which has no order, a single string, or another type.
        ValueError: If the numbers in a dictionary are not 0, 1, 2 and so on, or a name cannot be
            encoded in UTF-8, the encoding of all files.

    Example:
        >>> order_labels({"dog": 1, "cat": 0})
        ('cat', 'dog')
    """
    if isinstance(labels, str | bytes):
        raise TypeError(
            f"{name} must be a sequence of names. Received: {labels!r}, which is a single string."
        )
    if isinstance(labels, Set):
        raise TypeError(
            f"{name} must be in the order of the model's outputs. Received: a "
            f"{type(labels).__name__}, which has no order. Pass a list."
        )
    if isinstance(labels, Mapping):
        labels = _sort_by_number(labels, name)
    elif hasattr(labels, "read"):
        labels = parse_labels(_text(labels.read()))
    elif not isinstance(labels, Iterable):
        raise TypeError(
            f"{name} must be a sequence of names, a dictionary of numbers and names, or an open "
            f"text file. Received: {type(labels).__name__}"
        )
    return tuple(_check_label(label, name) for label in labels)


def check_class_names(names: Any, name: str = "class_names") -> tuple[str, ...]:
    """Validate the class names of a model to train: at least one, none empty, no duplicates.

    Args:
        names: Names as in `order_labels`, but strings only; numbers are not accepted.
        name: Name of the argument, used in error messages.

    Raises:
        TypeError: If it is not a sequence of strings, a dictionary or an open file.
        ValueError: If there are no names, or a name is empty or repeated.

    Example:
        >>> check_class_names(["cat", "dog"])
        ('cat', 'dog')
    """
    if not isinstance(names, Mapping | Set) and not hasattr(names, "read"):
        is_sequence = isinstance(names, Iterable) and not isinstance(names, str | bytes)
        listed = list(names) if is_sequence else [None]
        if not all(isinstance(each, str) for each in listed):
            raise TypeError(f"{name} must be a sequence of strings. Received: {names!r}")
        names = listed
    names = order_labels(names, name)
    if not names or not all(names):
        raise ValueError(
            f"{name} must have at least one name, and none may be empty. Received: {list(names)}"
        )
    repeated = sorted({each for each in names if names.count(each) > 1})
    if repeated:
        raise ValueError(f"{name} must be unique. Received more than once: {', '.join(repeated)}")
    return names


def _sort_by_number(labels: Mapping[Any, Any], name: str) -> list[Any]:
    """Return the names in a dictionary of numbers to names or of names to numbers, in order."""
    keys, values = list(labels), list(labels.values())
    if all(map(_is_name, keys)) and all(map(_is_number, values)):
        numbers, names = [int(value) for value in values], keys
    elif all(map(_is_name, values)) and all(_is_number(key) or _is_digits(key) for key in keys):
        numbers, names = [int(key) for key in keys], values
    else:
        raise TypeError(
            f"{name} must be a dictionary of class numbers to names, or of names to class numbers. "
            f"Received: {_format_entries(labels)}"
        )
    if sorted(numbers) != list(range(len(numbers))):
        raise ValueError(
            f"{name} must number the classes from 0 to {len(numbers) - 1}, each once. Received: "
            f"the numbers {', '.join(map(str, sorted(numbers)))}"
        )
    return [label for _, label in sorted(zip(numbers, names, strict=True))]


def _is_name(value: Any) -> bool:
    return isinstance(value, str | bytes)


def _is_number(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_digits(value: Any) -> bool:
    return isinstance(value, str) and value.strip().isdecimal()


def _check_label(label: Any, name: str) -> str:
    if not _is_name(label) and not _is_number(label):
        raise TypeError(f"{name} must contain only names. Received: {label!r} among them")
    text = _text(label).strip()
    if not is_text(text):
        raise ValueError(f"{name} must be text that UTF-8 can encode. Received: {text!r}")
    return text


def _text(value: Any) -> str:
    return value.decode("utf-8-sig") if isinstance(value, bytes) else str(value)


def _format_entries(labels: Mapping[Any, Any]) -> str:
    """Return the first few entries as text."""
    shown = ", ".join(f"{key!r}: {value!r}" for key, value in list(labels.items())[:3])
    return f"{{{shown}{', ...' if len(labels) > 3 else ''}}}"


def parse_labels(text: str) -> tuple[str, ...]:
    """Return the labels in a text with one label per line; trailing empty lines are ignored.

    Example:
        >>> parse_labels("shirt\\ncoat\\n")
        ('shirt', 'coat')
    """
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    return tuple(lines) if lines != [""] else ()


def is_text(label: str) -> bool:
    """Whether UTF-8 can encode a label; it cannot encode surrogates from undecodable file names.

    Example:
        >>> is_text("café"), is_text("caf\\udce9")
        (True, False)
    """
    try:
        label.encode()
    except UnicodeEncodeError:
        return False
    return True
