"""Where a window stands that slides over an image, step by step."""

from __future__ import annotations

from collections.abc import Sequence


def margins(size: int) -> tuple[int, int]:
    """Return how many positions of a window lie before its centre, and how many behind.

    The centre of an even window is the later one of the two in the middle, as SciPy has it.
    """
    return size // 2, (size - 1) // 2


def output_shape(
    input_shape: Sequence[int | None], window: Sequence[int], padding: str
) -> tuple[int | None, ...]:
    """Return the shape of the maps `(batch, height, width, channels)` that a window leaves.

    Args:
        input_shape: Of the maps that it slides over.
        window: Its height and width.
        padding: `"same"` or `"valid"`.

    Raises:
        ValueError: If the window is larger than the maps and `padding` is `"valid"`.
    """
    batch, *sizes, channels = input_shape
    if padding == "same":
        return tuple(input_shape)
    if any(size is not None and size < reach for size, reach in zip(sizes, window, strict=True)):
        raise ValueError(
            f"padding='valid' leaves nothing of maps of {sizes[0]}x{sizes[1]} under a window of "
            f"{window[0]}x{window[1]}: take padding='same' or a smaller window."
        )
    left = [size and size - reach + 1 for size, reach in zip(sizes, window, strict=True)]
    return batch, *left, channels
