"""Regions of similar pixels, found without labels: a baseline, and proposals of objects."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_dlcourse._checks import check_integer, check_number, check_one_of
from keras_dlcourse._extras import require
from keras_dlcourse._progress import track
from keras_dlcourse.boxes.of_masks import boxes_around
from keras_dlcourse.data.checks import images as check_images
from keras_dlcourse.data.mask_labels import IGNORE

_SPREAD = 25.0  # of feature maps, like that of Lab colors in photos: `scale` means about the same
_SMALLEST = 20  # pixels of a region of the graph: smaller ones join a neighbor
_SAMPLE, _SEEDS = 1000, 100  # pixels among which mean shift looks for modes, and where it starts


@dataclass(frozen=True)
class _Method:
    """A way to find regions, and the arguments that it uses, with their defaults."""

    find: Callable[..., NDArray]
    defaults: dict[str, float]


def find_regions(
    images: Any,
    method: str = "slic",
    *,
    features: Any = None,
    regions: int | None = None,
    scale: float | None = None,
    position: float | None = None,
    seed: int = 0,
) -> NDArray[np.int32]:
    """Divide each image into regions of similar pixels, without labels.

    Pixels are similar if their colors are (in CIELAB, where lightness goes from 0 to 100), or the
    network features given instead, and for some methods, if they are near each other.

    | `method` | regions | arguments and their defaults |
    |---|---|---|
    | `"kmeans"` | clusters of color and position | `regions=100`, `position=100` |
    | `"mean_shift"` | modes of color and position, which it counts | `scale=20`, `position=100` |
    | `"slic"` | superpixels: compact clusters, connected | `regions=100`, `position=100` |
    | `"watershed"` | basins of the gradient, connected | `regions=100` |
    | `"graph"` | Felzenszwalb's, connected; it decides how many | `scale=100` |

    The first two cluster pixels, so that a region may consist of several parts. Mean shift looks
    for modes among 1,000 random pixels, starting from 100 of them, and assigns each pixel to the
    nearest mode.

    Args:
        images: `(n, height, width, 1 or 3)`, uint8, or floats from 0 to 1.
        method: One of the methods above.
        features: Maps `(n, rows, columns, channels)` of the same images to use instead of colors,
            such as those of `kd.graph.feature_pyramid`. They are interpolated to the size of the
            images and scaled so that pixels deviate by 25 from their mean, as colors do in photos.
        regions: Wanted number of regions, at most one for each pixel. There may be fewer, and with
            `"slic"` and `"watershed"`, whose first centers lie on a grid, a few more.
        scale: For `"mean_shift"`, the radius within which pixels are averaged, in units of color.
            For `"graph"`, the preference for large regions, `k` in the paper; regions below 20
            pixels join a neighbor.
        position: Distance of colors that counts as much as the longer side of the image; 0 leaves
            position out (not with `"slic"`).
        seed: Seed of k-means and mean shift; the other methods are not random.

    Returns:
        The region of each pixel, `(n, height, width)`, numbered from 0 in each image.

    Raises:
        ImportError: If scikit-image or scikit-learn is not installed.
        TypeError: If an argument has a wrong type.
        ValueError: If shapes do not match, values are out of range, or the method does not use an
            argument that is given.

    Example:
        >>> images = np.zeros((1, 12, 16, 3), "uint8")
        >>> images[:, 3:9, 4:12] = 255, 0, 0
        >>> found = find_regions(images, "kmeans", regions=2, position=0)  # doctest: +SKIP
        >>> np.unique(found[0, 3:9, 4:12]), region_boxes(found)[0][-1]  # doctest: +SKIP
        (array([1]), array([ 4,  3, 12,  9]))

    Reference:
        Comaniciu and Meer, "Mean Shift", PAMI 2002, https://doi.org/10.1109/34.1000236; Achanta et
        al., "SLIC Superpixels", PAMI 2012, https://doi.org/10.1109/TPAMI.2012.120; Vincent and
        Soille, "Watersheds in Digital Spaces", PAMI 1991, https://doi.org/10.1109/34.87344;
        Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004,
        https://doi.org/10.1023/B:VISI.0000022288.19776.77
    """
    require("keras_dlcourse.data.find_regions", "scikit-image", "skimage", "sklearn")
    check_one_of("method", method, tuple(_METHODS))
    options = _options(method, regions=regions, scale=scale, position=position)
    check_integer("seed", seed, 0)
    pixels = np.asarray(check_images(images))
    count, height, width, _ = pixels.shape
    values = _colors(pixels) if features is None else _check_features(features, count)
    if regions is not None and regions > height * width:
        raise ValueError(
            f"regions must be at most the number of pixels of an image, {height * width}. "
            f"Received: {regions}"
        )
    if "regions" in options:
        options["regions"] = min(options["regions"], height * width)  # the default
    found = np.empty((count, height, width), np.int32)
    for number, one in enumerate(track(values, count, "Regions")):
        if features is not None:
            one = _scale_features(one, (height, width))
        made = _METHODS[method].find(one, seed=seed, **options)
        found[number] = np.unique(made, return_inverse=True)[1].reshape(height, width)
    return found


def region_boxes(regions: Any, *, smallest: int = 1) -> list[NDArray[np.int64]]:
    """Return a box around each connected part of each region: proposals for detection.

    Objects rarely are one region. Join the boxes of several divisions, such as those of
    `find_regions(images, "graph", scale=...)` from a small to a large scale.

    Args:
        regions: The region of each pixel, `(n, height, width)`, from `find_regions`.
        smallest: Least height and width of a box, in pixels.

    Returns:
        For each image, distinct boxes `(boxes, 4)` in the format `"xyxy"`, in pixels, with right
        and bottom exclusive; the largest first.

    Raises:
        TypeError: If `regions` or `smallest` are not integers.
        ValueError: If `regions` has another shape.

    Example:
        >>> boxes = region_boxes([[[0, 0, 0], [0, 1, 2], [0, 1, 2]]])
        >>> boxes[0].tolist()
        [[0, 0, 3, 3], [1, 1, 2, 3], [2, 1, 3, 3]]
    """
    regions = _check_regions(regions)
    check_integer("smallest", smallest)
    return [_boxes(one, smallest) for one in regions]


def vote_in_regions(regions: Any, masks: Any, *, ignore: int | None = IGNORE) -> NDArray[np.uint8]:
    """Give all pixels of a region its most frequent class.

    From the masks that a network predicts, this makes masks with outlines of the image. From true
    masks, it makes the best ones that a choice of a class for each region can give, which measures
    the regions themselves: score them with `kd.metrics.mask_scores`.

    Args:
        regions: The region of each pixel, `(n, height, width)`, from `find_regions`.
        masks: The class of each pixel, integers from 0 to 255 of the same shape.
        ignore: Class without a vote: pixels without a label; None if all have one.

    Returns:
        The class of each pixel, `(n, height, width)`; `ignore` in regions of which no pixel has a
        label. Of classes that are equally frequent, the lowest.

    Raises:
        TypeError: If `regions` or `masks` are not integers.
        ValueError: If shapes do not match, or classes are not from 0 to 255.

    Example:
        >>> vote_in_regions([[[0, 0, 0, 1]]], [[[5, 5, 2, 255]]]).tolist()
        [[[5, 5, 5, 255]]]
    """
    regions, masks = _check_regions(regions), _integers("masks", masks)
    if masks.shape != regions.shape:
        raise ValueError(
            f"masks must have the shape of regions, {regions.shape}. Received: {masks.shape}"
        )
    if masks.min() < 0 or masks.max() > 255:
        raise ValueError(
            "masks must be classes from 0 to 255. Received: values from "
            f"{masks.min()} to {masks.max()}"
        )
    if ignore is not None:
        check_integer("ignore", ignore, 0, 255)
    voted = np.empty(masks.shape, np.uint8)
    for number, (region, mask) in enumerate(zip(regions, masks, strict=True)):
        region = np.unique(region, return_inverse=True)[1].reshape(region.shape)
        votes = np.bincount(256 * region.ravel() + mask.ravel(), minlength=256 * (region.max() + 1))
        votes = votes.reshape(-1, 256)
        if ignore is not None:
            votes[:, ignore] = np.where(votes.sum(1) == votes[:, ignore], votes[:, ignore], 0)
        voted[number] = votes.argmax(1)[region]
    return voted


def _options(method: str, **given: float | None) -> dict[str, float]:
    """Return the arguments of a method; those not given have their defaults."""
    options = dict(_METHODS[method].defaults)
    for name, value in given.items():
        if value is None:
            continue
        if name not in options:
            users = [repr(other) for other, one in _METHODS.items() if name in one.defaults]
            raise ValueError(
                f"{name} must be None with method={method!r}, which uses {' and '.join(options)}. "
                f"Received: {value!r}. {name} belongs to {', '.join(users)}."
            )
        options[name] = value
    for name, value in options.items():
        if name == "regions":
            check_integer(name, value)
        else:
            positive = name == "scale" or method == "slic"
            bound: dict[str, float] = {"above": 0} if positive else {"least": 0}
            options[name] = check_number(name, value, **bound)
    return options


def _colors(images: NDArray) -> NDArray[np.float64]:
    """Return the CIELAB colors of images, of gray ones only their lightness."""
    from skimage.color import rgb2lab

    channels = images.shape[-1]
    if channels not in (1, 3):
        raise ValueError(
            f"images must have 1 or 3 channels. Received: {channels}. Pass other values as "
            "features=."
        )
    if images.dtype == np.uint8:
        images = images / 255.0
    elif images.min() < 0 or images.max() > 1:
        raise ValueError(
            "images must be uint8, or floats from 0 to 1. Received: floats from "
            f"{images.min():.3g} to {images.max():.3g}. Pass the pixels before normalization."
        )
    lab = rgb2lab(np.repeat(images, 3 // channels, axis=-1))
    return lab if channels == 3 else lab[..., :1]


def _check_features(features: Any, count: int) -> NDArray:
    features = np.asarray(features)
    if features.dtype.kind not in "fiu":
        raise TypeError(f"features must be numbers. Received: {features.dtype}")
    if features.ndim != 4 or len(features) != count or 0 in features.shape:
        raise ValueError(
            f"features must be maps ({count}, rows, columns, channels) of the {count} images. "
            f"Received: shape {features.shape}"
        )
    if not np.isfinite(features).all():
        raise ValueError("features must be finite. Received: NaN or infinity.")
    return features


def _scale_features(maps: NDArray, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the maps of one image in its size, with the spread of colors."""
    from skimage.transform import resize

    maps = resize(maps.astype("float64"), size, order=1, mode="edge", anti_aliasing=False)
    maps -= maps.mean(axis=(0, 1))
    deviation = np.sqrt(np.square(maps).sum(-1).mean())
    return maps * (_SPREAD / deviation) if deviation > 0 else maps


