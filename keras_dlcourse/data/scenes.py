"""Scenes of cut-out objects on photographs, with exact boxes, masks, classes and keypoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from keras_dlcourse._checks import check_integer, check_number
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.data.keypoints import swap_pairs
from keras_dlcourse.data.split import split_indices
from keras_dlcourse.edge.vision.images import resize

_OPAQUE = 128  # minimum alpha of a pixel that belongs to the object
_TRIES = 20  # positions tried for an object that must not hide earlier ones


@dataclass(frozen=True)
class Scenes:
    """Composed images and their ground truth.

    Attributes:
        images: `(n, height, width, 3)` uint8.
        labels: Class number of each object, `(n, objects)` int32; -1 if a scene has fewer objects.
        boxes: Box around the visible part of each object, `(n, objects, 4)` float32: left, top,
            right and bottom in pixels, right and bottom exclusive (`"xyxy"`). NaN for objects that
            are not visible or do not exist.
        masks: The object that each pixel shows, `(n, height, width)` uint8: 0 is the background, 1
            the first object.
        keypoints: `(n, objects, points, 3)` float32: x and y in pixels, and 1 if the point is in
            the image and on or next to a visible pixel of its object, else 0. None if the cut-outs
            have no keypoints.
        cutouts: Index of the cut-out of each object, `(n, objects)`; -1 if there is none.
        backgrounds: Index of the background of each image, `(n,)`.
    """

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray
    keypoints: np.ndarray | None
    cutouts: np.ndarray
    backgrounds: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    @property
    def class_masks(self) -> np.ndarray:
        """The class that each pixel shows, `(n, height, width)` uint8.

        0 is the background, and an object of class `k` has `k + 1`: labels for semantic
        segmentation.
        """
        classes = np.pad(self.labels + 1, [(0, 0), (1, 0)]).astype("uint8")
        return np.take_along_axis(classes[:, None], self.masks.astype("intp"), axis=2)


@renamed_arguments(n="scenes")
def compose_scenes(
    cutouts: Sequence[Any],
    labels: Sequence[int],
    backgrounds: Sequence[Any],
    scenes: int,
    size: tuple[int, int],
    *,
    objects: int | tuple[int, int] = 1,
    scale: tuple[float, float] = (0.3, 0.8),
    turn: float = 15.0,
    flip: bool = True,
    keypoints: Sequence[Any] | None = None,
    flip_pairs: Sequence[tuple[int, int]] = (),
    seed: int = 0,
) -> Scenes:
    """Compose scenes by placing cut-out objects on random crops of photographs.

    Each object is randomly scaled, rotated, mirrored and placed within the image. Later objects may
    hide part of earlier ones, but no more than half (up to 20 positions are tried). All classes are
    equally likely, regardless of how many cut-outs they have. The same arguments give the same
    scenes.

    Since these scenes are synthetic, a network may learn the seams: evaluate on real photographs if
    you have any. For data set parts that share no object and no photograph, split both first with
    `kd.data.split_sources`.

    Args:
        cutouts: Images `(height, width, 4)` uint8, whose last channel is the object's alpha mask.
        labels: Class number of each cut-out, starting at 0.
        backgrounds: Images `(height, width, 3)` uint8 of any size.
        scenes: Number of scenes.
        size: Height and width of the scenes in pixels.
        objects: Number of objects per scene, or the least and the largest number, all of which are
            equally likely.
        scale: Smallest and largest length of an object's longer side, as fractions of the image's
            shorter side.
        turn: Maximum rotation of objects in degrees, in either direction.
        flip: Whether to mirror objects with probability 0.5.
        keypoints: Keypoints `(points, 2)` of each cut-out, x and y in its pixels; they are
            transformed with the cut-out. NaN marks missing points.
        flip_pairs: Pairs of point indices to swap when mirrored, such as the left and the right
            eye.
        seed: Seed of all random choices.

    Returns:
        A `Scenes`.

    Raises:
        ValueError: If there are no cut-outs or backgrounds, shapes do not match, or an argument is
            out of range.
        TypeError: If an argument has a wrong type.

    Example:
        >>> cutout = np.full((20, 10, 4), 255, "uint8")
        >>> photo = np.zeros((50, 80, 3), "uint8")
        >>> scenes = compose_scenes([cutout], [0], [photo], scenes=2, size=(32, 32), turn=0)
        >>> scenes.images.shape, scenes.boxes.shape
        ((2, 32, 32, 3), (2, 1, 4))
        >>> left, top, right, bottom = scenes.boxes[0, 0].astype(int)
        >>> bool((scenes.images[0, top:bottom, left:right] == 255).all())
        True
    """
    maker = _Maker(cutouts, labels, backgrounds, size, scale, turn, flip, keypoints, flip_pairs)
    scenes = check_integer("scenes", scenes)
    fewest, most = _check_objects(objects)
    rng = np.random.default_rng(check_integer("seed", seed, least=0))
    drawn = []
    for _ in range(scenes):
        count = most if fewest == most else int(rng.integers(fewest, most + 1))
        drawn.append(maker.scene(count, most, rng))
    columns = [np.stack(column) for column in zip(*drawn, strict=True)]
    images, masks, boxes, points, chosen, behind = columns
    return Scenes(
        images=images,
        labels=np.where(chosen < 0, np.int32(-1), maker.labels[chosen]),
        boxes=boxes,
        masks=masks,
        keypoints=None if keypoints is None else points,
        cutouts=chosen,
        backgrounds=behind,
    )


def split_sources(
    labels: Sequence[int],
    backgrounds: int,
    fractions: Sequence[float] = (0.2, 0.2),
    seed: int = 0,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split cut-outs and photographs into parts that share neither.

    Args:
        labels: Class of each cut-out; each class is split in the same proportions.
        backgrounds: Number of photographs.
        fractions: Fraction for each part except the first, which gets the rest.
        seed: Seed of the choice.

    Returns:
        The indices of the cut-outs and of the photographs of each part, with the rest (for
        training) first.

    Raises:
        ValueError: If a part would be empty.

    Example:
        >>> train, test = split_sources([0, 0, 0, 0, 1, 1, 1, 1], 10, [0.25])
        >>> len(train[0]), len(train[1]), len(test[0]), len(test[1])
        (6, 7, 2, 3)
    """
    of_objects = split_indices(np.asarray(labels), tuple(fractions), seed=seed)
    backgrounds = check_integer("backgrounds", backgrounds, least=len(of_objects))
    order = np.random.default_rng(seed).permutation(backgrounds)
    ends = np.cumsum([max(1, math.ceil(share * backgrounds)) for share in fractions])
    *rest, first = np.split(order, ends)
    if not len(first):
        raise ValueError(f"{backgrounds} backgrounds are too few for fractions {fractions}.")
    return list(zip(of_objects, [np.sort(part) for part in (first, *rest)], strict=True))


