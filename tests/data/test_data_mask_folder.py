"""Masks from files: what a pixel means is what the file says, or an error names the file."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

import keras_dlcourse as kd
from keras_dlcourse.data import VOC_COLORS, encode_rle, mask_folder

SIZE = (12, 16)
NAMES = ("ground", "house", "tree")
COLORS = {"ground": "#102030", "house": (255, 0, 0), "tree": "lime"}


def _classes(count=6, ignored=False):
    """Return masks that all show three classes."""
    masks = np.zeros((count, *SIZE), "uint8")
    for number, mask in enumerate(masks):
        mask[2:6, 1 : 6 + number] = 1
        mask[8:11, 9:15] = 2
        if ignored:
            mask[0, :4] = 255
    return masks


def _save(folder, images, suffix=".png", **options):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        picture.save(folder / f"{number}{suffix}", **options)


@pytest.fixture
def photos(tmp_path):
    """Six photos that show their masks, so that images and masks can be told to fit."""
    _save(tmp_path / "images", [np.repeat(m[..., None], 3, -1) * 100 for m in _classes()])
    return tmp_path / "images"


def _colored(masks):
    table = np.array([(0x10, 0x20, 0x30), (255, 0, 0), (0, 255, 0)], "uint8")
    return list(table[masks])


def _palette(masks, colors):
    found = []
    for mask in masks:
        picture = Image.fromarray(mask).convert("P")
        picture.putdata(mask.ravel().tolist())
        picture.putpalette([part for color in colors for part in color])
        found.append(picture)
    return found


def _check(data, masks):
    """Compare each image with its mask, and all masks with those that were saved."""
    assert data.class_names[-3:] == NAMES and data.ignore == 255
    found = [part for name in ("train", "validation", "test") for part in getattr(data, name).y]
    assert sorted(m.tobytes() for m in found) == sorted(m.tobytes() for m in masks)
    for part in (data.train, data.validation, data.test):
        assert (part.x[..., 0] == np.where(part.y == 255, 0, part.y) * 100).all()


FORMS = {
    "values": (lambda m: m, NAMES),
    "values of one's own": (
        lambda m: np.array([5, 0, 200], "uint8")[m],
        dict(zip(NAMES, (5, 0, 200), strict=True)),
    ),
    "16 bits": (
        lambda m: np.array([0, 300, 65535], "uint16")[m],
        dict(zip(NAMES, (0, 300, 65535), strict=True)),
    ),
    "colors": (_colored, COLORS),
    "values stored as colors": (lambda m: np.repeat(m[..., None], 3, -1), NAMES),
    "opaque colors": (
        lambda m: [np.dstack([c, np.full(SIZE, 255, "uint8")]) for c in _colored(m)],
        COLORS,
    ),
    "gray as colors": (
        lambda m: np.array([0, 128, 255], "uint8")[m],
        {"ground": "black", "house": "gray", "tree": "white"},
    ),
    # The numbers in the file count, whatever the colors of the palette.
    "palette": (lambda m: _palette(m, [(9, 9, 9), (9, 9, 9), (0, 0, 0)]), NAMES),
    "palette by color": (
        lambda m: _palette((m + 1) % 3, [(0, 255, 0), (0x10, 0x20, 0x30), (255, 0, 0)]),
        COLORS,
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_masks_of_each_form(photos, tmp_path, form):
    store, classes = FORMS[form]
    _save(tmp_path / "masks", store(_classes()))
    data = mask_folder(photos, tmp_path / "masks", classes, SIZE, validation=0.2, test=0.2)
    _check(data, _classes())
    assert data.train.y.dtype == np.uint8 and data.train.examples == 4


@pytest.mark.parametrize(
    ("store", "classes", "ignore"),
    [
        (lambda m: m, NAMES, 255),
        (lambda m: np.where(m == 255, 7, m).astype("uint8"), NAMES, 7),
        (
            lambda m: [
                np.where((k == 255)[..., None], np.uint8([1, 2, 3]), c)
                for k, c in zip(m, _colored(np.where(m == 255, 0, m)), strict=True)
            ],
            COLORS,
            (1, 2, 3),
        ),
    ],
    ids=["255", "7", "color"],
)
def test_pixels_without_a_label(photos, tmp_path, store, classes, ignore):
    masks = _classes(ignored=True)
    _save(tmp_path / "masks", store(masks))
    _check(mask_folder(photos, tmp_path / "masks", classes, SIZE, ignore=ignore), masks)


def test_a_class_may_have_the_value_255(photos, tmp_path):
    masks = np.where(_classes() == 1, 255, 0).astype("uint8")
    _save(tmp_path / "masks", masks)
    data = mask_folder(photos, tmp_path / "masks", {"ground": 0, "house": 255}, SIZE)
    assert set(np.unique(data.train.y)) == {0, 1}


@pytest.mark.parametrize("crop", [False, True])
def test_masks_are_resized_to_the_nearest_pixel_of_the_same_part(tmp_path, crop):
    """The image shows its mask: after resizing both, it still does, but for smoothed edges."""
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 60, 90), "uint8")
    for mask in masks:
        row, column = rng.integers(0, 30, 2) + [0, 20]
        mask[row : row + 24, column : column + 30] = 3
    _save(tmp_path / "images", masks * 80)
    _save(tmp_path / "masks", masks)
    classes = {"ground": 0, "thing": 3}
    data = mask_folder(tmp_path / "images", tmp_path / "masks", classes, (25, 25), 1, crop=crop)
    x, y = data.train.x[..., 0], data.train.y
    assert set(np.unique(y)) == {0, 1}
    sure = (x < 40) | (x > 200)
    assert ((x > 200) == (y == 1))[sure].mean() > 0.999 and sure.mean() > 0.85


def test_masks_without_memory_are_read_again(photos, tmp_path):
    _save(tmp_path / "masks", _classes())
    arguments = photos, tmp_path / "masks", NAMES, SIZE
    kept, read = mask_folder(*arguments), mask_folder(*arguments, cache=False)
    assert not isinstance(read.train.y, np.ndarray) and read.ignore == 255
    for one, other in zip(kept.train, read.train, strict=True):
        for ours, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert next(iter(read.train))[1].dtype == np.int32
    np.testing.assert_array_equal(read.test.y[0], kept.test.y[0])
    taken = kd.data.take(read.train, 3, seed=1).labels
    np.testing.assert_array_equal(taken, kd.data.take(kept.train, 3, seed=1).labels)
    np.testing.assert_allclose(kd.data.class_shares(read.train), kd.data.class_shares(kept.train.y))
    assert kd.data.summarize(read).class_counts["train"].tolist() == [4, 4, 4]


def test_names_with_a_common_ending_and_folders_of_parts(tmp_path):
    for part, count in (("train", 4), ("val", 2)):
        masks = _classes(count)
        _save(
            tmp_path / "images" / part / "a", [np.repeat(m[..., None], 3, -1) * 100 for m in masks]
        )
        _save(tmp_path / "masks" / part / "a", masks, suffix="_mask.png")
    data = mask_folder(tmp_path / "images", tmp_path / "masks", NAMES, SIZE)
    assert (data.train.examples, data.validation.examples, data.test.examples) == (3, 2, 1)
    assert data.files.names["validation"] == ("val/a/0.png", "val/a/1.png")


def test_groups_stay_together(photos, tmp_path):
    _save(tmp_path / "masks", _classes())
    data = mask_folder(
        photos, tmp_path / "masks", NAMES, SIZE, validation=0.3, test=0.3, group_by=r"([0-9])\.png"
    )
    assert data.train.examples == 2
    with pytest.raises(ValueError, match="group_by must match the path of each file"):
        mask_folder(photos, tmp_path / "masks", NAMES, SIZE, group_by="patient(x)")


# PASCAL VOC


def _voc(root, lists=True, colors=False):
    masks = _classes(8, ignored=True) * np.uint8(1)
    masks = np.where(masks == 2, 15, masks).astype("uint8")  # person
    _save(root / "JPEGImages", [np.zeros((*SIZE, 3), "uint8")] * 10, ".jpg")
    palette = [*VOC_COLORS.values(), *[(0, 0, 0)] * 234, (224, 224, 192)]
    pictures = _palette(masks, palette)
    _save(root / "SegmentationClass", [p.convert("RGB") for p in pictures] if colors else pictures)
    if lists:
        places = {"train": range(6), "val": (6, 7), "test": (8, 9), "trainval": range(8)}
        (root / "ImageSets/Segmentation").mkdir(parents=True)
        for name, numbers in places.items():
            text = "".join(f"{number}\n" for number in numbers)
            (root / f"ImageSets/Segmentation/{name}.txt").write_text(text)
    return masks


CHOSEN = {"background": 0, "aeroplane": 1, "person": 15}


@pytest.mark.parametrize("lists", [True, False])
def test_the_layout_of_voc(tmp_path, lists):
    masks = _voc(tmp_path, lists)
    data = mask_folder(tmp_path, classes=CHOSEN, image_size=SIZE, test=0.2)
    if lists:  # the masks of the test images are not there: they are drawn
        assert data.validation.examples == 2 and data.train.examples + data.test.examples == 6
    assert data.train.examples + data.validation.examples + data.test.examples == 8
    expected = np.where(masks == 15, 2, masks)
    found = np.concatenate([data.train.y, data.validation.y, data.test.y])
    assert sorted(m.tobytes() for m in found) == sorted(m.tobytes() for m in expected)


@pytest.mark.parametrize("colors", [True, False])
def test_all_classes_of_voc(tmp_path, colors):
    _voc(tmp_path, colors=colors)
    with pytest.raises(ValueError, match=r"at least 2 readable images.*: bicycle \(0\), bird"):
        mask_folder(tmp_path, image_size=SIZE)


def test_the_colors_of_voc():
    """As listed in https://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html."""
    assert len(VOC_COLORS) == 21 and list(VOC_COLORS)[::10] == ["background", "cow", "tvmonitor"]
    assert VOC_COLORS["aeroplane"] == (128, 0, 0) and VOC_COLORS["bottle"] == (128, 0, 128)
    assert VOC_COLORS["person"] == (192, 128, 128) and VOC_COLORS["tvmonitor"] == (0, 64, 128)


