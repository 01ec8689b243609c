"""Images and their masks as a data set for semantic segmentation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_dlcourse._checks import check_flag
from keras_dlcourse._files import user_path
from keras_dlcourse._progress import track
from keras_dlcourse.data.image_files import ImageFiles, threads
from keras_dlcourse.data.listing import display_name, display_path, files_below
from keras_dlcourse.data.mask_labels import IGNORE
from keras_dlcourse.data.masks.coco import read_coco
from keras_dlcourse.data.masks.sources import (
    MaskFiles,
    MaskImage,
    MaskOutlines,
    MaskSource,
    check_size,
    count_classes,
)
from keras_dlcourse.data.masks.table import VOC_COLORS, ClassTable
from keras_dlcourse.data.parts import find_part
from keras_dlcourse.data.reading import FoundImages, ImageReader, is_kept, list_some, read_files
from keras_dlcourse.edge.vision.images import InvalidImage

if TYPE_CHECKING:
    from keras_dlcourse.data.datasets import Dataset

_LISTED = 10  # files listed in a message
_SAMPLED = 20  # masks whose values are shown if nobody says what they mean
_VOC_IMAGES, _VOC_MASKS, _VOC_LISTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"
_VOC_PARTS = {"train": "train", "val": "validation", "test": "test"}
_VOC_BORDER = (224, 224, 192)
_Key = tuple[str, ...]  # part, folders, and the name without its ending


@dataclass(frozen=True)
class MaskPair:
    """An image, its name in messages, its mask, and the part of the data."""

    image: Path
    name: str
    mask: MaskSource
    part: str


def mask_folder(
    images: str | os.PathLike[str],
    masks: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | Mapping[str, Any] | None = None,
    image_size: int | tuple[int, int] = 96,
    channels: int = 3,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    batch_size: int = 32,
    crop: bool = False,
    cache: bool | None = None,
    ignore: Any = IGNORE,
    bits: int | None = None,
    group_by: str | None = None,
) -> Dataset:
    r"""Create a data set for semantic segmentation from images and their masks.

    | `images` | `masks` | classes |
    |---|---|---|
    | a folder | a folder with a mask of the same name for each image | `classes` |
    | a folder | a `.json` file of COCO annotations | its categories, after background |
    | a folder in the layout of PASCAL VOC | None | the 21 classes of VOC |

    **Names.** An image and its mask have the same path below their folders, without the file type:
    `images/a/1.jpg` and `masks/a/1.png`. All masks may have the same ending besides, such as
    `1_mask.png`. Every file must have its partner, so that no file is dropped silently. If all
    images are in folders for training, validation and testing (`train`, `val`, `test`, or similar
    names), that split is used; a part that is missing is drawn from the training part.

    **Classes in the files.** Masks have one whole number per pixel, of 8 or 16 bits, or one color
    per class. Names alone stand for the numbers 0, 1, ...; a dictionary gives the number or the
    color of each class: `{"sky": 0, "road": 7}`, `{"sky": "#4682b4", "road": (128, 64, 128)}`. In
    PNG files with a palette, the number in the file counts, unless classes have colors. A value
    that is not in `classes` is an error.

    **COCO.** Polygons and run lengths are drawn, those of crowds like all others, and smaller
    objects over larger ones. What no chosen category covers is background, class 0.

    **Sizes.** A mask must be as large as its image. Both are resized alike, images with smoothing;
    each pixel of a mask takes the class of the nearest one, so no class is interpolated.

    Args:
        images: Folder of the images, or of a VOC data set.
        masks: Folder of the masks, or a file of COCO annotations; None for VOC.
        classes: The classes, see above. For COCO, the categories to use; None uses all.
        image_size: Height and width to resize to, in pixels; one integer for both.
        channels: 3 for RGB, 1 for gray.
        validation: Fraction of the images for validation, above 0, such that it contains about this
            fraction of the pixels of each class. Not used if there is a folder for validation.
        test: The same for testing.
        seed: Seed of the split and of the training order.
        batch_size: Number of images per batch.
        crop: False stretches images to the size, True keeps their aspect ratio and crops the
            center. Use the same value on the device.
        cache: Whether to keep the pixels in memory; otherwise images and masks are read again each
            epoch. None keeps them if the images take up to 1 GiB.
        ignore: The number in masks of pixels without a label, or their color if classes have
            colors, unless it is that of a class. In the data set, they are 255.
        bits: Number of bits used by gray images that are stored with 16 bits, as in
            `keras_dlcourse.edge.read_image`.
        group_by: Regular expression with one group in parentheses, which is searched for in the
            path of each image below its folder, such as `r"patient(\d+)"`. Images with the same
            text there are put in the same part.

    Returns:
        A `Dataset` whose labels are masks `(n, height, width)` uint8: class numbers, and 255, its
        `ignore`, where there is no label.

    Raises:
        FileNotFoundError: If a folder or file does not exist.
        TypeError: If an argument has a wrong type.
        ValueError: If files have no partner, masks have another size than their image or values
            without a class, files cannot be read (the message lists them), there are fewer than two
            classes, a class is in fewer images than there are parts to draw, or an argument is out
            of range.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> import keras_dlcourse as kd
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> for name in ("images", "masks"):
        ...     (root / name).mkdir()
        >>> for i in range(5):
        ...     Image.new("RGB", (40, 30), "green").save(root / "images" / f"{i}.jpg")
        ...     mask = Image.new("L", (40, 30), 0)
        ...     mask.paste(1, (8, 4, 20 + i, 20))
        ...     mask.save(root / "masks" / f"{i}.png")
        >>> data = kd.data.mask_folder(root / "images", root / "masks", ["grass", "house"], 32)
        >>> data.class_names, data.train.y.shape, data.ignore
        (('grass', 'house'), (3, 32, 32), 255)
    """
    if cache is not None:
        check_flag("cache", cache)  # decoded images are kept on disk by image_folder only
    reader = ImageReader(
        image_size=image_size,
        channels=channels,
        validation=validation,
        test=test,
        seed=seed,
        batch_size=batch_size,
        skip_bad=False,
        crop=crop,
        cache=cache,
        bits=bits,
        group_by=group_by,
    )
    folder = user_path(images)
    names, pairs = find_pairs(folder, None if masks is None else user_path(masks), classes, ignore)
    return _read(reader, folder, names, pairs)


def _read(
    reader: ImageReader, place: Path, names: tuple[str, ...], pairs: Sequence[MaskPair]
) -> Dataset:
    """Read the images and masks, split them, and return the data set."""
    found = FoundImages(
        name=display_name(place.resolve()),
        place=place,
        class_names=names,
        paths=[pair.image for pair in pairs],
        names=[pair.name for pair in pairs],
        labels=np.zeros((len(pairs), len(names)), int),
        parts=np.array([pair.part for pair in pairs], str),
    )
    x, masks, found.labels[:] = read_pairs(pairs, reader.files(found), len(names), reader.cache)
    return reader.split(found, x, masks)


def read_pairs(
    pairs: Sequence[MaskPair], files: ImageFiles, classes: int, cache: Any = None
) -> tuple[Any, Any, np.ndarray]:
    """Read the images and masks that `find_pairs` found, to find unusable ones at once.

    Args:
        pairs: The images with their masks.
        files: The images, at the size to resize both to.
        classes: Number of classes.
        cache: Whether to keep the pixels in memory; None keeps them if they fit.

    Returns:
        The images and the masks, as arrays or as files that are read on access; and how many pixels
        of each class each mask has, `(n, classes)`.

    Raises:
        ValueError: If images or masks cannot be used; the message lists them.
    """
    masks = MaskFiles([pair.mask for pair in pairs], files.image_size, files.crop)
    in_memory = is_kept(files, cache)
    kept = np.empty(masks.shape, np.uint8) if in_memory else None
    counts = _read_masks(masks, pairs, classes, kept)
    x, _, _ = read_files(files, skip_bad=False, cache=in_memory)
    return x, masks if kept is None else kept, counts


def _read_masks(
    masks: MaskFiles, pairs: Sequence[MaskPair], classes: int, kept: np.ndarray | None
) -> np.ndarray:
    """Read every mask once, into `kept` if that is given.

    Returns:
        How many pixels of each class each mask has, `(n, classes)`.
    """
    pixels = np.zeros((len(pairs), classes), int)

    def problem(index: int) -> str:
        pair = pairs[index]
        try:
            mask = pair.mask.read()
            check_size(mask, pair.mask.name, pair.image)
        except (InvalidImage, OSError) as error:
            return str(error)
        mask = masks.resize(mask)
        pixels[index] = count_classes(mask, classes)
        if kept is not None:
            kept[index] = mask
        return ""

    results = threads().map(problem, range(len(pairs)))
    bad = [text for text in track(results, len(pairs), "Reading masks") if text]
    if bad:
        listed = "".join(f"\n  {text}" for text in bad[:_LISTED])
        more = f"\n  and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
        raise ValueError(
            f"{len(bad)} of {len(pairs)} masks cannot be used:{listed}{more}\nCorrect them, or "
            "classes and ignore."
        )
    return pixels


def find_pairs(
    folder: Path, masks: Path | None, classes: Any = None, ignore: Any = IGNORE
) -> tuple[tuple[str, ...], list[MaskPair]]:
    """Return the class names, and the images with their masks, which are not read.

    The arguments and errors are those of `mask_folder`.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder. Pass the folder of the images.")
    if masks is None:
        if not is_voc(folder):
            raise ValueError(
                "masks must be the folder of the masks, or a .json file of COCO annotations, "
                f"unless images is a VOC data set with {_VOC_IMAGES} and {_VOC_MASKS}. Received: "
                f"None, and images={folder}"
            )
        table = _voc_table() if classes is None else ClassTable.of(classes, ignore)
        return table.class_names, _pair_voc(folder, table)
    if masks.suffix.lower() == ".json":
        if not masks.is_file():
            raise FileNotFoundError(f"{masks} is not a file. Pass a file of COCO annotations.")
        names, outlines = read_coco(masks, classes)
        return names, _pair_coco(folder, outlines)
    if not masks.is_dir():
        raise FileNotFoundError(
            f"{masks} is not a folder. Pass the folder of the masks, or a .json file of COCO "
            "annotations."
        )
    if classes is None:
        raise ValueError(_ask_for_classes(masks))
    table = ClassTable.of(classes, ignore)
    return table.class_names, _pair_files(folder, masks, table)