class _Maker:
    """Validated sources and options for composing scenes."""

    def __init__(
        self,
        cutouts: Sequence[Any],
        labels: Sequence[int],
        backgrounds: Sequence[Any],
        size: tuple[int, int],
        scale: tuple[float, float],
        turn: float,
        flip: bool,
        keypoints: Sequence[Any] | None,
        flip_pairs: Sequence[tuple[int, int]],
    ) -> None:
        self.cutouts = _images("cutouts", cutouts, 4)
        self.backgrounds = _images("backgrounds", backgrounds, 3)
        for number, cutout in enumerate(self.cutouts):
            if not (cutout[..., 3] >= _OPAQUE).any():
                raise ValueError(f"cutouts[{number}] has no opaque pixel.")
        self.labels = np.asarray(labels)
        if self.labels.shape != (len(cutouts),) or self.labels.dtype.kind not in "iu":
            raise ValueError(
                f"labels must be one integer for each of the {len(cutouts)} cutouts. Received: "
                f"{self.labels.dtype} of shape {self.labels.shape}"
            )
        self.labels = self.labels.astype("int32")
        self.height, self.width = (
            check_integer("size", side) for side in _check_pair("size", size)
        )
        low, high = (check_number("scale", end) for end in _check_pair("scale", scale))
        if not 0 < low <= high <= 1:
            raise ValueError(f"scale must be two fractions 0 < low <= high <= 1. Received: {scale}")
        self.scale = low, high
        check_number("turn", turn, least=0, most=180)
        self.turn, self.flip = turn, flip
        self.points = _points(keypoints, self.cutouts)
        self.mirrored = swap_pairs(len(self.points[0]), flip_pairs)
        self._members = [np.flatnonzero(self.labels == k) for k in np.unique(self.labels)]

    def scene(self, objects: int, most: int, rng: np.random.Generator) -> tuple[Any, ...]:
        """Return an image and its mask, boxes, keypoints, cut-outs and background.

        Args:
            objects: Number of objects.
            most: Number of rows of what is returned for each object.
            rng: Draws everything.
        """
        behind = int(rng.integers(len(self.backgrounds)))
        canvas = self._background(self.backgrounds[behind], rng)
        mask = np.zeros((self.height, self.width), np.uint8)
        chosen, points = [], []
        for number in range(1, objects + 1):
            cutout = int(rng.choice(self._members[rng.integers(len(self._members))]))
            for _ in range(_TRIES):
                picture, place, moved = self._place(cutout, rng)
                opaque = picture[..., 3] >= _OPAQUE
                if self._leaves_half(mask, place, opaque):
                    break
            alpha = picture[..., 3:] / 255.0
            canvas[place] = canvas[place] * (1 - alpha) + picture[..., :3] * alpha
            mask[place][opaque] = number
            chosen.append(cutout)
            points.append(moved)
        for number, moved in enumerate(points, start=1):
            moved[:, 2] *= _find_near(mask == number, moved)
        chosen += [-1] * (most - objects)
        points += [np.zeros_like(points[0])] * (most - objects)
        boxes = [_box(mask == number) or [np.nan] * 4 for number in range(1, most + 1)]
        return (
            np.round(canvas).astype("uint8"), mask, np.array(boxes, "float32"), np.stack(points),
            np.array(chosen), behind,
        )  # fmt: skip

    def _background(self, photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Crop a random part with the scene's aspect ratio from a photograph and resize it."""
        fits = min(photo.shape[0] / self.height, photo.shape[1] / self.width)
        share = rng.uniform(0.5, 1) * fits
        height, width = max(1, int(share * self.height)), max(1, int(share * self.width))
        top = rng.integers(photo.shape[0] - height + 1)
        left = rng.integers(photo.shape[1] - width + 1)
        part = photo[top : top + height, left : left + width]
        return resize(part, (self.height, self.width)).astype("float64")

    def _place(
        self, number: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, tuple[slice, slice], np.ndarray]:
        """Return a cut-out, its place in the image, and its points there."""
        picture, points = self._move(number, rng)
        left, top, right, bottom = _box(picture[..., 3] >= _OPAQUE) or (0, 0, 1, 1)
        cut = picture[top:bottom, left:right]
        y = rng.integers(self.height - cut.shape[0] + 1)
        x = rng.integers(self.width - cut.shape[1] + 1)
        points[:, :2] += points[:, 2:] * [x - left, y - top]  # missing points stay 0
        return cut, (slice(y, y + cut.shape[0]), slice(x, x + cut.shape[1])), points

    def _move(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return a cut-out mirrored, scaled and rotated, and its points (x, y, exists)."""
        picture, points = Image.fromarray(self.cutouts[number]), self.points[number]
        if self.flip and rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            points = ([picture.width, 0] + points * [-1, 1])[self.mirrored]
        angle = rng.uniform(-self.turn, self.turn)
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        longer = rng.uniform(*self.scale) * min(self.height, self.width)
        factor = longer / max(picture.size)
        # A rotated cut-out may be larger than the image.
        reach = np.abs([[cos, sin], [sin, cos]]) @ picture.size
        factor = min(factor, *(np.array([self.width - 2, self.height - 2]) / reach))
        size = [max(2, round(factor * side)) for side in picture.size]
        points = points * (np.array(size) / picture.size) - np.array(size) / 2
        # Premultiplied, so that the color of transparent pixels does not bleed into the edges.
        picture = picture.convert("RGBa").resize(size, Image.Resampling.BILINEAR)
        picture = picture.rotate(angle, Image.Resampling.BILINEAR, expand=True).convert("RGBA")
        points = points @ np.array([[cos, sin], [-sin, cos]]).T + np.array(picture.size) / 2
        there = np.isfinite(points).all(1, keepdims=True)
        return np.asarray(picture), np.hstack([np.where(there, points, 0), there])

    @staticmethod
    def _leaves_half(mask: np.ndarray, place: tuple[slice, slice], opaque: np.ndarray) -> bool:
        """Return whether at least half of every earlier object stays visible."""
        shown = np.bincount(mask.ravel())
        hidden = np.bincount(mask[place][opaque], minlength=len(shown))
        return bool((2 * hidden[1:] <= shown[1:]).all())


def _box(shown: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return left, top, right and bottom of the True pixels, or None if there are none."""
    return Image.fromarray(shown).getbbox()


def _find_near(shown: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return which points are on or next to a pixel that shows the object."""
    grown = np.pad(shown, 2)
    near = np.zeros(len(points), bool)
    for number, (x, y, _) in enumerate(points):
        row, column = math.floor(y) + 1, math.floor(x) + 1
        near[number] = grown[max(row, 0) : row + 3, max(column, 0) : column + 3].any()
    return near


def _images(name: str, given: Sequence[Any], channels: int) -> list[np.ndarray]:
    found = [np.asarray(image) for image in given]
    if not found:
        raise ValueError(f"{name} is empty.")
    for number, image in enumerate(found):
        if image.ndim != 3 or image.shape[2] != channels or image.dtype != np.uint8:
            raise ValueError(
                f"{name}[{number}] must be uint8 of shape (height, width, {channels}). Received: "
                f"{image.dtype} of shape {image.shape}"
            )
        if min(image.shape[:2]) < 2:
            raise ValueError(
                f"{name}[{number}] must be at least 2 x 2 pixels. Received: "
                f"{image.shape[1]} x {image.shape[0]}"
            )
    return found


def _points(keypoints: Sequence[Any] | None, cutouts: list[np.ndarray]) -> list[np.ndarray]:
    if keypoints is None:
        return [np.zeros((0, 2))] * len(cutouts)
    points = [np.asarray(each, "float64") for each in keypoints]
    shapes = {each.shape for each in points}
    if len(points) != len(cutouts) or len(shapes) != 1 or points[0].shape[1:] != (2,):
        raise ValueError(
            f"keypoints must be (points, 2) for each of the {len(cutouts)} cutouts, all with the "
            f"same number of points. Received: {len(points)} of shapes "
            f"{', '.join(map(str, sorted(shapes)))}"
        )
    return points


def _check_objects(objects: Any) -> tuple[int, int]:
    """Return the least and the largest number of objects."""
    pair = _check_pair("objects", objects) if isinstance(objects, Sequence) else (objects, objects)
    fewest, most = (check_integer("objects", end, most=255) for end in pair)
    if fewest > most:
        raise ValueError(f"objects must be two numbers, smallest first. Received: {objects}")
    return fewest, most


def _check_pair(name: str, value: Any) -> tuple[Any, Any]:
    pair = tuple(value) if isinstance(value, Sequence) else ()
    if len(pair) != 2:
        raise ValueError(f"{name} must be two numbers. Received: {value!r}")
    return pair[0], pair[1]
