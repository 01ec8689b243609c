"""Rows to search, stored as float32 or int8 codes, with quantities cached for every search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer, check_one_of

SHORTEST, LONGEST = 1e-15, 1e15  # range of row norms whose squares are accurate in float32
_CODE = 127
_CHUNK = 1 << 20  # values processed at once


class Vectors:
    """Embeddings with their norms; rows can be searched, added and removed.

    With int8, a row is `codes * scale`, `scale = max|row| / 127`: a quarter of the memory, plus two
    floats per row. A search then returns distances to these rows, whose values are off by at most
    `scale / 2`. With `originals`, a search rereads the candidates and is exact: the error of each
    row is known, so no neighbor is missed.

    Args:
        rows: Finite values `(n, dimension)`; None starts empty.
        dtype: `"float32"` or `"int8"`.
        dimension: Length of a row; required only if `rows` is None.
        originals: For int8, the same rows as float32. They need not be in memory, e.g.
            `np.load(path, mmap_mode="r")`. Vectors with originals cannot be added to or removed
            from.

    Raises:
        ValueError: If rows have a wrong shape, or contain NaN, infinity or vectors longer than
            1e15.
        TypeError: If rows are not numeric, or `dtype` or `dimension` has the wrong type.

    Example:
        >>> vectors = Vectors([[3.0, 4.0], [0.0, 1.0]], dtype="int8")
        >>> vectors.add([[1.0, 0.0]])
        >>> vectors.remove([0])
        >>> vectors.rows().tolist(), vectors.norms.tolist()
        ([[0.0, 1.0], [1.0, 0.0]], [1.0, 1.0])
    """

    _weights: np.ndarray | None
    _offsets: np.ndarray | None

    def __init__(
        self,
        rows: Any = None,
        *,
        dtype: str = "float32",
        dimension: int | None = None,
        originals: Any = None,
    ) -> None:
        dtype = check_one_of("dtype", dtype, ("float32", "int8"))
        dimension = None if dimension is None else check_integer("dimension", dimension)
        if rows is None:
            if dimension is None:
                raise ValueError("Vectors without rows require dimension=, the length of a row")
            rows = np.zeros((0, dimension), "float32")
        rows = check_rows(rows, "rows", dimension)
        self.dtype, self.dimension = dtype, int(rows.shape[1])
        self._buffers = dict(zip(self._names(), self._make_parts(rows, copy=True), strict=True))
        self._start(len(rows))
        if originals is not None:
            self._keep_originals(rows, originals)

    @classmethod
    def over(cls, rows: Any) -> Vectors:
        """Return float32 vectors over an array, which is not copied if it is already float32.

        Args:
            rows: Finite values `(n, dimension)`; do not modify them while the vectors are in use.
        """
        vectors = cls.__new__(cls)
        rows = check_rows(rows, "gallery")
        vectors.dtype, vectors.dimension = "float32", int(rows.shape[1])
        made = vectors._make_parts(rows, copy=False)
        vectors._buffers = dict(zip(vectors._names(), made, strict=True))
        vectors._start(len(rows))
        return vectors

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Vectors:
        """Return vectors from the output of `arrays()`.

        Args:
            arrays: `{"rows"}` of float32, or `{"codes", "scales"}` of int8 and float32.

        Raises:
            ValueError: If the arrays do not match.
        """
        if "rows" in arrays:
            return cls.over(arrays["rows"])
        codes, scales = arrays["codes"], arrays["scales"]
        if codes.dtype != np.int8 or codes.ndim != 2 or scales.shape != codes.shape[:1]:
            raise ValueError(
                "codes must be int8 (n, dimension) with a scale for each row. Received: "
                f"{codes.dtype} {codes.shape} and scales {scales.shape}"
            )
        scales = check_rows(scales[:, None], "scales")[:, 0]
        vectors = cls(dtype="int8", dimension=codes.shape[1])
        norms = _check_norms(_norms(codes) * scales)
        vectors._buffers = {"codes": codes, "scales": scales, "norms": norms}
        vectors._start(len(codes))
        return vectors

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to write to a file: `rows`, or `codes` and `scales`."""
        return {name: self._part(name) for name in self._buffers if name != "norms"}

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"Vectors({len(self)} x {self.dimension}, {self.dtype})"

    @property
    def nbytes(self) -> int:
        """Memory of all rows, their norms and cached quantities, in bytes."""
        kept = [part.nbytes for part in (self._weights, self._offsets) if part is not None]
        return sum(self._part(name).nbytes for name in self._buffers) + sum(kept)

    @property
    def norms(self) -> np.ndarray:
        """Euclidean length of each row, `(n,)` float32."""
        return self._part("norms")

    @property
    def scales(self) -> np.ndarray | None:
        """Factor for each row of `block`, `(n,)` float32; None for 1."""
        return self._part("scales") if self.dtype == "int8" else None

    def weights(self, metric: str) -> np.ndarray | None:
        """Return the factors for products with rows of `block`; None for 1.

        Args:
            metric: `"cosine"` scales rows to length 1, all others to their original length.
        """
        if metric != "cosine":
            return self.scales
        if self._weights is None:  # cached between searches
            self._weights = 1 / np.where(self.norms < SHORTEST, np.float32(np.inf), self.norms)
            if self.scales is not None:
                self._weights *= self.scales
        return self._weights

    @property
    def offsets(self) -> np.ndarray:
        """Half the square of each norm, `(n,)` float32."""
        if self._offsets is None:
            self._offsets = self.norms * self.norms / 2
        return self._offsets

    def block(self, start: int, stop: int) -> np.ndarray:
        """Return rows as float32 without their scales; float32 rows are not copied."""
        name = "rows" if self.dtype == "float32" else "codes"
        return self._part(name)[start:stop].astype(np.float32, copy=False)

    def rows(self, numbers: Any = None) -> np.ndarray:
        """Return rows as float32.

        Args:
            numbers: Row indices; None for all rows.
        """
        chosen = slice(None) if numbers is None else np.asarray(numbers, np.int64)
        if self.dtype == "float32":
            return np.array(self._part("rows")[chosen])
        return self._part("codes")[chosen] * self._part("scales")[chosen][:, None]

    def exact_rows(self, numbers: np.ndarray) -> np.ndarray:
        """Return rows as float32, from the originals if there are any.

        Args:
            numbers: Row indices.
        """
        if self.originals is None:
            return self.rows(numbers)
        order = np.argsort(numbers, kind="stable")  # read a file sequentially
        read = np.empty((len(numbers), self.dimension), np.float32)
        read[order] = self.originals[numbers[order]]
        return read

    def add(self, rows: Any) -> None:
        """Append rows.

        Args:
            rows: Finite values `(n, dimension)`.
        """
        self._refuse_originals("added to")
        rows = check_rows(rows, "rows", self.dimension)
        end = self._count + len(rows)
        for name, new in zip(self._names(), self._make_parts(rows, copy=False), strict=True):
            old = self._buffers[name]
            if end > len(old):  # a caller's array has no spare room, so it is never modified
                # Reserve a quarter more so that appending row by row does not copy all each time.
                room = end + end // 4 if self._count else end
                grown = np.empty((room, *old.shape[1:]), old.dtype)
                grown[: self._count] = old[: self._count]
                self._buffers[name] = old = grown
            old[self._count : end] = new
        self._start(end)

    def remove(self, numbers: Any) -> None:
        """Remove rows; later rows move up.

        Args:
            numbers: Row indices from 0.

        Raises:
            IndexError: If an index is out of range.
        """
        self._refuse_originals("removed from")
        numbers = np.asarray(numbers, np.int64).ravel()
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise IndexError(
                f"rows to remove must be from 0 to {len(self) - 1}. Received: {numbers.min()} to "
                f"{numbers.max()}"
            )
        kept = np.ones(len(self), bool)
        kept[numbers] = False
        self._buffers = {name: self._part(name)[kept] for name in self._buffers}
        self._start(int(kept.sum()))

    def _start(self, count: int) -> None:
        """Set the number of rows and clear the cached quantities."""
        self._count = count
        self._weights = self._offsets = None
        self.originals: Any = None
        self.error = self.relative_error = 0.0

    def _keep_originals(self, rows: np.ndarray, originals: Any) -> None:
        """Keep the originals, their norms, and the largest error of the codes."""
        if self.dtype != "int8":
            raise ValueError("originals require dtype='int8'; float32 rows are themselves exact")
        if getattr(originals, "shape", None) != rows.shape or originals.dtype != np.float32:
            raise ValueError(
                f"originals must be a float32 array of shape {rows.shape}, like rows. Received: "
                f"{getattr(originals, 'dtype', type(originals).__name__)} "
                f"{getattr(originals, 'shape', '')}"
            )
        norms = _norms(rows)
        for part in _chunks(rows):
            error = _norms(rows[part] - self.rows(np.arange(len(rows))[part]))
            self.error = max(self.error, float(error.max()))
            relative = error / np.maximum(norms[part], SHORTEST)
            self.relative_error = max(self.relative_error, float(relative.max()))
        self._buffers["norms"] = norms
        self.originals = originals

    def _refuse_originals(self, what: str) -> None:
        if self.originals is not None:
            raise ValueError(f"vectors with originals cannot be {what}. Create new Vectors.")

    def _names(self) -> tuple[str, ...]:
        return ("rows", "norms") if self.dtype == "float32" else ("codes", "scales", "norms")

    def _part(self, name: str) -> np.ndarray:
        return self._buffers[name][: self._count]

    def _make_parts(self, rows: np.ndarray, copy: bool) -> tuple[np.ndarray, ...]:
        """Return the parts of new rows, in the order of `_names`."""
        norms = _check_norms(_norms(rows))
        if self.dtype == "float32":
            return (np.array(rows) if copy else rows), norms
        codes = np.empty(rows.shape, np.int8)
        scales = np.empty(len(rows), np.float32)
        for part in _chunks(rows):
            largest = np.abs(rows[part]).max(axis=1)
            scales[part] = largest / _CODE
            codes[part] = np.rint(rows[part] * (_CODE / np.maximum(largest, SHORTEST))[:, None])
        return codes, scales, _norms(codes) * scales