def is_voc(folder: Path) -> bool:
    """Return whether a folder has the layout of a PASCAL VOC data set."""
    return (folder / _VOC_IMAGES).is_dir() and (folder / _VOC_MASKS).is_dir()


def _voc_table() -> ClassTable:
    return ClassTable(
        class_names=tuple(VOC_COLORS),
        values=tuple(range(len(VOC_COLORS))),
        colors=tuple(VOC_COLORS.values()),
        ignored_value=IGNORE,
        ignored_color=_VOC_BORDER,
    )


def _ask_for_classes(masks: Path) -> str:
    """Return a message that shows which values masks have."""
    from PIL import Image

    counts: dict[str, int] = {}
    for path in files_below(masks, set())[:_SAMPLED]:
        try:
            with Image.open(path) as image:
                for count, value in image.getcolors(1 << 24) or []:
                    if isinstance(value, tuple):
                        shown = f"#{bytes(value[:3]).hex()}"
                    else:
                        shown = str(value)
                    counts[shown] = counts.get(shown, 0) + count
        except (OSError, ValueError, Image.DecompressionBombError):
            continue
    total = sum(counts.values())
    listed = [
        f"{value} ({count / total:.1%})"
        for value, count in sorted(counts.items(), key=lambda each: -each[1])
    ]
    seen = f" The first masks have the values {list_some(listed)}." if listed else ""
    return (
        "classes must name the classes in the order of their values 0, 1, ..., or give the value "
        f"or the color of each: {{'sky': 0, 'road': 7}}. Received: None.{seen}"
    )


