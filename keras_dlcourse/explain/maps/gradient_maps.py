"""Maps of the CAM family for any network: which locations are evidence for a class."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse.explain.engine.mapper import GradientMapper
from keras_dlcourse.explain.engine.scaling import resize_and_scale


def grad_cam(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    **options: Any,
) -> np.ndarray:
    """Grad-CAM: feature maps, each weighted by the mean of its gradient.

        w_k = spatial mean of dS_c/dA_k,    map = ReLU(sum_k w_k A_k)

    S_c is the score of class c before softmax or sigmoid, A_k the feature maps of a layer. For a
    network that ends in global average pooling and one linear layer, this is the positive part of
    `cam`, up to a constant factor.

    Args:
        model: A functional or Sequential model; it may have nested models and several inputs and
            outputs.
        images: `(n, height, width, channels)`, prepared as for `model.predict`; for a model with
            several inputs, a list or dict of arrays, as for `predict`.
        classes: One class for all images, one per image `(n,)`, or several per image `(n, k)`.
            None uses the class with the highest score. A model with one output is a binary
            classifier: class 1 is the output, class 0 its negative.
        raw: Whether to return unscaled maps at the resolution of the layer.
        **options: `layer`, `reshape`, `target`, `output`, `image_input` and `batch_size`, as for
            `GradientMapper`, which is the better choice for many calls: it compiles once.

    Returns:
        Float32 maps at the size of the images (bilinear), from 0 for the smallest value in the
        image to 1 for the largest: `(n, height, width)`, or `(n, k, height, width)` if `classes` is
        `(n, k)`; the k maps of one image share one scale. A constant map becomes all 0. With `raw`,
        `(n, h, w)` or `(n, k, h, w)`.

    Raises:
        TypeError: If `model` is not a Keras model or an argument has the wrong type.
        ValueError: If the model has no graph or no feature maps, or an argument does not match it.

    Warns:
        UserWarning: If a gradient is 0 everywhere.

    Example:
        >>> model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=5)
        >>> images = np.random.default_rng(0).random((2, 64, 64, 3))
        >>> grad_cam(model, images).shape
        (2, 64, 64)
        >>> grad_cam(model, images, target=lambda outputs: outputs[:, 0] - outputs[:, 1]).shape
        (2, 64, 64)

    Reference:
        Selvaraju et al. (2017), Grad-CAM, https://arxiv.org/abs/1610.02391
    """
    return _compute_maps("grad_cam", model, images, classes, raw, options)


def grad_cam_pp(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    **options: Any,
) -> np.ndarray:
    """Grad-CAM++: Grad-CAM with more weight on locations with a large positive gradient.

        w_k = spatial sum of alpha_k ReLU(G_k),   G_k = dS_c/dA_k,
        alpha_k = G_k^2 / (2 G_k^2 + (spatial sum of A_k) G_k^3)

    It shows multiple objects of one class better. Arguments, return value and errors are as for
    `grad_cam`.

    Example:
        >>> model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=5)
        >>> grad_cam_pp(model, np.ones((2, 64, 64, 3)), [1, 4], raw=True).shape
        (2, 2, 2)

    Reference:
        Chattopadhay et al. (2018), Grad-CAM++, https://arxiv.org/abs/1710.11063
    """
    return _compute_maps("grad_cam_pp", model, images, classes, raw, options)


def layer_cam(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    **options: Any,
) -> np.ndarray:
    """LayerCAM: each location of a feature map weighted by its own positive gradient.

        map = ReLU(sum_k ReLU(G_k) A_k),   G_k = dS_c/dA_k

    It suits early layers, whose maps have a high resolution. Arguments, return value and errors are
    as for `grad_cam`.

    Example:
        >>> model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=5)
        >>> layer_cam(model, np.ones((2, 64, 64, 3)), layer="conv_pw_3_relu", raw=True).shape
        (2, 16, 16)

    Reference:
        Jiang et al. (2021), LayerCAM: Exploring Hierarchical Class Activation Maps for
        Localization, IEEE Transactions on Image Processing 30,
        https://doi.org/10.1109/TIP.2021.3089943
    """
    return _compute_maps("layer_cam", model, images, classes, raw, options)


def hires_cam(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    **options: Any,
) -> np.ndarray:
    """HiResCAM: elementwise product of gradient and feature map.

        map = sum_k G_k A_k,   G_k = dS_c/dA_k

    If everything after the layer is linear, the map sums to the score minus the bias, so it shows
    only locations that contribute to the score. The raw map is signed; in the scaled map, 0 is the
    strongest evidence against the class. Arguments, return value and errors are as for `grad_cam`.

    Example:
        >>> model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=5)
        >>> hires_cam(model, np.ones((2, 64, 64, 3)), 3).shape
        (2, 64, 64)

    Reference:
        Draelos and Carin (2020), Use HiResCAM instead of Grad-CAM for faithful explanations of
        convolutional neural networks, https://arxiv.org/abs/2011.08891
    """
    return _compute_maps("hires_cam", model, images, classes, raw, options)


def eigen_cam(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    **options: Any,
) -> np.ndarray:
    """EigenCAM: the projection of the feature maps on their first principal direction.

    It needs no gradient and is class-agnostic: it shows what stands out, whatever the prediction.
    The sign of the direction is arbitrary and is chosen so that the map has a positive sum.
    Arguments, return value and errors are as for `grad_cam`.

    Example:
        >>> model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=5)
        >>> eigen_cam(model, np.random.default_rng(0).random((2, 64, 64, 3))).shape
        (2, 64, 64)

    Reference:
        Muhammad and Yeasin (2020), Eigen-CAM: Class Activation Map using Principal Components,
        https://arxiv.org/abs/2008.00299
    """
    return _compute_maps("eigen_cam", model, images, classes, raw, options)


def _compute_maps(
    method: str,
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None,
    raw: bool,
    options: dict[str, Any],
) -> np.ndarray:
    mapper = GradientMapper(model, method, **options)
    maps, _ = mapper.maps(images, classes)
    return maps if raw else resize_and_scale(maps, mapper.image_size(images))
