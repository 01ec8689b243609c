"""The file of a gallery: strict, hashed, and bound to the model whose vectors it holds.

    8 bytes     "KDGALLR1"
    32 bytes    SHA-256 of all that follows
    4 bytes     length of the header, little-endian
    header      JSON in UTF-8
    4 bytes     for each template: the number of its label
    4 d bytes   for each template: its vector, float32

A file is read as a whole and every number in it is checked before any is used.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from keras_dlcourse.edge.description.labels import is_text
from keras_dlcourse.edge.search.nearest import METRICS
from keras_dlcourse.edge.tflite.checksums import sha256

if TYPE_CHECKING:
    from keras_dlcourse.edge.vision.embedder import ImageEmbedder

MAGIC = b"KDGALLR1"
MATCHES = ("nearest", "mean")
_LENGTH = struct.Struct("<I")
_BODY = len(MAGIC) + 32
_KEYS = {"dimensions", "labels", "match", "metric", "model", "settings", "templates", "threshold"}


class InvalidGallery(ValueError):
    """A file that is no gallery, or a damaged one."""


@dataclass(frozen=True)
class GalleryContent:
    """What the file of a gallery holds.

    Attributes:
        model: SHA-256 of the `.tflite` file whose vectors these are, in hexadecimal.
        settings: What else decided on the vectors, see `ImageEmbedder.settings`.
        match: `"nearest"` or `"mean"`.
        metric: How distances are measured, see `nearest`.
        threshold: Largest distance at which an image is named; None for any.
        labels: The label of each template.
        vectors: The templates, float32 `(templates, dimensions)`.
    """

    model: str
    settings: dict[str, Any]
    match: str
    metric: str
    threshold: float | None
    labels: tuple[str, ...]
    vectors: np.ndarray


def pack(content: GalleryContent) -> bytes:
    """Return the file's bytes; the same gallery gives the same file."""
    import json

    names = list(dict.fromkeys(content.labels))
    number = {label: place for place, label in enumerate(names)}
    header = {
        "dimensions": content.vectors.shape[1],
        "labels": names,
        "match": content.match,
        "metric": content.metric,
        "model": content.model,
        "settings": content.settings,
        "templates": len(content.labels),
        "threshold": content.threshold,
    }
    text = json.dumps(header, sort_keys=True, ensure_ascii=False).encode()
    owners = np.array([number[label] for label in content.labels], "<u4")
    body = b"".join(
        (_LENGTH.pack(len(text)), text, owners.tobytes(), content.vectors.astype("<f4").tobytes())
    )
    return MAGIC + sha256(body) + body


def file_hash(data: bytes) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return sha256(data).hex()


