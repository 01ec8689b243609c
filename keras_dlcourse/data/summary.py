"""What a data set consists of, and what is wrong with it, before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_dlcourse._tables import text_table
from keras_dlcourse.data.datasets import Dataset
from keras_dlcourse.data.image_files import threads
from keras_dlcourse.data.leaks import Leaks, compare_parts
from keras_dlcourse.data.mask_labels import count_pixels, is_masks

_PARTS = ("train", "validation", "test")
_SHOWN = 5  # pairs of images, or files, shown of each kind
_CLASSES = 20  # rows for classes


@dataclass(frozen=True)
class Summary:
    """What a data set consists of, and what is wrong with it. `print` it for a table.

    Attributes:
        name: Name of the data set.
        class_names: Names of the classes.
        image_shape: Height, width and channels of the images as they are trained on.
        class_counts: Number of images of each class in each part, `(classes,)` int, by the name of
            the part. An image with several classes, also in its mask, counts in each.
        examples: Number of images in each part.
        leaks: Images shared by two parts, by the names of the parts; None if more than a million
            pairs look alike.
        conflicts: Pairs of identical images with different labels, as described in messages.
        formats: Number of files of each format, such as `{"JPEG": 12}`, the most frequent first;
            empty if the data are not from files.
        stored_sizes: Width and height of the smallest and of the largest file; None if the data are
            not from files.
        unreadable: What is wrong with each file that was skipped.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    class_counts: Mapping[str, np.ndarray]
    examples: Mapping[str, int]
    leaks: Mapping[tuple[str, str], Leaks | None]
    conflicts: tuple[str, ...]
    formats: Mapping[str, int]
    stored_sizes: tuple[tuple[int, int], tuple[int, int]] | None
    unreadable: tuple[str, ...]
    _names: Mapping[str, tuple[str, ...]] | None = field(repr=False, default=None)

    @property
    def passed(self) -> bool:
        """Whether the data have no certain fault.

        Faults are unreadable files, and identical images in two parts or with different labels.
        Images that look alike are none: they may show different objects.
        """
        identical = any(found is None or len(found.exact) for found in self.leaks.values())
        return not (identical or self.conflicts or self.unreadable)

    def count(self, part: str, kind: str) -> int | None:
        """Return how many images of a part are in a pair with an image of an earlier part.

        Args:
            part: `"validation"` or `"test"`.
            kind: `"exact"` or `"similar"`. Images with an identical image are not `"similar"`.

        Returns:
            The number, or None if there are too many pairs to list.
        """
        found = [leaks for (_, asked), leaks in self.leaks.items() if asked == part]
        listed = [leaks for leaks in found if leaks is not None]
        if len(listed) < len(found):
            return None
        exact = _rows(leaks.exact for leaks in listed)
        return len(exact if kind == "exact" else _rows(one.similar for one in listed) - exact)

    def _totals(self) -> np.ndarray:
        return np.sum(list(self.class_counts.values()), axis=0)

    def lines(self) -> list[str]:
        """Return the size of the data set and its problems, a line for each."""
        total = self._totals()
        least, most = int(total.min()), int(total.max())
        of_each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        sizes = [f"{self.examples[part]:,} {part}" for part in _PARTS]
        return [
            f"{sum(self.examples.values()):,} images in {len(self.class_names)} classes, {of_each} "
            f"of each: {', '.join(sizes)}",
            *self._problems(),
        ]

    def _problems(self) -> Iterator[str]:
        for part in _PARTS[1:]:
            exact, similar = self.count(part, "exact"), self.count(part, "similar")
            whole = f"the {self.examples[part]:,} {part} images"
            if exact is None or similar is None:
                yield f"Leak: more than a million pairs with {whole} look alike. Remove repetitions"
                continue
            for kind, count, told in (
                ("exact", exact, "identical to"), ("similar", similar, "similar to"),
            ):  # fmt: skip
                if count:
                    are = "is" if count == 1 else "are"
                    yield (
                        f"Leak: {count:,} of {whole} {are} {told} images of another part, e.g. "
                        f"{self._example(part, kind)}. Scores on them measure memorization: remove "
                        "them, or keep related images together with group_by"
                    )
        if self.conflicts:
            yield (
                f"Labels: {_count(len(self.conflicts), 'image')} identical to one with another "
                f"label, e.g. {self.conflicts[0]}"
            )
        if self.unreadable:
            yield (
                f"Unreadable: {_count(len(self.unreadable), 'file')} skipped, e.g. "
                f"{self.unreadable[0]}"
            )

    def _example(self, part: str, kind: str) -> str:
        """Return one pair of images as text."""
        for (known, asked), leaks in self.leaks.items():
            if asked == part and leaks is not None and len(getattr(leaks, kind)):
                first, second = getattr(leaks, kind)[0].tolist()
                return f"{self._place(asked, second)} and {self._place(known, first)}"
        raise KeyError(part, kind)

    def _place(self, part: str, index: int) -> str:
        return _place(self._names, part, index)

    def __str__(self) -> str:
        size = "x".join(map(str, self.image_shape))
        total = self._totals()
        shown = np.arange(len(total))
        title = f"{self.name}: images of {size} in {len(total)} classes"
        if len(total) > _CLASSES:
            shown = np.argsort(total, kind="stable")[:_CLASSES]
            title += f", of which the {_CLASSES} smallest are shown"
        rows: list[list[Any]] = [
            [self.class_names[row], *(int(self.class_counts[part][row]) for part in _PARTS)]
            for row in shown.tolist()
        ]
        rows.append(["all images", *(self.examples[part] for part in _PARTS)])
        for kind, told in (("exact", "identical"), ("similar", "similar")):
            counts = [self.count(part, kind) for part in _PARTS[1:]]
            shown_counts = ["too many" if count is None else count for count in counts]
            rows.append([f"{told} to an earlier part", None, *shown_counts])
        lines = [text_table(["class", *_PARTS], rows, title=title), ""]
        if self.stored_sizes is not None:
            formats = ", ".join(f"{count:,} {name}" for name, count in self.formats.items())
            smallest, largest = (f"{width}x{height}" for width, height in self.stored_sizes)
            sizes = f"of {smallest}" if smallest == largest else f"from {smallest} to {largest}"
            lines.append(f"Files: {formats}, {sizes} pixels (width x height)")
        problems = [f"{line}." for line in self._problems()]
        return "\n".join(lines + (problems or ["No leaks, no unreadable files."]))


