"""The gallery file format: strict, hashed, and bound to the model of its vectors.

    8 bytes     "KDGALLR1"
    32 bytes    SHA-256 of everything that follows
    4 bytes     length of the header, little-endian
    header      JSON in UTF-8
    4 bytes     for each template: the index of its label
    4 d bytes   for each template: its vector, float32

The whole file is read and every value in it is checked before any is used.
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
    """A file is not a gallery, or is damaged."""


@dataclass(frozen=True)
class GalleryContent:
    """Content of a gallery file.

    Attributes:
        model: SHA-256 of the `.tflite` file that computed the vectors, in hexadecimal.
        settings: Other settings that affect the vectors, see `ImageEmbedder.settings`.
        match: `"nearest"` or `"mean"`.
        metric: Distance between vectors, see `nearest`.
        threshold: Largest distance at which an image is identified; None for any.
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
    """Return the bytes of the file; equal galleries give equal files."""
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
    """Return the validated content of a gallery file.

    Args:
        data: The whole file.
        what: Name of the file, used in error messages.

    Raises:
        InvalidGallery: If it is not a gallery, or is damaged.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise InvalidGallery(f"{what} is not a gallery: it does not begin with {MAGIC.decode()}")
    body = data[_BODY:]
    if sha256(body) != data[len(MAGIC) : _BODY]:
        raise InvalidGallery(f"{what} is damaged or truncated: its SHA-256 does not match")
    # From here on, only a file that was written incorrectly can fail.
    header, rest = _header(body, what)
    names = _labels(header["labels"], what)
    count, width = (_read_count(header, key, what) for key in ("templates", "dimensions"))
    if len(rest) != 4 * count * (1 + width):
        _refuse(
            what, f"it has {len(rest)} bytes of templates, but its header says {count} x {width}"
        )
    owners = np.frombuffer(rest, "<u4", count)
    if set(owners.tolist()) != set(range(len(names))):
        _refuse(what, f"its templates do not match its {len(names)} labels")
    vectors = np.frombuffer(rest, "<f4", count * width, 4 * count).astype("float32")
    if not np.isfinite(vectors).all():
        _refuse(what, "a template contains NaN or infinity")
    return GalleryContent(
        model=_model(header["model"], what),
        settings=_settings(header["settings"], what),
        match=_read_choice(header, "match", MATCHES, what),
        metric=_read_choice(header, "metric", METRICS, what),
        threshold=_threshold(header["threshold"], what),
        labels=tuple(names[owner] for owner in owners.tolist()),
        vectors=vectors.reshape(count, width),
    )


def check_made_with(
    content: GalleryContent, model: str, embedder: ImageEmbedder, what: str
) -> None:
    """Reject a gallery whose vectors cannot be compared with those of an embedder.

    Args:
        content: Content of the gallery file.
        model: SHA-256 of the embedder's file.
        embedder: The embedder.
        what: Name of the gallery, used in error messages.

    Raises:
        ValueError: If it was made with another model or with other options.
        InvalidGallery: If it claims to be made with this model, but has vectors of another length.
    """
    if content.model != model:
        raise ValueError(
            f"{what} was made with another model (SHA-256 {content.model[:12]}...) than "
            f"{embedder.model_file.what} ({model[:12]}...), so their vectors cannot be compared. "
            "Enroll the images again."
        )
    for name, value in embedder.settings.items():
        if content.settings.get(name) != value:
            raise ValueError(
                f"{what} was made with {name}={content.settings.get(name)}, but this embedder has "
                f"{name}={value}, so their vectors cannot be compared"
            )
    if content.vectors.shape[1] != embedder.dimensions:
        raise InvalidGallery(
            f"{what} has vectors of {content.vectors.shape[1]} dimensions, but "
            f"{embedder.model_file.what} returns {embedder.dimensions}"
        )


def check_label(label: Any) -> str:
    """Return a label after checking that it fits on one line of text.

    Raises:
        TypeError: If it is not a string.
        ValueError: If it is empty, contains a line break, or cannot be encoded in UTF-8.
    """
    if not isinstance(label, str):
        raise TypeError(f"label must be a string. Received: {label!r}")
    if not label.strip() or len(label.splitlines()) != 1 or not is_text(label):
        raise ValueError(f"label must be one line of non-empty UTF-8 text. Received: {label!r}")
    return str(label)


def _refuse(what: str, reason: str) -> NoReturn:
    raise InvalidGallery(f"{what} is not a valid gallery: {reason}")


def _header(body: bytes, what: str) -> tuple[dict[str, Any], bytes]:
    """Return the header and the data after it."""
    import json

    if len(body) < _LENGTH.size:
        _refuse(what, "it ends before its header")
    end = _LENGTH.size + _LENGTH.unpack_from(body)[0]
    if end > len(body):
        _refuse(what, "it ends inside its header")
    try:
        header = json.loads(body[_LENGTH.size : end].decode())
    except (ValueError, RecursionError) as error:
        _refuse(what, f"its header is not JSON ({error})")
    if not isinstance(header, dict) or set(header) != _KEYS:
        _refuse(what, f"its header must have the keys {', '.join(sorted(_KEYS))}")
    return header, body[end:]


def _read_count(header: dict[str, Any], key: str, what: str) -> int:
    value = header[key]
    if type(value) is not int or value < (1 if key == "dimensions" else 0):
        _refuse(what, f"{key}={_shorten(value)} is not a valid number of {key}")
    return int(value)


def _labels(names: Any, what: str) -> list[str]:
    if not isinstance(names, list):
        _refuse(what, "its labels are not a list")
    try:
        labels = [check_label(name) for name in names]
    except (TypeError, ValueError) as error:
        _refuse(what, str(error))
    if len(set(labels)) != len(labels):
        _refuse(what, "it has duplicate labels")
    return labels


def _model(value: Any, what: str) -> str:
    if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
        _refuse(what, f"model={_shorten(value)} is not a SHA-256 hash")
    return value


def _settings(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(what, f"settings={_shorten(value)} is not a JSON object")
    return value


def _read_choice(header: dict[str, Any], key: str, known: tuple[str, ...], what: str) -> str:
    value = header[key]
    if not isinstance(value, str) or value not in known:
        _refuse(what, f"{key}={_shorten(value)} is not one of {', '.join(known)}")
    return value


def _threshold(value: Any, what: str) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float):
        _refuse(what, f"threshold={_shorten(value)} is not a distance")
    try:
        number = float(value)
    except OverflowError:
        number = math.nan
    if math.isnan(number):
        _refuse(what, f"threshold={_shorten(value)} is not a distance")
    return number


def _shorten(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 1 << 64 else "a huge number"
    return text if len(text) <= 60 else f"{text[:57]}..."
