"""Masks of any file: interpolated, drawn, measured, and refused where their meaning is unknown."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates
from tflite_files import LABELS, describe

from keras_dlcourse.edge import (
    ImageClassifier,
    ImageEmbedder,
    ImageSegmenter,
    InvalidModel,
    Segmentation,
    draw_segmentation,
    resize,
)
from keras_dlcourse.edge.description.layouts import MaskLayout
from keras_dlcourse.edge.vision.drawing import category_color
from keras_dlcourse.edge.vision.mask_size import enlarge_confidences, find_categories

NONE, SIGMOID, SOFTMAX = range(3)


def interpolated(confidences: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """SciPy's linear interpolation at half-pixel centers, the nearest value outside."""
    axes = [
        (np.arange(large) + 0.5) * small / large - 0.5
        for small, large in zip(confidences.shape, size, strict=False)
    ]
    places = np.meshgrid(*axes, indexing="ij")
    planes = np.moveaxis(confidences.astype("float64"), -1, 0)
    return np.stack([map_coordinates(p, places, order=1, mode="nearest") for p in planes])


def masks(size: tuple[int, int], classes: int = 5, seed: int = 0) -> np.ndarray:
    """Logits of regions and of noise: borders of two classes, and of many."""
    rng = np.random.default_rng(seed)
    blocks = rng.normal(0, 3, (3, 3, classes)).repeat(size[0] // 3 + 1, 0)
    blocks = blocks.repeat(size[1] // 3 + 1, 1)[: size[0], : size[1]]
    return (blocks + rng.normal(0, 0.8, (*size, classes))).astype("float32")


@pytest.mark.parametrize(
    ("small", "large"),
    [
        ((12, 9), (40, 61)),
        ((12, 9), (12, 9)),
        ((12, 9), (5, 4)),
        ((1, 7), (30, 3)),
        ((6, 1), (1, 33)),
    ],
)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_masks_are_those_of_scipy(small, large, activation):
    logits, layout = masks(small), MaskLayout(activation)
    values = layout.confidences(logits) if activation == "none" else logits
    expected = interpolated(layout.confidences(values), large)
    out = np.empty((5, *large), "float32")
    enlarge_confidences(values, layout, out)
    np.testing.assert_allclose(out, expected, atol=2e-6)
    found = find_categories(values, layout, large)
    best, second = np.sort(expected, axis=0)[:-3:-1]
    clear = best - second > 1e-5
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found[clear], expected.argmax(0)[clear])
    assert found.dtype == np.uint8


def test_a_class_between_others_wins_where_it_is_second_at_both_ends():
    """Only an interpolation of all classes finds it: it is the class of none of the corners."""
    values = np.array([[[0.6, 0.0, 0.4], [0.0, 0.6, 0.4]]], "float32")
    found = find_categories(values, MaskLayout("none"), (1, 8))
    assert found.tolist() == [[0, 0, 0, 2, 2, 1, 1, 1]]


def test_confidences_of_large_logits_are_finite():
    logits = np.array([[-900.0, 0.0, 900.0]], "float32")
    assert MaskLayout("softmax").confidences(logits).tolist() == [[0, 0, 1]]
    assert MaskLayout("sigmoid").confidences(logits).tolist() == [[0, 0.5, 1]]


@pytest.fixture(scope="module")
def mask_file(plain):
    """A file of another tool, with the metadata of MediaPipe's generated classes."""

    def make(activation=SOFTMAX, head="logits", **metadata):
        return describe(plain(head=head), activation=activation, **metadata)

    return make


def test_the_activation_is_read_from_the_file(mask_file, network):
    image = network.images(1, seed=5)[0]
    logits = ImageSegmenter(mask_file(NONE), activation="none").run(image[None])[0][0]
    assert logits.shape == (6, 5, 5) and np.ptp(logits) > 3
    for code, name in ((SOFTMAX, "softmax"), (SIGMOID, "sigmoid")):
        segmenter = ImageSegmenter(mask_file(code))
        assert segmenter.labels == LABELS
        assert segmenter.model_file.metadata.mask == MaskLayout(name)
        found = segmenter.segment(image)
        assert found.category_mask.shape == image.shape[:2]
        expected = interpolated(MaskLayout(name).confidences(logits), image.shape[:2])
        np.testing.assert_allclose(found.confidence_masks, expected, atol=2e-6)
    with pytest.raises(InvalidModel, match="mask with the unknown activation 3"):
        ImageSegmenter(mask_file(3))


def test_a_file_without_activation_has_confidences(mask_file, plain, network):
    image = network.images(1, seed=5)[0]
    found = ImageSegmenter(plain(head="mask"), mean=73, std=90).segment(image)
    expected = ImageSegmenter(mask_file()).segment(image)
    np.testing.assert_allclose(found.confidence_masks, expected.confidence_masks, atol=2e-6)
    assert found.labels == tuple(f"class {k}" for k in range(5)) and expected.labels == LABELS
    with pytest.raises(ValueError, match=r"confidences from 0 to 1.*names no activation.*softmax"):
        ImageSegmenter(mask_file(NONE)).segment(image)


def test_nan_is_no_class(mask_file, network, monkeypatch):
    segmenter = ImageSegmenter(mask_file())
    monkeypatch.setattr(segmenter, "run", lambda pixels: [np.full((1, 6, 5, 5), np.nan, "f")])
    with pytest.raises(ValueError, match="must be numbers. Received: NaN"):
        segmenter.segment(network.images(1)[0])


def test_masks_have_the_size_of_the_image(mask_file, network):
    segmenter = ImageSegmenter(mask_file())
    small = network.images(1, seed=5)[0]
    large = np.asarray(Image.fromarray(small).resize((90, 70)))
    values = segmenter.run(resize(large, (12, 10))[None])[0][0]
    found = segmenter.segment(Image.fromarray(large))
    expected = interpolated(MaskLayout("softmax").confidences(values), (70, 90))
    np.testing.assert_allclose(found.confidence_masks, expected, atol=2e-6)
    shares = [(found.category_mask == k).mean() for k in range(5)]
    assert found.areas == pytest.approx(dict(zip(LABELS, shares, strict=True)))
    assert len(np.unique(found.category_mask)) > 2


def test_outside_the_crop_is_no_class(mask_file, network):
    seen = network.images(1, seed=5)[0]
    wide = np.zeros((12, 30, 3), "uint8")
    wide[:, 10:20] = seen
    found = ImageSegmenter(mask_file(), crop=True).segment(wide)
    whole = ImageSegmenter(mask_file()).segment(seen)
    np.testing.assert_array_equal(found.category_mask[:, 10:20], whole.category_mask)
    np.testing.assert_array_equal(found.confidence_masks[..., 10:20], whole.confidence_masks)
    for outside in (np.s_[..., :10], np.s_[..., 20:]):
        assert (found.category_mask[outside] == 255).all()
        assert np.isnan(found.confidence_masks[outside]).all()
    assert sum(found.areas.values()) == pytest.approx(1 / 3)
    picture = np.asarray(draw_segmentation(wide, found))
    np.testing.assert_array_equal(picture[:, :10], wide[:, :10])
    assert (picture[:, 10:20] != seen).any(-1).all()


def test_only_requested_masks(mask_file, network):
    image = network.images(1)[0]
    both = ImageSegmenter(mask_file()).segment(image)
    options = {"output_category_mask": False}
    found = ImageSegmenter(mask_file(), **options).segment(image)
    assert found.category_mask is None
    np.testing.assert_array_equal(found.confidence_masks, both.confidence_masks)
    for use in (lambda: found.areas, lambda: draw_segmentation(image, found)):
        with pytest.raises(ValueError, match="category mask. Pass output_category_mask=True"):
            use()
    options = {"output_confidence_masks": False, "labels": list("ABCDE")}
    segmenter = ImageSegmenter(mask_file(), **options)
    copy = pickle.loads(pickle.dumps(segmenter)).segment(image)
    assert copy.confidence_masks is None and copy.labels == segmenter.labels
    np.testing.assert_array_equal(copy.category_mask, both.category_mask)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda f: ImageSegmenter(f, labels=["a"]), ValueError, "1 labels given.*has 5 classes"),
        (lambda f: ImageSegmenter(f, activation="tanh"), ValueError, "activation must be one of"),
        (lambda f: ImageSegmenter(f, output_category_mask=1), TypeError, "category_mask must be"),
        (
            lambda f: ImageClassifier(f), ValueError,
            r"image classifier must return one score per class.*\(1, 6, 5, 5\)\. Open a mask with "
            "ImageSegmenter",
        ),
        (lambda f: ImageEmbedder(f), ValueError, "Open a mask with ImageSegmenter"),
    ],
)  # fmt: skip
def test_mistakes_are_said(mask_file, make, error, said):
    with pytest.raises(error, match=said):
        make(mask_file())