def _points(values: NDArray, position: float) -> NDArray:
    """Return the vectors of all pixels, which end in their places."""
    height, width = values.shape[:2]
    places = np.moveaxis(np.mgrid[:height, :width], 0, -1) * (position / max(height, width))
    return np.concatenate([values, places], axis=-1).reshape(height * width, -1)


def _kmeans(values: NDArray, regions: int, position: float, seed: int) -> NDArray:
    from sklearn.cluster import KMeans

    points = _points(values, position)
    clusters = min(regions, len(np.unique(points, axis=0)))
    return KMeans(clusters, n_init=1, random_state=seed).fit_predict(points)


def _mean_shift(values: NDArray, scale: float, position: float, seed: int) -> NDArray:
    from sklearn.cluster import MeanShift

    points = _points(values, position)
    # Random, since a grid could miss every second line of a texture.
    sample = np.random.default_rng(seed).permutation(points)[:_SAMPLE]
    found = MeanShift(bandwidth=scale, seeds=sample[:_SEEDS]).fit(sample)
    return found.predict(points)


def _slic(values: NDArray, regions: int, position: float, seed: int) -> NDArray:
    from skimage.segmentation import slic

    height, width = values.shape[:2]
    # scikit-image scales values to 0..1. Its compactness is the distance of values that counts as
    # much as that of neighboring centers.
    reach = values.max() - values.min() or 1.0
    compactness = position * np.sqrt(height * width / regions) / max(height, width) / reach
    return slic(values, regions, compactness, convert2lab=False, start_label=0, channel_axis=-1)