def check_rows(rows: Any, name: str, dimension: int | None = None) -> np.ndarray:
    """Return rows as a contiguous float32 array `(n, dimension)`.

    Args:
        rows: Real numbers.
        name: Name of the argument, used in error messages.
        dimension: Required length of each row; None for any.

    Raises:
        ValueError: If the shape is wrong.
        TypeError: If the values are not real numbers.
    """
    try:
        rows = np.asarray(rows)
    except ValueError as error:
        raise ValueError(f"{name} must be numbers of shape (n, dimension): {error}") from None
    if rows.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be real numbers. Received: {rows.dtype}")
    if rows.ndim != 2 or not rows.shape[1]:
        hint = ". Pass a single row as row[None]." if rows.ndim == 1 and rows.size else ""
        raise ValueError(f"{name} must have the shape (n, dimension). Received: {rows.shape}{hint}")
    if dimension is not None and rows.shape[1] != dimension:
        raise ValueError(
            f"{name} must have {dimension} values per row, like the gallery. Received: "
            f"{rows.shape[1]}. Embeddings of different networks or layers cannot be compared."
        )
    with np.errstate(over="ignore"):  # overflow becomes infinity, which is rejected later
        return np.ascontiguousarray(rows, np.float32)


def lengths(rows: np.ndarray, name: str) -> np.ndarray:
    """Return the Euclidean length of each row, `(n,)` float32.

    Args:
        rows: Float32 rows.
        name: Name of the argument, used in error messages.

    Raises:
        ValueError: If a row contains NaN or infinity, or is longer than 1e15.
    """
    return _check_norms(_norms(rows), name)


def _norms(rows: np.ndarray) -> np.ndarray:
    norms = np.empty(len(rows), np.float32)
    with np.errstate(all="ignore"):
        for part in _chunks(rows):
            block = rows[part].astype(np.float32, copy=False)
            norms[part] = np.sqrt(np.einsum("ij,ij->i", block, block))
    return norms


def _check_norms(norms: np.ndarray, name: str = "rows") -> np.ndarray:
    wrong = np.flatnonzero(~(norms <= LONGEST))
    if wrong.size:
        raise ValueError(
            f"{name} must be finite and no longer than {LONGEST:g}, but {wrong.size} of "
            f"{len(norms)} have NaN, infinity or larger values. The first is row {wrong[0]}."
        )
    return norms


def _chunks(rows: np.ndarray) -> Iterator[slice]:
    step = max(1, _CHUNK // rows.shape[1])
    return (slice(start, start + step) for start in range(0, len(rows), step))
