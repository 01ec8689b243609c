"""Read annotations in the format of COCO."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_dlcourse._checks import is_whole
from keras_dlcourse.data.masks.sources import MaskOutlines
from keras_dlcourse.data.reading import list_some
from keras_dlcourse.edge.description.labels import check_class_names

BACKGROUND = "background"
_LISTS = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("image_id", "category_id"),
    "categories": ("id", "name"),
}


def read_coco(
    path: Path, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], dict[str, MaskOutlines]]:
    """Return the classes, and the mask of each image by its file name.

    Args:
        path: A JSON file with the lists images, annotations and categories.
        classes: The categories to use; None uses all, in the order of their ids.

    Returns:
        `"background"` and the categories, and the masks.

    Raises:
        ValueError: If the file is not of that form, categories are missing, or objects have no
            outline.
    """
    content = _read_lists(path)
    name_of = {each["id"]: each["name"] for each in content["categories"]}
    names = _choose(classes, [name_of[number] for number in sorted(name_of)])
    images = {each["id"]: each for each in content["images"]}
    objects: dict[Any, list[tuple[int, Any]]] = defaultdict(list)
    without = []
    for number, each in enumerate(content["annotations"]):
        if each["category_id"] not in name_of or each["image_id"] not in images:
            raise ValueError(
                f"{path}: annotation {each.get('id', number)} must be of a listed image and "
                f"category. Received: image {each['image_id']}, category {each['category_id']}"
            )
        name = name_of[each["category_id"]]
        if not each.get("segmentation"):
            without.append(str(each.get("id", number)))
        elif name in names:
            objects[each["image_id"]].append((names.index(name), each["segmentation"]))
    if without:
        raise ValueError(
            f"{path}: each annotation must have a segmentation. Missing in {len(without)} of "
            f"{len(content['annotations'])}: {list_some(without)}. Boxes do not say which pixels "
            "belong to an object: remove these annotations, or outline the objects."
        )
    masks = {}
    for number, image in images.items():
        size = image["height"], image["width"]
        if not all(is_whole(side) and side > 0 for side in size):
            raise ValueError(
                f"{path}: {image['file_name']} must have a height and a width. Received: {size}"
            )
        if image["file_name"] in masks:
            raise ValueError(f"{path} lists {image['file_name']} twice.")
        name = f"{image['file_name']} in {path}"
        masks[image["file_name"]] = MaskOutlines(name, size, tuple(objects[number]))
    return names, masks


def _choose(classes: Any, available: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the classes, the background first."""
    if classes is None:
        chosen = check_class_names(available, "the categories")
    elif isinstance(classes, Mapping):
        raise TypeError(
            "classes must be names of categories if masks are COCO annotations, which have no "
            f"values or colors. Received: {dict(classes)!r}"
        )
    else:
        chosen = check_class_names(classes, "classes")
    if missing := [name for name in chosen if name not in (BACKGROUND, *available)]:
        raise ValueError(
            f"classes must be categories. Missing: {list_some(missing)}. Available: "
            f"{list_some(list(available))}"
        )
    return (BACKGROUND, *(name for name in chosen if name != BACKGROUND))


def _read_lists(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the lists of a COCO file, whose entries have what is needed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from None
    for key, needed in _LISTS.items():
        listed = content.get(key) if isinstance(content, dict) else None
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise ValueError(
                f"{path} must be COCO annotations: an object with the lists {', '.join(_LISTS)}. "
                f"Received: no list {key}"
            )
        for number, each in enumerate(listed):
            if missing := [name for name in needed if name not in each]:
                raise ValueError(f"{path}: entry {number} of {key} has no {missing[0]}.")
    return content
