"""The normalization applied to pixels before the network, identical in training and on device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Images that `fit` reads at a time, to bound memory when image files are loaded on demand.
_CHUNK = 256


@dataclass(frozen=True)
class Normalization:
    """Pixel normalization `(pixels - mean) / std`, in pixel units from 0 to 255.

    Args:
        mean: Value to subtract: one number for all channels, or one per channel.
        std: Value to divide by, above 0: one number for all channels, or one per channel.

    Raises:
        ValueError: If a value is not finite, a `std` is not above 0, or the lengths differ.
        TypeError: If `mean` or `std` is not a number or a sequence of numbers.

    Example:
        >>> import numpy as np
        >>> normalization = Normalization(mean=127.5, std=127.5)
        >>> normalization(np.array([0, 255], "uint8"))
        array([-1.,  1.], dtype=float32)
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        means, stds = _numbers("mean", mean), _numbers("std", std)
        if min(stds) <= 0:
            raise ValueError(f"std must be above 0 for every channel. Received: {stds}")
        if len(means) != len(stds) and 1 not in (len(means), len(stds)):
            raise ValueError(
                f"mean and std must each have one value, or one per channel. "
                f"Received: {len(means)} and {len(stds)} values"
            )
        channels = max(len(means), len(stds))
        object.__setattr__(self, "mean", means * (channels // len(means)))
        object.__setattr__(self, "std", stds * (channels // len(stds)))

    @classmethod
    def identity(cls) -> Normalization:
        """Return the normalization that leaves pixels unchanged, from 0 to 255.

        Example:
            >>> Normalization.identity()
            Normalization(mean=(0.0,), std=(1.0,))
        """
        return cls(0.0, 1.0)

    @classmethod
    def fit(cls, images: Any, per_channel: bool = False) -> Normalization:
        """Return the normalization that gives these images mean 0 and standard deviation 1.

        Pass only the training set. The default is one mean and one standard deviation for all
        channels because MediaPipe supports no more; this mean is rounded to an integer gray
        level, which the zero point of an integer input can represent exactly. If all pixels are
        equal, `std` is 1.

        Args:
            images: Array, or array-like that can be sliced, of shape (n, height, width, channels),
                uint8 or float, pixels from 0 to 255.
            per_channel: Whether each channel has its own mean and standard deviation.

        Raises:
            ValueError: If there are no images, a pixel is NaN or outside 0 to 255, or the pixels
                are fractions up to 1.

        Example:
            >>> import numpy as np
            >>> images = np.array([0, 200], "uint8").reshape(2, 1, 1, 1)
            >>> Normalization.fit(images)
            Normalization(mean=(100.0,), std=(100.0,))
        """
        mean, std = _moments(images, per_channel)
        if not per_channel:
            mean = np.round(mean)
        std = np.where(std > 1e-6, std, 1.0)
        return cls(mean.tolist(), std.tolist())

    @property
    def is_scalar(self) -> bool:
        """Whether all channels have the same mean and standard deviation."""
        return len(set(self.mean)) == 1 and len(set(self.std)) == 1

    def simplify(self) -> Normalization:
        """Return the same normalization, with one mean and one deviation if all channels are alike.

        Example:
            >>> Normalization((10, 10, 10), (5, 5, 5)).simplify()
            Normalization(mean=(10.0,), std=(5.0,))
        """
        return Normalization(self.mean[0], self.std[0]) if self.is_scalar else self

    def __call__(self, pixels: Any) -> np.ndarray:
        """Return the normalized pixels.

        Args:
            pixels: Array of any shape with channels on the last axis, values from 0 to 255.

        Returns:
            float32 array of the same shape.

        Raises:
            ValueError: If the last axis does not match a per-channel normalization.
        """
        pixels = np.asarray(pixels)
        if len(self.mean) > 1 and pixels.shape[-1:] != (len(self.mean),):
            raise ValueError(
                f"pixels must have {len(self.mean)} channels on the last axis for this "
                f"normalization. Received: shape {pixels.shape}"
            )
        values = np.subtract(pixels, np.array(self.mean, np.float32), dtype=np.float32)
        values /= np.array(self.std, np.float32)
        return values

    def to_dict(self) -> dict[str, list[float]]:
        """Return a JSON-serializable dictionary.

        Example:
            >>> Normalization(128, 64).to_dict()
            {'mean': [128.0], 'std': [64.0]}
        """
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Normalization:
        """Return the normalization from the output of `to_dict`.

        Raises:
            ValueError: If `mean` or `std` is missing.
        """
        missing = [key for key in ("mean", "std") if key not in config]
        if missing:
            raise ValueError(
                f"config must have the keys 'mean' and 'std'. Received: only {list(config)}"
            )
        return cls(config["mean"], config["std"])


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    """Return one or more finite numbers as a tuple of floats."""
    try:
        array = np.atleast_1d(np.asarray(values, np.float64))
        is_other = np.asarray(values).dtype.kind in "bSU"  # which NumPy converts: True and "1"
    except (TypeError, ValueError):
        is_other = True
    if is_other:
        raise TypeError(f"{name} must be a number or a sequence of numbers. Received: {values!r}")
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be one number or one per channel. Received: {values!r}")
    numbers = tuple(array.tolist())
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{name} must be finite. Received: {numbers}")
    return numbers


def _moments(images: Any, per_channel: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and standard deviation, each of shape (1,) or (channels,)."""
    count, shift, total, squares = 0, None, np.float64(0), np.float64(0)
    low, high, whole = math.inf, -math.inf, True
    for chunk in _chunks(images):
        # Use NumPy's minimum because Python's does not propagate NaN.
        low, high = np.minimum(low, chunk.min()), np.maximum(high, chunk.max())
        whole = whole and not (np.issubdtype(chunk.dtype, np.floating) and (chunk % 1).any())
        values = chunk.reshape(-1, chunk.shape[-1] if per_channel else 1).astype(np.float64)
        # Shift by some pixel so that identical images give exactly 0.
        shift = values[0].copy() if shift is None else shift
        values -= shift
        count += len(values)
        total = total + values.sum(axis=0)
        squares = squares + np.square(values, out=values).sum(axis=0)
    if shift is None:
        raise ValueError("images is empty. Pass at least one image.")
    _check_range(float(low), float(high), whole)
    mean = total / count
    return mean + shift, np.sqrt(np.maximum(squares / count - mean**2, 0))


def _chunks(images: Any) -> Iterator[np.ndarray]:
    """Yield validated chunks of a few hundred images."""
    for start in range(0, len(images), _CHUNK):
        chunk = np.asarray(images[start : start + _CHUNK])
        if chunk.dtype.kind not in "uif":
            raise TypeError(f"images must be numeric. Received: dtype {chunk.dtype}")
        if chunk.ndim != 4 or chunk.size == 0:
            raise ValueError(
                "images must be a non-empty array of shape (n, height, width, channels). "
                f"Received: shape {(len(images), *chunk.shape[1:])}"
            )
        yield chunk


def _check_range(low: float, high: float, whole: bool) -> None:
    if not (low >= 0 and high <= 255):
        raise ValueError(
            f"images must have pixels from 0 to 255. Received: values from {low:g} to {high:g}. "
            "Fit the normalization before any other preprocessing."
        )
    if high <= 1 and not whole:
        raise ValueError(
            "images must be in pixel units from 0 to 255. Received: fractions up to "
            f"{high:g}. Pass the original pixels, or multiply by 255."
        )
