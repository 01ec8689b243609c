"""Geometry of a window that slides over an image."""

from __future__ import annotations

from collections.abc import Sequence


def margins(size: int) -> tuple[int, int]:
    """Return the number of window positions before its center, and after it.

    The center of an even window is the later of the two middle positions, as in SciPy.
    """
    return size // 2, (size - 1) // 2


def output_shape(
    input_shape: Sequence[int | None], window: Sequence[int], padding: str
) -> tuple[int | None, ...]:
    """Return the output shape `(batch, height, width, channels)` of a sliding window.

    Args:
        input_shape: Shape of the input maps.
        window: Height and width of the window.
        padding: `"same"` or `"valid"`.

    Raises:
        ValueError: If the window is larger than the maps and `padding` is `"valid"`.
    """
    batch, *sizes, channels = input_shape
    if padding == "same":
        return tuple(input_shape)
    if any(size is not None and size < reach for size, reach in zip(sizes, window, strict=True)):
        raise ValueError(
            f"padding='valid' leaves no output for maps of {sizes[0]}x{sizes[1]} and a window of "
            f"{window[0]}x{window[1]}. Use padding='same' or a smaller window."
        )
    left = [size and size - reach + 1 for size, reach in zip(sizes, window, strict=True)]
    return batch, *left, channels
