"""Augmented Grad-CAM: a fine map from the coarse maps of many moved copies of an image."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from keras_dlcourse._checks import check_integer, check_number, check_one_of
from keras_dlcourse._progress import track
from keras_dlcourse.explain.engine.inputs import require_images
from keras_dlcourse.explain.engine.probe import probe_of
from keras_dlcourse.explain.engine.scaling import resize_and_scale, resize_maps
from keras_dlcourse.explain.engine.variants import Variants
from keras_dlcourse.explain.engine.weighting import WEIGHTINGS
from keras_dlcourse.explain.maps.super_resolution import (
    build_averaging_matrix,
    build_motion_matrix,
    super_resolve,
)

FUSIONS = ("super_resolution", "mean", "max")


def augmented_grad_cam(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    *,
    copies: int = 100,
    angle: float = 0.5,
    shift: float = 30 / 224,
    variation: float = 0.002,
    ridge: float = 0.0001,
    steps: int = 200,
    fill: float = 0.0,
    fusion: str = "super_resolution",
    method: str = "grad_cam",
    seed: int = 0,
    **options: Any,
) -> np.ndarray:
    """Augmented Grad-CAM: Grad-CAM of rotated and shifted copies, fused into one fine map.

        h = argmin sum_i |D A_i h - g_i|^2 + copies (variation TV(h) + ridge |h|^2)

    g_i is the coarse map of copy i, A_i rotates and shifts, D averages the pixels under each cell
    of the coarse map, and TV is the sum of absolute differences between neighbors. The cell borders
    fall elsewhere in each copy, so all copies together show finer detail than one of them can.

    The objective is from the paper and the defaults are from its authors' code. It is minimized by
    L-BFGS instead of Adam, which reaches a lower value in fewer steps. The coarse maps of an image
    are first divided by their largest absolute value, so that the weights mean the same for every
    image.

    Args:
        model: See `grad_cam`.
        images: See `grad_cam`.
        classes: One class for all images, or one per image `(n,)`. None uses the class with the
            highest score for the unmodified image.
        raw: Whether to return h itself, not scaled to 0..1.
        copies: Number of copies, including the image itself.
        angle: Largest rotation, in radians.
        shift: Largest shift, as a fraction of the image's height and width.
        variation: Weight of the total variation, per copy.
        ridge: Weight of the squares, per copy.
        steps: Maximum number of iterations.
        fill: Value of pixels from outside the image.
        fusion: `"super_resolution"`, or one of the paper's baselines, the `"mean"` or `"max"` of
            the maps after resizing and moving them back.
        method: Method of the maps to fuse; see `GradientMapper`.
        seed: Seed of the rotations and shifts.
        **options: See `grad_cam`.

    Returns:
        Float32 maps at the size of the images, `(n, height, width)`.

    Raises:
        TypeError: See `grad_cam`.
        ValueError: See `grad_cam`; also if an argument is out of range.

    Example:
        >>> model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 4, 4),
        ...     keras.layers.Flatten(), keras.layers.Dense(2)])
        >>> augmented_grad_cam(model, np.ones((2, 16, 16, 3)), 1, copies=4).shape
        (2, 16, 16)

    Reference:
        Morbidelli, Carrera, Rossi, Fragneto and Boracchi (2020), Augmented Grad-CAM: Heat-Maps
        Super Resolution Through Augmentation, ICASSP,
        https://doi.org/10.1109/ICASSP40776.2020.9054416
    """
    _check(copies, steps, angle, shift, variation, ridge, fusion, method)
    variants = Variants(probe_of(model, **options), images, classes)
    require_images(variants.images.shape, "augmented_grad_cam")
    size = variants.images.shape[1:3]
    moves = _moves(size, copies, angle, shift, seed)
    maps = _coarse_maps(
        variants, [build_motion_matrix(size, *move) for move in moves], fill, method
    )
    largest = np.abs(maps).max((1, 2, 3), keepdims=True)
    maps = maps / np.where(largest > 0, largest, 1)
    if fusion == "super_resolution":
        down = build_averaging_matrix(size, maps.shape[2:])
        operators = sparse.vstack(
            [down @ build_motion_matrix(size, *move) for move in moves]
        ).tocsr()
        weights = {"variation": copies * variation, "ridge": copies * ridge}
        rows = track(iter(maps), len(maps), "Super-resolution")
        fused = [
            super_resolve(
                operators, row, size, start=resize_maps(row[0], size), steps=steps, **weights
            )
            for row in rows
        ]
    else:
        fused = [_move_back(row, size, moves, fusion) for row in maps]
    found = np.stack(fused) * largest[..., 0] if raw else np.stack(fused)
    return found.astype("float32") if raw else resize_and_scale(found, size)


def _moves(
    size: tuple[int, int], copies: int, angle: float, shift: float, seed: int
) -> list[tuple[float, tuple[float, float]]]:
    """Draw rotations and shifts; the first one is the identity."""
    rng = np.random.default_rng(seed)
    turns = rng.uniform(-angle, angle, copies)
    ways = rng.uniform(-shift, shift, (copies, 2)) * size
    turns[0], ways[0] = 0, 0
    return [(float(turn), (float(y), float(x))) for turn, (y, x) in zip(turns, ways, strict=True)]


def _coarse_maps(
    variants: Variants, motions: list[sparse.csr_matrix], fill: float, method: str
) -> np.ndarray:
    """Return the coarse maps of all moved copies, `(n, copies, h, w)`."""

    def moved(index: int, image: np.ndarray, numbers: range) -> np.ndarray:
        pixels = (image - fill).reshape(-1, image.shape[-1])
        copies = [(motions[number] @ pixels).reshape(image.shape) + fill for number in numbers]
        return np.stack(copies).astype("float32")

    row = WEIGHTINGS[method]
    maps: list[list[np.ndarray]] = [[] for _ in variants.images]
    steps = variants.compute(len(motions), moved, "Moved copies", gradients=row.gradients)
    for index, _, found in steps:
        maps[index].append(row.maps(found.features, found.gradients))
    return np.stack([np.concatenate(parts) for parts in maps])


def _move_back(
    maps: np.ndarray,
    size: tuple[int, int],
    moves: list[tuple[float, tuple[float, float]]],
    way: str,
) -> np.ndarray:
    """Return the mean or maximum of the maps after resizing and moving them back."""
    total, cover, most = np.zeros(size), np.zeros(size), np.full(size, -np.inf)
    ones = np.ones(size).reshape(-1)
    for row, (angle, shift) in zip(maps, moves, strict=True):
        # The transposed matrix moves back, and gives the coverage of each pixel.
        back = build_motion_matrix(size, angle, shift).T
        seen = (back @ ones).reshape(size)
        plane = (back @ resize_maps(row, size).reshape(-1)).reshape(size)
        total, cover = total + plane, cover + seen
        most = np.maximum(most, np.where(seen > 0.5, plane / np.maximum(seen, 0.5), -np.inf))
    return total / np.maximum(cover, 1e-6) if way == "mean" else most


def _check(
    copies: int, steps: int, angle: float, shift: float, variation: float, ridge: float,
    fusion: str, method: str,
) -> None:  # fmt: skip
    check_integer("copies", copies)
    check_integer("steps", steps)
    check_number("angle", angle, least=0, most=np.pi)
    check_number("shift", shift, least=0, most=1)
    check_number("variation", variation, least=0)
    check_number("ridge", ridge, least=0)
    check_one_of("fusion", fusion, tuple(FUSIONS))
    check_one_of("method", method, tuple(WEIGHTINGS))
