"""Scores at every pixel from a network with strides: shifted and stitched, or upsampled."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse.graph.predicting import predict, predict_batches
from keras_dlcourse.graph.receptive_field import ReceptiveField, fields
from keras_dlcourse.graph.running import Network
from keras_dlcourse.graph.strides import check_maps

INTERPOLATIONS = ("nearest", "bilinear")


def shift_and_stitch(model: keras.Model, images: Any, batch_size: int = 32) -> np.ndarray:
    """Compute the scores of a network with strides at every pixel, by shifting the image.

    The network runs on the image shifted by each `0 <= r, c < s` pixels, where `s` is the product
    of its strides, and the `s * s` maps are interleaved. Position `(y, x)` of the result is the
    model's output for the window that starts at `(y, x)`. `kd.graph.remove_strides` makes a network
    that computes the same at once, in a fraction of the time: use that, and this to check it or
    for networks that it does not support.

    This is exact if no layer pads (all "valid"). With "same" padding, each shifted image has a
    border of its own, at which the network sees zeros, so near borders the result differs from that
    of `remove_strides`. Both agree where the receptive field lies inside the shifted image.

    Args:
        model: A functional or Sequential model from images `(batch, None, None, channels)` of any
            size to maps `(batch, rows, columns, classes)`, such as that of
            `kd.graph.dense_as_conv`.
        images: Images `(n, height, width, channels)`, as for `model.predict`.
        batch_size: Number of shifted images per batch.

    Returns:
        `(n, height - size + 1, width - size + 1, classes)` without padding, where `size` is that of
        the receptive field.

    Raises:
        TypeError: If `model` is not a Keras model or `batch_size` not an integer.
        ValueError: If the model has no such inputs and outputs or enlarges its maps, a layer sees
            the whole image, or the shape of `images` is wrong.

    Example:
        >>> model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(2, 3),
        ...                           keras.layers.MaxPooling2D(2)])
        >>> images = np.random.default_rng(0).random((1, 9, 8, 1))
        >>> tuple(model(images).shape), shift_and_stitch(model, images).shape
        ((1, 3, 3, 2), (1, 6, 5, 2))

    Reference:
        Sermanet et al., "OverFeat", ICLR 2014, section 3.3, https://arxiv.org/abs/1312.6229; Long,
        Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
        section 3.2, https://arxiv.org/abs/1411.4038
    """
    batch_size = check_integer("batch_size", batch_size)
    images, field = _check("shift_and_stitch", model, images)
    if tuple(model.input_shape[1:3]) != (None, None):
        raise ValueError(
            f"shift_and_stitch: model {model.name!r} must take images of any size. Received: a "
            f"model for {model.input_shape[1:]}. kd.graph.dense_as_conv converts a classifier; "
            "build others for (None, None, channels)."
        )
    count, height, width, _ = images.shape
    rows, columns = map(int, field.stride)
    # All shifted images have the same size, so that the network is traced once. Positions that see
    # what is filled in are cut off below.
    filled = np.pad(images, ((0, 0), (0, rows - 1), (0, columns - 1), (0, 0)))
    shifts = list(product(range(rows), range(columns)))
    batch_size = min(batch_size, count * len(shifts))

    def cut() -> Iterator[np.ndarray]:
        crops = []
        for r, c in shifts:
            for image in filled[:, r : r + height, c : c + width]:
                crops.append(image)
                if len(crops) == batch_size:
                    yield np.stack(crops)
                    crops = []
        if crops:
            yield np.stack(crops)

    maps = predict_batches(model, cut(), batch_size)
    maps = maps.reshape(rows, columns, count, *maps.shape[1:])
    left = (
        _count_positions(model, images.shape, 1, rows),
        _count_positions(model, images.shape, 2, columns),
    )
    stitched = np.empty((count, sum(left[0]), sum(left[1]), maps.shape[-1]), maps.dtype)
    for r, c in shifts:
        stitched[:, r::rows, c::columns] = maps[r, c, :, : left[0][r], : left[1][c]]
    return stitched


def upsample_scores(
    model: keras.Model, images: Any, interpolation: str = "nearest", batch_size: int = 32
) -> np.ndarray:
    """Compute the heat maps of a network, and give each pixel of the image a score from them.

    A position of the maps speaks for the center of its receptive field. `"nearest"` gives each
    pixel the scores of the nearest center, `"bilinear"` those interpolated between the four around
    it; pixels outside of all centers get those of the nearest one. This is the coarsest and
    cheapest way from a classifier to a mask. It also brings the scores of a network without
    strides (`kd.graph.remove_strides`), which lack a border, to the size of the image.

    Args:
        model: A functional or Sequential model from images to maps `(batch, rows, columns,
            classes)`, such as that of `kd.graph.dense_as_conv`.
        images: Images `(n, height, width, channels)`, as for `model.predict`.
        interpolation: `"nearest"` or `"bilinear"`.
        batch_size: Number of images per batch.

    Returns:
        Float32 `(n, height, width, classes)`.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If the model does not map an image to maps or enlarges them, a layer sees the
            whole image, or the shape of `images` is wrong.

    Example:
        >>> from keras_dlcourse.graph import dense_as_conv
        >>> from keras_dlcourse.models import LeNet5
        >>> slides = dense_as_conv(LeNet5((32, 32, 1)))
        >>> upsample_scores(slides, np.zeros((1, 48, 64, 1))).shape
        (1, 48, 64, 10)

    Reference:
        Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR
        2015, https://arxiv.org/abs/1411.4038
    """
    check_one_of("interpolation", interpolation, INTERPOLATIONS)
    batch_size = check_integer("batch_size", batch_size)
    images, field = _check("upsample_scores", model, images)
    maps = predict(model, images, min(batch_size, len(images))).astype("float32")
    for axis in (0, 1):
        size, count = images.shape[1 + axis], maps.shape[1 + axis]
        center = field.start[axis] + (field.size[axis] - 1) / 2
        places = np.clip((np.arange(size) - center) / field.stride[axis], 0, count - 1)
        if interpolation == "nearest":
            places = np.floor(places + 0.5)
        low = np.minimum(places.astype(int), max(count - 2, 0))
        share = (places - low).astype("float32")
        share = share.reshape(-1, *[1] * (2 - axis))
        high = np.minimum(low + 1, count - 1)
        before, after = np.take(maps, low, 1 + axis), np.take(maps, high, 1 + axis)
        maps = (1 - share) * before + share * after
    return np.asarray(maps)


def _check(function: str, model: keras.Model, images: Any) -> tuple[np.ndarray, ReceptiveField]:
    """Return the images as an array, and the receptive field of the model's output in them."""
    network = Network(model)
    check_maps(function, network.model)
    images = np.asarray(images)
    channels = network.model.inputs[0].shape[-1]
    if images.ndim != 4 or images.shape[-1] != channels or not len(images):
        raise ValueError(
            f"{function}: images must be (n, height, width, {channels}), with at least one image. "
            f"Received: shape {images.shape}"
        )
    place = network.maker(network.model.outputs[0])
    found = fields(network, images.shape[1:3]).get(place) if place else None
    if found is None or found.whole:
        raise ValueError(
            f"{function}: the scores of model {model.name!r} must depend on a window of the image. "
            f"Received: a model in which layer {found.whole if found else ''!r} sees the whole "
            "image or is unknown. Convert the dense layers and the global pooling of a classifier "
            "with kd.graph.dense_as_conv(model)."
        )
    if any(stride < 1 or stride != int(stride) for stride in found.stride):
        raise ValueError(
            f"{function}: neighboring positions of the maps must be a whole number of pixels "
            f"apart. Received: {found.stride}, because the model enlarges its maps. Pass the part "
            "before the upsampling."
        )
    return images, found


def _count_positions(
    model: keras.Model, shape: tuple[int, ...], axis: int, stride: int
) -> list[int]:
    """Return how many positions of one axis each shift adds.

    A shifted image is smaller by the shift. Its maps are counted for an image that is larger by one
    stride, because the shifted one may be too small for the network.
    """
    counts = []
    for shift in range(stride):
        sizes = [1, *shape[1:]]
        sizes[axis] += stride - shift
        counts.append(model.compute_output_shape(tuple(sizes))[axis] - 1)
    return counts