def _pair_voc(folder: Path, table: ClassTable) -> list[MaskPair]:
    """Return the images that the lists of a VOC data set name; without lists, all with a mask."""
    images = _by_key(folder / _VOC_IMAGES)
    masks = _by_key(folder / _VOC_MASKS)
    parts: dict[_Key, str] = {}
    for name, part in _VOC_PARTS.items():
        listing = folder / _VOC_LISTS / f"{name}.txt"
        keys = [("", stem) for stem in listing.read_text().split()] if listing.is_file() else []
        # The masks of the test images are often not public.
        if part != "test" or any(key in masks for key in keys):
            parts.update(dict.fromkeys(keys, part))
    parts = parts or dict.fromkeys(masks, "train")
    _check_partners(
        {key: folder / _VOC_IMAGES / key[-1] for key in parts}, images, "listed names", "image"
    )
    _check_partners({key: images[key] for key in parts}, masks, "images", "mask")
    return [
        _pair(folder, images[key], MaskImage(masks[key], table), part)
        for key, part in sorted(parts.items())
    ]


def _pair_coco(folder: Path, outlines: Mapping[str, MaskOutlines]) -> list[MaskPair]:
    images = {display_path(path.relative_to(folder)): path for path in files_below(folder, set())}
    _check_partners(images, outlines, "images", "entry in the annotations")
    _check_partners({name: folder / name for name in outlines}, images, "annotated images", "file")
    return [_pair(folder, path, outlines[name], "train") for name, path in images.items()]