def _watershed(values: NDArray, regions: int, seed: int) -> NDArray:
    from scipy import ndimage
    from skimage.segmentation import watershed

    slopes = [
        ndimage.gaussian_gradient_magnitude(values[..., channel], sigma=1.0)
        for channel in range(values.shape[-1])
    ]
    slope = np.linalg.norm(slopes, axis=0)
    return watershed(slope, _flat_places(slope, regions))


def _flat_places(slope: NDArray, count: int) -> NDArray[np.int32]:
    """Number the flattest pixel of each cell of a grid. A marker on a slope would stay alone."""
    height, width = slope.shape
    step = np.sqrt(height * width / count)
    rows, columns = max(1, round(height / step)), max(1, round(width / step))
    cell = (np.arange(height) * rows // height)[:, None] * columns
    cell = cell + np.arange(width) * columns // width
    order = np.argsort(slope, axis=None, kind="stable")
    _, first = np.unique(cell.ravel()[order], return_index=True)
    markers = np.zeros(slope.shape, np.int32)
    markers.ravel()[order[first]] = np.arange(1, len(first) + 1)
    return markers


def _graph(values: NDArray, scale: float, seed: int) -> NDArray:
    from skimage.segmentation import felzenszwalb

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Got image with third dimension", RuntimeWarning)
        # As for images from 0 to 1, for which scikit-image has the paper's scale.
        return felzenszwalb(values / 100, scale, min_size=_SMALLEST)


_METHODS = {
    "kmeans": _Method(_kmeans, {"regions": 100, "position": 100.0}),
    "mean_shift": _Method(_mean_shift, {"scale": 20.0, "position": 100.0}),
    "slic": _Method(_slic, {"regions": 100, "position": 100.0}),
    "watershed": _Method(_watershed, {"regions": 100}),
    "graph": _Method(_graph, {"scale": 100.0}),
}


def _integers(name: str, value: Any) -> NDArray:
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers. Received: {array.dtype}")
    return array


def _check_regions(regions: Any) -> NDArray:
    array = _integers("regions", regions)
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(
            "regions must be (n, height, width), the region of each pixel. Received: shape "
            f"{array.shape}"
        )
    return array


def _boxes(regions: NDArray, smallest: int) -> NDArray[np.int64]:
    found = np.concatenate([boxes_around(regions == number) for number in np.unique(regions)])
    found = np.unique(found, axis=0)
    sides = found[:, 2:] - found[:, :2]
    kept = (sides >= smallest).all(axis=1)
    return found[kept][np.argsort(-sides[kept].prod(axis=1), kind="stable")]