def unpack(data: bytes, what: str) -> GalleryContent:
    """Return what the bytes of a file hold, all of it checked.

    Args:
        data: The whole file.
        what: What errors call it.

    Raises:
        InvalidGallery: If it is no gallery or a damaged one.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise InvalidGallery(f"{what} is not a gallery: it does not begin with {MAGIC.decode()}")
    body = data[_BODY:]
    if sha256(body) != data[len(MAGIC) : _BODY]:
        raise InvalidGallery(f"{what} is damaged or truncated: its SHA-256 does not fit")
    # From here on only a file that was made wrong can fail.
    header, rest = _header(body, what)
    names = _labels(header["labels"], what)
    count, width = (_whole(header, key, what) for key in ("templates", "dimensions"))
    if len(rest) != 4 * count * (1 + width):
        _refuse(what, f"{len(rest)} bytes of templates, {count} x {width} were announced")
    owners = np.frombuffer(rest, "<u4", count)
    if set(owners.tolist()) != set(range(len(names))):
        _refuse(what, f"its templates do not belong to its {len(names)} labels")
    vectors = np.frombuffer(rest, "<f4", count * width, 4 * count).astype("float32")
    if not np.isfinite(vectors).all():
        _refuse(what, "a template with NaN or infinity")
    return GalleryContent(
        model=_model(header["model"], what),
        settings=_settings(header["settings"], what),
        match=_one_of(header, "match", MATCHES, what),
        metric=_one_of(header, "metric", METRICS, what),
        threshold=_threshold(header["threshold"], what),
        labels=tuple(names[owner] for owner in owners.tolist()),
        vectors=vectors.reshape(count, width),
    )


def check_made_with(
    content: GalleryContent, model: str, embedder: ImageEmbedder, what: str
) -> None:
    """Refuse a gallery whose vectors cannot be compared with an embedder's.

    Args:
        content: What the file holds.
        model: SHA-256 of the embedder's file.
        embedder: The embedder.
        what: What errors call the gallery.

    Raises:
        ValueError: If it was made with another model, or under other options.
        InvalidGallery: If it says to be made with this one, but has vectors of another length.
    """
    if content.model != model:
        raise ValueError(
            f"{what} was made with another model (SHA-256 {content.model[:12]}...) than "
            f"{embedder.model_file.what} ({model[:12]}...); their vectors cannot be compared: "
            "enroll the images again"
        )
    for name, value in embedder.settings.items():
        if content.settings.get(name) != value:
            raise ValueError(
                f"{what} was made with {name}={content.settings.get(name)}, but this embedder has "
                f"{name}={value}; their vectors cannot be compared"
            )
    if content.vectors.shape[1] != embedder.dimensions:
        raise InvalidGallery(
            f"{what} has vectors of {content.vectors.shape[1]} numbers, but "
            f"{embedder.model_file.what} gives {embedder.dimensions}"
        )


def checked_label(label: Any) -> str:
    """Return a label that can stand in a line of text.

    Raises:
        TypeError: If it is no string.
        ValueError: If it is empty or holds a line break, or what UTF-8 has no place for.
    """
    if not isinstance(label, str):
        raise TypeError(f"label must be a string, got {label!r}")
    if not label.strip() or len(label.splitlines()) != 1 or not is_text(label):
        raise ValueError(f"label must be one line of text that is not empty, got {label!r}")
    return str(label)


def _refuse(what: str, reason: str) -> NoReturn:
    raise InvalidGallery(f"{what} is not a gallery that can be read: {reason}")


def _header(body: bytes, what: str) -> tuple[dict[str, Any], bytes]:
    """Return the header and what follows it."""
    import json

    if len(body) < _LENGTH.size:
        _refuse(what, "it ends before its header")
    end = _LENGTH.size + _LENGTH.unpack_from(body)[0]
    if end > len(body):
        _refuse(what, "it ends inside its header")
    try:
        header = json.loads(body[_LENGTH.size : end].decode())
    except (ValueError, RecursionError) as error:
        _refuse(what, f"its header is no JSON ({error})")
    if not isinstance(header, dict) or set(header) != _KEYS:
        _refuse(what, f"its header must hold {', '.join(sorted(_KEYS))}")
    return header, body[end:]


def _whole(header: dict[str, Any], key: str, what: str) -> int:
    value = header[key]
    if type(value) is not int or value < (1 if key == "dimensions" else 0):
        _refuse(what, f"{key}={_short(value)} is no number of {key}")
    return int(value)


def _labels(names: Any, what: str) -> list[str]:
    if not isinstance(names, list):
        _refuse(what, "its labels are no list")
    try:
        labels = [checked_label(name) for name in names]
    except (TypeError, ValueError) as error:
        _refuse(what, str(error))
    if len(set(labels)) != len(labels):
        _refuse(what, "it names a label twice")
    return labels


def _model(value: Any, what: str) -> str:
    if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
        _refuse(what, f"model={_short(value)} is no SHA-256")
    return value


def _settings(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(what, f"settings={_short(value)} is no table")
    return value


def _one_of(header: dict[str, Any], key: str, known: tuple[str, ...], what: str) -> str:
    value = header[key]
    if not isinstance(value, str) or value not in known:
        _refuse(what, f"{key}={_short(value)} is none of {', '.join(known)}")
    return value


def _threshold(value: Any, what: str) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float):
        _refuse(what, f"threshold={_short(value)} is no distance")
    try:
        number = float(value)
    except OverflowError:
        number = math.nan
    if math.isnan(number):
        _refuse(what, f"threshold={_short(value)} is no distance")
    return number


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 1 << 64 else "a huge number"
    return text if len(text) <= 60 else f"{text[:57]}..."
