"""Compute the pixels along one image axis that positions of feature maps see.

Layers differ only in the taps of each position: the positions of the previous layer that it reads.
Taps are periodic: a convolution reads the same taps everywhere, shifted by `stride` from position
to position; upsampling by 2 alternates between two kinds of positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Taps:
    """Positions of the previous layer that are read, which repeat after `period` positions.

    Attributes:
        places: For each of the first `period` positions, the positions that it reads; negative
            ones lie in the padding.
        advance: Shift of the taps after one period.
    """

    places: tuple[tuple[int, ...], ...]
    advance: int

    @property
    def period(self) -> int:
        """Number of positions after which the taps repeat."""
        return len(self.places)


@dataclass(frozen=True, eq=False)
class Axis:
    """Rows or columns of pixels that positions see, with and without the border of the image.

    Without a border, position `p` sees the pixels from `low[p % period]` to `high[p % period]`,
    shifted by `p // period * shift`.

    Attributes:
        pixels: Size of the image.
        shift: Pixels between a position and the one `period` positions later.
        low: First pixel that each of the first `period` positions sees.
        high: Last pixel that it sees.
        first: First pixel of the image that each position sees; `pixels` if it sees none.
        last: Last pixel of the image that it sees; -1 if it sees none.
    """

    pixels: int
    shift: int
    low: tuple[int, ...]
    high: tuple[int, ...]
    first: np.ndarray
    last: np.ndarray

    @classmethod
    def of_image(cls, pixels: int) -> Axis:
        """Return the axis of the image itself, where each pixel sees itself."""
        numbers = np.arange(pixels)
        return cls(pixels, 1, (0,), (0,), numbers, numbers)

    @property
    def count(self) -> int:
        """Number of positions."""
        return len(self.first)

    @property
    def size(self) -> int:
        """Number of pixels from the first to the last one seen; the maximum over all positions."""
        return max(high - low + 1 for low, high in zip(self.low, self.high, strict=True))

    @property
    def stride(self) -> int | float:
        """Pixels between neighboring positions; may be fractional after upsampling."""
        whole, rest = divmod(self.shift, len(self.low))
        return self.shift / len(self.low) if rest else whole

    def unclipped_range(self, position: int) -> tuple[int, int]:
        """Return the first and the last pixel that a position would see without a border."""
        return self._low(position), self._high(position)

    def follow(self, taps: Taps, count: int) -> Axis:
        """Return the axis of a layer that reads this one."""
        turns = len(self.low) // math.gcd(len(self.low), taps.advance)
        period = taps.period * turns
        shift = turns * taps.advance * self.shift // len(self.low)
        places = [_move_taps(taps, position) for position in range(period)]
        low = tuple(min(map(self._low, read)) for read in places)
        high = tuple(max(map(self._high, read)) for read in places)
        return Axis(self.pixels, shift, low, high, *self._find_seen(taps, count))

    def union(self, other: Axis) -> Axis | None:
        """Return the pixels seen by either of two axes; None if their strides or counts differ."""
        same_step = self.shift * len(other.low) == other.shift * len(self.low)
        if not same_step or self.count != other.count:
            return None
        period = math.lcm(len(self.low), len(other.low))
        return Axis(
            self.pixels,
            self.shift * period // len(self.low),
            tuple(min(self._low(p), other._low(p)) for p in range(period)),
            tuple(max(self._high(p), other._high(p)) for p in range(period)),
            np.minimum(self.first, other.first),
            np.maximum(self.last, other.last),
        )

    def _low(self, position: int) -> int:
        turn, phase = divmod(position, len(self.low))
        return self.low[phase] + turn * self.shift

    def _high(self, position: int) -> int:
        turn, phase = divmod(position, len(self.high))
        return self.high[phase] + turn * self.shift

    def _find_seen(self, taps: Taps, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and last image pixel of each position; padding sees no pixels."""
        first, last = np.full(count, self.pixels), np.full(count, -1)
        for phase, places in enumerate(taps.places):
            positions = np.arange(phase, count, taps.period)
            for place in places:
                read = positions // taps.period * taps.advance + place
                inside = (read >= 0) & (read < self.count)
                here, read = positions[inside], read[inside]
                first[here] = np.minimum(first[here], self.first[read])
                last[here] = np.maximum(last[here], self.last[read])
        return first, last


def _move_taps(taps: Taps, position: int) -> tuple[int, ...]:
    """Return the taps of a position; if it has none, the nearest possible one."""
    turn, phase = divmod(position, taps.period)
    places = taps.places[phase] or (phase * taps.advance // taps.period,)
    return tuple(place + turn * taps.advance for place in places)


def slide_taps(
    count: int, kernel: int, stride: int = 1, dilation: int = 1, padding: str = "valid"
) -> tuple[Taps, int]:
    """Return the taps of a sliding window, and how many positions it has.

    Args:
        count: Number of positions in the previous layer.
        kernel: Number of taps in the window.
        stride: Positions between neighboring windows.
        dilation: Positions between neighboring taps.
        padding: `"valid"`, or `"same"`, which puts the odd padding element at the end, as Keras
            does on every backend.
    """
    extent = (kernel - 1) * dilation + 1
    if padding == "same":
        windows = -(-count // stride)
        before = max((windows - 1) * stride + extent - count, 0) // 2
    else:
        windows, before = (count - extent) // stride + 1, 0
    return Taps((tuple(tap * dilation - before for tap in range(kernel)),), stride), windows


def shift_taps(count: int, before: int, behind: int) -> tuple[Taps, int]:
    """Return taps of padding before and after; negative values crop."""
    return Taps(((-before,),), 1), count + before + behind


def transpose_taps(count: int, kernel: int, stride: int, padding: str) -> tuple[Taps, int]:
    """Return taps of a transposed convolution, which spreads a position over `kernel` others."""
    surplus = max(kernel - stride, 0)
    before = surplus // 2 if padding == "same" else 0
    places = tuple(
        tuple(range(-((kernel - 1 - before - phase) // stride), (phase + before) // stride + 1))
        for phase in range(stride)
    )
    return Taps(places, 1), count * stride + (0 if padding == "same" else surplus)


def repeat_taps(count: int, factor: int) -> tuple[Taps, int]:
    """Return taps of upsampling by repetition."""
    return Taps(((0,),) * factor, 1), count * factor


def interpolate_taps(count: int, factor: int) -> tuple[Taps, int]:
    """Return taps of bilinear upsampling, with pixel values at pixel centers.

    Beyond the border, the nearest position is used instead, which is read anyway.
    """
    places = []
    for phase in range(factor):
        left, rest = divmod(2 * phase + 1 - factor, 2 * factor)
        places.append((left, left + 1) if rest else (left,))
    return Taps(tuple(places), 1), count * factor