def test_a_classifier_is_no_segmenter(described):
    with pytest.raises(
        ValueError,
        match=r"image segmenter must return one value per class at each position.*\(1, 5\)\. Open "
        "a classifier with ImageClassifier",
    ):
        ImageSegmenter(described())


def test_the_overlay(tmp_path):
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (6, 7, 3), "uint8"), rng.integers(0, 9, (6, 7), "uint8")
    mask[0, 0] = 255
    labels = ("background", *map(str, range(1, 9)))
    picture = np.asarray(draw_segmentation(image, Segmentation(labels, mask), opacity=0.25))
    colors = np.array([category_color(k) for k in range(256)])
    expected = 0.75 * image + 0.25 * colors[mask]
    unpainted = (mask == 0) | (mask == 255)
    np.testing.assert_array_equal(picture[unpainted], image[unpainted])
    assert np.abs(picture - expected)[~unpainted].max() <= 1.5
    all_painted = np.asarray(draw_segmentation(image, Segmentation(labels[1:], mask), 1))
    np.testing.assert_array_equal(all_painted[mask < 255], colors[mask[mask < 255]])
    assert len(np.unique(colors[:255], axis=0)) == 255
    with pytest.raises(ValueError, match=r"mask of shape \(6, 7\) for an image of shape \(7, 6\)"):
        draw_segmentation(image.swapaxes(0, 1), Segmentation(labels, mask))