def summarize(data: Dataset) -> Summary:
    """Return what a data set consists of, and what is wrong with it.

    Compares the parts with `find_leaks`, on images of the size for training, finds identical images
    with different labels, counts the images of each class, and reads the formats and sizes of the
    files. The images are read once.

    Args:
        data: The data set, e.g. from `kd.data.read_images(..., skip_bad=True)`.

    Returns:
        A `Summary`.

    Raises:
        TypeError: If `data` is not a `Dataset`.
        ValueError: If its labels are not class numbers, masks, or 1, 0 and -1 for each class.

    Example:
        >>> import numpy as np, keras_dlcourse as kd
        >>> x = np.random.default_rng(0).integers(0, 200, (12, 16, 16, 3)).astype("uint8")
        >>> y = np.arange(12) % 2
        >>> parts = [(x[rows], y[rows]) for rows in (slice(8), slice(6, 10), slice(10, 12))]
        >>> summary = summarize(kd.data.Dataset.from_parts("mine", *parts, ("cat", "dog")))
        >>> summary.count("validation", "exact"), summary.count("test", "exact")
        (2, 0)
        >>> print(summary.lines()[0])
        14 images in 2 classes, 7 of each: 8 train, 4 validation, 2 test
    """
    if not isinstance(data, Dataset):
        raise TypeError(
            "data must be a kd.data.Dataset, e.g. from kd.data.read_images. Received: "
            f"{type(data).__name__}"
        )
    parts = {part: getattr(data, part) for part in _PARTS}
    counts = {
        name: _count_classes(name, part.y, len(data.class_names)) for name, part in parts.items()
    }
    leaks, digests = compare_parts(parts)
    names = None if data.files is None else data.files.names
    labels = {name: part.y for name, part in parts.items()}
    facts = [] if data.files is None else _list_facts(data.files.paths)
    sizes = sorted((size for _, size in facts), key=lambda size: (size[0] * size[1], size))
    return Summary(
        name=data.name,
        class_names=data.class_names,
        image_shape=data.image_shape,
        class_counts=counts,
        examples={name: part.examples for name, part in parts.items()},
        leaks=leaks,
        conflicts=tuple(_find_conflicts(digests, labels, data.class_names, names)),
        formats=dict(Counter(kind for kind, _ in facts).most_common()),
        stored_sizes=(sizes[0], sizes[-1]) if sizes else None,
        unreadable=() if data.files is None else data.files.unreadable,
        _names=names,
    )


def _count_classes(part: str, labels: Any, classes: int) -> np.ndarray:
    if isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind == "i":
        return np.bincount(labels, minlength=classes)
    if is_masks(labels):
        return (count_pixels(labels)[:, :classes] > 0).sum(axis=0)
    if isinstance(labels, np.ndarray) and labels.ndim == 2 and labels.shape[1] == classes:
        return (labels == 1).sum(axis=0)
    raise ValueError(
        f"data.{part} must have class numbers, masks, or 1, 0 and -1 for each class, as labels. "
        "Received: "
        f"{getattr(labels, 'shape', type(labels).__name__)}"
    )


def _find_conflicts(
    digests: Mapping[str, list[bytes]],
    labels: Mapping[str, np.ndarray],
    class_names: tuple[str, ...],
    names: Mapping[str, tuple[str, ...]] | None,
) -> Iterator[str]:
    """Yield pairs of identical images with different labels as text, each second image once."""
    first: dict[bytes, tuple[str, int]] = {}
    for part, of_part in digests.items():
        for index, digest in enumerate(of_part):
            known, row = first.setdefault(digest, (part, index))
            if not np.array_equal(labels[known][row], labels[part][index]):
                yield " and ".join(
                    f"{_place(names, part, row)}: {_name_labels(labels[part][row], class_names)}"
                    for part, row in ((part, index), (known, row))
                )


def _name_labels(label: Any, class_names: tuple[str, ...]) -> str:
    if np.ndim(label) == 0:
        return class_names[int(label)]
    if np.ndim(label) == 2:
        return "a mask"
    return " | ".join(class_names[row] for row in np.flatnonzero(label == 1)) or "none"


def _place(names: Mapping[str, tuple[str, ...]] | None, part: str, index: int) -> str:
    """Return what an image is called in messages."""
    return f"{part}[{index}]" if names is None else f"{names[part][index]} ({part})"


def _list_facts(paths: Mapping[str, tuple[Path, ...]]) -> list[tuple[str, tuple[int, int]]]:
    """Return the format, and the width and height, of each file."""
    files = [path for part in paths.values() for path in part]
    return list(threads().map(_read_header, files))


def _read_header(path: Path) -> tuple[str, tuple[int, int]]:
    from PIL import Image

    with Image.open(path) as image:
        return image.format or "unknown", image.size


def _rows(pairs: Iterator[np.ndarray]) -> set[int]:
    """Return the second indices of pairs."""
    return {index for some in pairs for index in some[:, 1].tolist()}


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun} is" if number == 1 else f"{number:,} {noun}s are"