# COCO


def _coco(root, changes=None):
    """Write three objects per image: a polygon, run lengths of a crowd, and one over another."""
    box = [1, 2, 7, 2, 7, 6, 1, 6]
    crowd = np.zeros(SIZE, bool)
    crowd[8:11, 9:15] = True
    content = {
        "images": [
            {"id": 7 + k, "file_name": f"{k}.png", "height": SIZE[0], "width": SIZE[1]}
            for k in range(6)
        ],
        "categories": [{"id": 90, "name": "tree"}, {"id": 3, "name": "house"}],
        "annotations": [
            annotation
            for k in range(6)
            for annotation in (
                {"image_id": 7 + k, "category_id": 90, "segmentation": [[2, 3, 4, 3, 4, 5, 2, 5]]},
                {"image_id": 7 + k, "category_id": 3, "segmentation": [box], "iscrowd": 0},
                {"image_id": 7 + k, "category_id": 90, "segmentation": encode_rle(crowd)},
            )
        ],
    }
    (changes or (lambda content: None))(content)
    (root / "coco.json").write_text(json.dumps(content))
    return root / "coco.json"


def test_annotations_of_coco(photos, tmp_path):
    data = mask_folder(photos, _coco(tmp_path), image_size=SIZE)
    assert data.class_names == ("background", "house", "tree")  # by their ids
    expected = np.zeros(SIZE, "uint8")
    expected[2:6, 1:7] = 1
    expected[3:5, 2:4] = 2  # smaller, so that it is in front, whatever the order
    expected[8:11, 9:15] = 2
    assert (data.train.y == expected).all() and data.train.examples == 4
    chosen = mask_folder(photos, _coco(tmp_path), ["tree"], SIZE, cache=False)
    assert chosen.class_names == ("background", "tree")
    np.testing.assert_array_equal(chosen.train.y[0], np.where(expected == 2, 1, 0))


