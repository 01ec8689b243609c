"""The garments of Fashion-MNIST: as they are in the package, and in composed scenes."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse.data.idx import read_idx
from keras_dlcourse.data.scenes import Scenes, compose_scenes

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_PARTS = ("train", "validation", "test")
_SIDES = 20, 44  # pixels of the longer side of garments in scenes of 96 x 96
_SCENE = 96
_BACKGROUNDS, _BACKGROUND = 40, 144  # number and side in pixels
_SHREDS = 120  # per background
_DARKEST = 12  # gray values below it are not part of a garment


def read_garments(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images `(n, 28, 28, 1)` and labels `(n,)` of a part of the packaged subset."""
    return read_pair(Path(__file__).parent / "fashion_mnist_small", part, ".xz")


def read_pair(folder: Path, part: str, suffix: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the images `(n, height, width, 1)` and labels `(n,)` of one part."""
    images_file = folder / f"{part}-images-idx3-ubyte{suffix}"
    labels_file = folder / f"{part}-labels-idx1-ubyte{suffix}"
    images, labels = read_idx(images_file), read_idx(labels_file)
    if images.ndim != 3 or images.shape[:1] != labels.shape:
        raise ValueError(
            f"{images_file} contains an array of shape {images.shape} and {labels_file} one of "
            f"shape {labels.shape}, so they do not belong together. Download both again."
        )
    return images[..., None], labels


def fashion_scenes(part: str = "train", scenes: int = 3000, *, seed: int = 0) -> Scenes:
    """Compose scenes of one to four garments, with exact masks, boxes and classes.

    Garments of Fashion-MNIST, each in a color of its own, 20 to 44 pixels long, turned, mirrored
    and partly hidden, lie on shreds of other garments in 96x96 pixels: neither color nor texture
    says where a garment is. Everything comes from the subset of Fashion-MNIST in this package, and
    each part from the garments of that part alone.

    For semantic segmentation, use `images` and `class_masks`, or `kd.data.load("fashion_scenes")`;
    for detection, `boxes` and `labels`; for instances, `masks`.

    Args:
        part: `"train"`, `"validation"` or `"test"`: from which garments.
        scenes: Number of scenes.
        seed: Seed of all random choices.

    Returns:
        A `Scenes`, whose classes are those of Fashion-MNIST.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If there is no such part, or a number is out of range.

    Example:
        >>> scenes = fashion_scenes("test", 2, seed=1)
        >>> scenes.images.shape, scenes.boxes.shape, scenes.class_masks.shape
        ((2, 96, 96, 3), (2, 4, 4), (2, 96, 96))
    """
    check_one_of("part", part, _PARTS)
    rng = np.random.default_rng((check_integer("seed", seed, least=0), _PARTS.index(part)))
    images, labels = read_garments(part)
    cutouts = _color(images[..., 0], rng)
    return compose_scenes(
        list(cutouts),
        labels.tolist(),
        _tear(cutouts, rng),
        scenes,
        (_SCENE, _SCENE),
        objects=(1, 4),
        scale=(_SIDES[0] / _SCENE, _SIDES[1] / _SCENE),
        seed=int(rng.integers(1 << 32)),
    )


def _color(gray: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return garments in random colors, cut out: `(n, height, width, 4)`."""
    colors = zip(rng.random(len(gray)), rng.uniform(0.1, 0.7, len(gray)), strict=True)
    tints = np.array([colorsys.hsv_to_rgb(hue, saturation, 1.0) for hue, saturation in colors])
    tinted = gray[..., None].astype("uint16") * (255 * tints).astype("uint16")[:, None, None]
    alpha = _fill_garments(gray >= _DARKEST) * np.uint8(255)
    return np.concatenate([(tinted // 255).astype("uint8"), alpha[..., None]], axis=-1)


def _fill_garments(shown: np.ndarray) -> np.ndarray:
    """Return masks `(n, height, width)` with what a garment surrounds on all four sides."""
    filled = np.ones_like(shown)
    for axis in (1, 2):
        filled &= np.logical_or.accumulate(shown, axis)
        filled &= np.flip(np.logical_or.accumulate(np.flip(shown, axis), axis), axis)
    return filled


def _tear(cutouts: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Return backgrounds of shreds of garments."""
    return [_lay_shreds(cutouts, rng) for _ in range(_BACKGROUNDS)]


def _lay_shreds(cutouts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one background: enlarged squares from the middles of garments, over one another."""
    canvas = Image.new("RGB", (_BACKGROUND, _BACKGROUND), tuple(rng.integers(40, 200, 3).tolist()))
    for garment in rng.integers(len(cutouts), size=_SHREDS):
        left, top = rng.integers(5, 14, 2)
        shred = Image.fromarray(cutouts[garment, top : top + 9, left : left + 9, :3])
        width, height = rng.integers(12, 40, 2).tolist()
        x, y = rng.integers(-20, _BACKGROUND - 8, 2).tolist()
        canvas.paste(shred.resize((width, height), Image.Resampling.BILINEAR), (x, y))
    return np.array(canvas)