def _pair_files(folder: Path, masks: Path, table: ClassTable) -> list[MaskPair]:
    found, marked = _by_key(folder), _by_key(masks)
    if not found:
        raise ValueError(f"{folder} contains no files. Pass the folder of the images.")
    parts = {key[0] for key in found}
    is_split = "train" in parts and "" not in parts
    if not found.keys() & marked.keys():
        marked = _strip_ending(found, marked)
    _check_partners(found, marked, "images", "mask")
    _check_partners(marked, found, "masks", "image")
    return [
        _pair(folder, path, MaskImage(marked[key], table), key[0] if is_split else "train")
        for key, path in found.items()
    ]


def _pair(folder: Path, image: Path, mask: MaskSource, part: str) -> MaskPair:
    return MaskPair(image, display_path(image.relative_to(folder)), mask, part)


def _by_key(folder: Path) -> dict[_Key, Path]:
    """Return the files below a folder by part, folders and name without ending."""
    files: dict[_Key, Path] = {}
    for path in files_below(folder, set()):
        *folders, _ = map(str, path.relative_to(folder).parts)
        part = find_part(folders[0]) if folders else None
        key = (part or "", *(folders[1:] if part else folders), path.stem)
        if key in files:
            raise ValueError(
                "Each image and mask must have a name of its own. Received: "
                f"{files[key]} and {path}"
            )
        files[key] = path
    return files


def _strip_ending(images: Mapping[_Key, Path], masks: dict[_Key, Path]) -> dict[_Key, Path]:
    """Return masks without an ending of their names, if all have it and then fit the images."""
    *place, name = min(images)
    endings = {key[-1][len(name) :] for key in masks if key[:-1] == (*place,)}
    for ending in sorted(filter(None, endings)):
        stripped = {(*key[:-1], key[-1].removesuffix(ending)): path for key, path in masks.items()}
        if stripped.keys() == images.keys():
            return stripped
    return masks


def _check_partners(
    files: Mapping[Any, Path], partners: Mapping[Any, Any], nouns: str, partner: str
) -> None:
    """Raise ValueError if files have no partner."""
    if missing := [str(path) for key, path in files.items() if key not in partners]:
        raise ValueError(
            f"Each image must have a mask of the same name. {len(missing)} of {len(files)} {nouns} "
            f"have no {partner}: {list_some(missing)}"
        )