def _without_outline(content):
    content["annotations"][4]["segmentation"] = []


def _of_another_image(content):
    content["images"][0].update(width=17)
    del content["annotations"][2]


def _with_other_size(content):
    content["annotations"][2]["segmentation"]["size"] = [SIZE[1], SIZE[0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (_without_outline, "each annotation must have a segmentation. Missing in 1 of 18: 4"),
        (lambda c: c["annotations"][1].update(category_id=5), "annotation 1 must be of a listed"),
        (lambda c: c["images"].pop(), "annotation 15 must be of a listed image and category"),
        (lambda c: c["images"][0].pop("height"), "entry 0 of images has no height"),
        (lambda c: c["images"][0].update(height="12"), "must have a height and a width"),
        (lambda c: c.pop("categories"), "must be COCO annotations.*Received: no list categories"),
        (_with_other_size, r"0.png in .*coco.json: size must be \(12, 16\). Received: \(16, 12\)"),
        (_of_another_image, "must be as large as its image .*0.png, 16 x 12 pix.*: 17 x 12"),
        (lambda c: c["images"][0].update(file_name="x.png"), "1 of 6 images have no entry in the"),
        (
            lambda c: c["images"].append({"id": 1, "file_name": "y.png", "height": 1, "width": 1}),
            "1 of 7 annotated images have no file: .*y.png",
        ),
        (
            lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4]]),
            "0.png in .*: polygons must have three points or more",
        ),
    ],
)
def test_annotations_that_are_refused(photos, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        mask_folder(photos, _coco(tmp_path, changes), image_size=SIZE)


def test_categories_that_do_not_exist(photos, tmp_path):
    with pytest.raises(ValueError, match="Missing: car. Available: house, tree"):
        mask_folder(photos, _coco(tmp_path), ["tree", "car"], SIZE)
    with pytest.raises(TypeError, match="names of categories if masks are COCO annotations"):
        mask_folder(photos, _coco(tmp_path), {"tree": 1}, SIZE)
    (tmp_path / "coco.json").write_text("{")
    with pytest.raises(ValueError, match="coco.json is not a JSON file"):
        mask_folder(photos, tmp_path / "coco.json", image_size=SIZE)


# Bad input


def _one(number, value):
    """Return masks of which one is another."""
    masks = list(_classes())
    masks[number] = value
    return masks


LINES = "1 of 6 masks cannot be used:\n  "
FAULTS = {
    "another size": (
        _one(2, np.zeros((12, 17), "uint8")),
        NAMES,
        r"2.png must be as large as its image .*2.png, 16 x 12 pixels .* Received: 17 x 12$",
    ),
    "turned": (_one(2, np.zeros((16, 12), "uint8")), NAMES, "Received: 12 x 16. One of them is tu"),
    "unknown values": (
        _one(1, np.where(_classes()[0] == 1, 9, 7).astype("uint8")),
        NAMES,
        r"1.png has values that no class has: 7 \(172 pixels\), 9 \(20 pixels\)$",
    ),
    "unknown colors": (
        [*_colored(_classes())[:5], np.full((*SIZE, 3), 77, "uint8")],
        COLORS,
        r"5.png has values that no class has: #4d4d4d \(192 pixels\)$",
    ),
    "colors instead of values": (
        _one(0, _colored(_classes())[0]),
        NAMES,
        "0.png: a mask must have one value per pixel if classes have no colors. .*#102030",
    ),
    "transparent": (
        [Image.new("RGBA", SIZE[::-1], (255, 0, 0, 9))] * 6,
        COLORS,
        "0.png: a mask must be opaque",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_masks_that_are_refused(photos, tmp_path, fault):
    masks, classes, message = FAULTS[fault]
    _save(tmp_path / "masks", masks)
    with pytest.raises(ValueError, match=re.compile(message, re.M)) as raised:
        mask_folder(photos, tmp_path / "masks", classes, SIZE)
    assert "masks cannot be used:\n  " in str(raised.value)


def test_float_and_jpeg_masks_and_other_files(photos, tmp_path):
    _save(tmp_path / "floats", _classes().astype("float32"), ".tif")
    with pytest.raises(ValueError, match="0.tif: a mask must have whole numbers .*: float pixels"):
        mask_folder(photos, tmp_path / "floats", NAMES, SIZE)
    _save(tmp_path / "lossy", _classes() * 100, ".jpg", quality=40)
    values = {"ground": 0, "house": 100, "tree": 200}
    with pytest.raises(ValueError, match="JPEG changes values: save masks as PNG"):
        mask_folder(photos, tmp_path / "lossy", values, SIZE)
    _save(tmp_path / "masks", _classes())
    (tmp_path / "masks/3.png").write_text("no image")
    with pytest.raises(ValueError, match="3.png is not an image that Pillow can read"):
        mask_folder(photos, tmp_path / "masks", NAMES, SIZE)


def test_files_without_partners(photos, tmp_path):
    _save(tmp_path / "masks", _classes())
    (tmp_path / "masks/4.png").rename(tmp_path / "masks/x.png")
    with pytest.raises(ValueError, match=r"1 of 6 images have no mask: .*images/4.png"):
        mask_folder(photos, tmp_path / "masks", NAMES, SIZE)
    (photos / "4.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 6 masks have no image: .*masks/x.png"):
        mask_folder(photos, tmp_path / "masks", NAMES, SIZE)
    (tmp_path / "masks/x.png").rename(tmp_path / "masks/1.gif")
    with pytest.raises(ValueError, match=r"must have a name of its own. .*1.gif and .*1.png"):
        mask_folder(photos, tmp_path / "masks", NAMES, SIZE)


def test_empty_sets_and_single_classes(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty contains no files"):
        mask_folder(tmp_path / "empty", tmp_path / "empty", NAMES)
    with pytest.raises(ValueError, match="6 of 6 images have no mask"):
        mask_folder(photos, tmp_path / "empty", NAMES)
    _save(tmp_path / "masks", np.zeros_like(_classes()))
    with pytest.raises(ValueError, match=r"too few in: house \(0\), tree \(0\)"):
        mask_folder(photos, tmp_path / "masks", NAMES)
    with pytest.raises(ValueError, match="must name 2 to 255 classes: pixels that show no"):
        mask_folder(photos, tmp_path / "masks", ["house"])
    with pytest.raises(ValueError, match=r"Received: None. The first masks have the values 0 \("):
        mask_folder(photos, tmp_path / "masks")


@pytest.mark.parametrize(
    ("classes", "error", "message"),
    [
        ("house", TypeError, "classes must be names in the order of the values"),
        ({"a": 0, "b": 70000}, ValueError, "values from 0 to 65535. Received: 70000"),
        ({"a": 1, "b": 1}, ValueError, "a value or a color each. Received: 1 for a and for b"),
        ({"a": "red", "b": "#ff0000"}, ValueError, "for a and for b"),
        ({"a": 0, "b": "red"}, ValueError, "must be all values, such as 7, or all colors.*: 0"),
        ({"a": "red", "b": "reddish"}, ValueError, "Received: 'reddish'"),
        ({"a": "red", "b": (0, 0, 256)}, ValueError, r"Received: \(0, 0, 256\)"),
        (["a", "a"], ValueError, "must be unique"),
    ],
)
def test_classes_that_are_refused(photos, tmp_path, classes, error, message):
    (tmp_path / "masks").mkdir()
    with pytest.raises(error, match=message):
        mask_folder(photos, tmp_path / "masks", classes)


def test_arguments_that_are_refused(photos, tmp_path):
    (tmp_path / "masks").mkdir()
    with pytest.raises(TypeError, match="ignore must be a value like those of classes"):
        mask_folder(photos, tmp_path / "masks", NAMES, ignore="red")
    with pytest.raises(ValueError, match="ignore must be a value from 0 to 65535. Received: -1"):
        mask_folder(photos, tmp_path / "masks", NAMES, ignore=-1)
    with pytest.raises(ValueError, match="masks must be the folder of the masks.*VOC data set"):
        mask_folder(photos)
    for arguments in ((tmp_path / "none",), (photos, tmp_path / "x.json"), (photos, "nowhere")):
        with pytest.raises(FileNotFoundError):
            mask_folder(*arguments, classes=NAMES)
