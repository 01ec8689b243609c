"""Folders that are parts of a data set: train, val, test, each with one folder per class."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from keras_dlcourse.data.listing import class_folders, list_subfolders

_LISTED = 10  # folders listed in a message
# Words in the names of folders that contain one part of a data set.
_WORDS = {
    "train": {"train", "training", "trainset"},
    "validation": {"val", "valid", "valset", "validation", "dev"},
    "test": {"test", "testing", "testset", "eval", "evaluation", "holdout"},
}
_OTHER_WORDS = {"unlabeled", "unlabelled", "augmented"}


def find_parts(folders: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return which folder is which part of a data set that is already split.

    It is split if all folders are named like parts, one of them is the training part, and all
    contain folders, at least two in the training part.

    Args:
        folders: The names of the folders in each folder, by its name.

    Returns:
        The names of the folders of `"train"`, and of `"validation"` and `"test"` if they exist;
        empty if the folders are something else.

    Raises:
        ValueError: If another part has folders that the training part does not have.

    Example:
        >>> find_parts({"seg_test": ["cat", "dog"], "seg_train": ["cat", "dog"]})
        {'test': 'seg_test', 'train': 'seg_train'}
        >>> find_parts({"cat": [], "dog": []})
        {}
    """
    parts = {part: name for name in folders if (part := find_part(name)) is not None}
    if len(parts) < len(folders) or len(parts) < 2 or "train" not in parts:
        return {}
    classes = folders[parts["train"]]
    if len(classes) < 2 or not all(folders.values()):
        return {}
    for name in parts.values():
        if unknown := [inside for inside in folders[name] if inside not in classes]:
            raise ValueError(
                f"{name} must have the same classes as {parts['train']}. Received: folders that "
                f"{parts['train']} does not have: {', '.join(unknown[:_LISTED])}. Rename them, or "
                "pass the folder of one part, which is then split."
            )
    return parts


def find_part(name: str) -> str | None:
    """Return the part that a folder is named like: train, seg_test, ValImages, train2017.

    Example:
        >>> find_part("seg_train"), find_part("valid"), find_part("valley")
        ('train', 'validation', None)
    """
    words = _list_words(name)
    found = [part for part, known in _WORDS.items() if not known.isdisjoint(words)]
    return found[0] if len(found) == 1 else None


def _list_words(name: str) -> set[str]:
    words = [word.lower() for word in re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    return {*words, "".join(words)}


def list_classes(part: Path) -> dict[str, Path]:
    """Return the folders in the folder of a part, by name.

    Archives often repeat the name of a part, as in `train/train/cat`; one repetition is skipped.
    """
    classes = class_folders(part)
    repeated = [path for name, path in classes.items() if find_part(name) == find_part(part.name)]
    return class_folders(repeated[0]) if len(classes) == len(repeated) == 1 else classes


def check_not_parts(root: Path, folders: dict[str, Path]) -> None:
    """Raise ValueError if folders are parts of a data set, judging by their names and contents."""
    known = _OTHER_WORDS.union(*_WORDS.values())
    parts = [name for name in folders if not known.isdisjoint(_list_words(name))]
    held = [inside for folder in folders.values() if (inside := list_subfolders(folder))]
    shared = sorted(set.intersection(*held)) if len(held) > 1 else []
    reasons = []
    if parts:
        reasons.append(f"{', '.join(parts)} are named like parts of a data set")
    if len(shared) > 1:  # a single one is a common layout, as in cat/images/ and dog/images/
        listed = ", ".join(shared[:_LISTED]) + (", ..." if len(shared) > _LISTED else "")
        reasons.append(f"{len(held)} of them contain the same folders ({listed})")
    if reasons:
        candidates = parts or list(folders)
        example = root / min(candidates, key=lambda name: "train" not in name.lower())
        raise ValueError(
            f"The folders in {root} ({', '.join(folders)}) must be classes, or train/ and test/ or "
            f"val/ with the same classes, but {' and '.join(reasons)}. Pass the folder of one "
            f"part, e.g. {example}, which is then split; or keep your own split with "
            "kd.data.Dataset.from_parts (see docs/data.md); or, if they are classes, list all "
            "classes in class_names=[...] (--classes)."
        )
