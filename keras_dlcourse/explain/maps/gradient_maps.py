"""Maps of the CAM family for any network: which places of a layer speak for a class."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse.explain.engine.mapper import GradientMapper
from keras_dlcourse.explain.engine.scaling import scaled


def grad_cam(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    **options: Any,
) -> np.ndarray:
    """Grad-CAM: feature maps, each weighted by the mean of its gradient.

        w_k = mean over places of dS_c/dA_k,    map = ReLU(sum_k w_k A_k)

    S_c is the score of class c before softmax or sigmoid, A_k the feature maps of a layer. For a
    network that ends in global average pooling and one linear layer this is `cam`, less its
    negative part and but for a factor.

    Args:
        model: A functional or Sequential model, with nested models, several inputs and outputs.
        images: `(n, height, width, channels)`, prepared as for `model.predict`; for a model with
            several inputs a list or dict of arrays, as for `predict`.
        classes: One for all images, `(n,)` one for each, or `(n, k)` several for each. None takes
            the class with the highest score. A model with one output answers yes or no: class 1 is
            the output, class 0 the same with the other sign.
        raw: Whether to return the maps at the resolution of the layer, not scaled.
        **options: `layer`, `reshape`, `target`, `output`, `image_input` and `batch_size`, as for
            `GradientMapper`, which is the better choice for many calls: it compiles once.

    Returns:
        Float32 maps at the size of the images (bilinear), from 0, the least in the image, to 1, the
        most: `(n, height, width)`, or `(n, k, height, width)` if `classes` is `(n, k)`; the k maps
        of one image share one scale. A map that is the same everywhere is all 0. With `raw`,
        `(n, h, w)` or `(n, k, h, w)`.

    Raises:
        TypeError: If `model` is no Keras model or an argument has another type.
        ValueError: If the model has no graph or no feature maps, or an argument does not fit it.

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
    return _drawn("grad_cam", model, images, classes, raw, options)


def grad_cam_pp(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    **options: Any,
) -> np.ndarray:
    """Grad-CAM++: as Grad-CAM, with more weight on places with a large positive gradient.

        w_k = sum over places of alpha_k ReLU(G_k),   G_k = dS_c/dA_k,
        alpha_k = G_k^2 / (2 G_k^2 + (sum over places of A_k) G_k^3)

    It shows more of several objects of one class. Arguments, result and errors as for `grad_cam`.

    Example:
        >>> model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=5)
        >>> grad_cam_pp(model, np.ones((2, 64, 64, 3)), [1, 4], raw=True).shape
        (2, 2, 2)

    Reference:
        Chattopadhay et al. (2018), Grad-CAM++, https://arxiv.org/abs/1710.11063
    """
    return _drawn("grad_cam_pp", model, images, classes, raw, options)


def layer_cam(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    **options: Any,
) -> np.ndarray:
    """LayerCAM: each place of a feature map weighted by its own positive gradient.

        map = ReLU(sum_k ReLU(G_k) A_k),   G_k = dS_c/dA_k

    Good for early layers, whose maps are fine. Arguments, result and errors as for `grad_cam`.

    Example:
        >>> model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=5)
        >>> layer_cam(model, np.ones((2, 64, 64, 3)), layer="conv_pw_3_relu", raw=True).shape
        (2, 16, 16)

    Reference:
        Jiang et al. (2021), LayerCAM: Exploring Hierarchical Class Activation Maps for
        Localization, IEEE Transactions on Image Processing 30,
        https://doi.org/10.1109/TIP.2021.3089943
    """
    return _drawn("layer_cam", model, images, classes, raw, options)


def hires_cam(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    **options: Any,
) -> np.ndarray:
    """HiResCAM: gradient times feature map, place by place.

        map = sum_k G_k A_k,   G_k = dS_c/dA_k

    Where what follows the layer is linear, the sum of the map is the score less the bias: it shows
    only places that the score comes from. The map has its sign; scaled, 0 is the place that speaks
    most against the class. Arguments, result and errors as for `grad_cam`.

    Example:
        >>> model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=5)
        >>> hires_cam(model, np.ones((2, 64, 64, 3)), 3).shape
        (2, 64, 64)

    Reference:
        Draelos and Carin (2020), Use HiResCAM instead of Grad-CAM for faithful explanations of
        convolutional neural networks, https://arxiv.org/abs/2011.08891
    """
    return _drawn("hires_cam", model, images, classes, raw, options)


def eigen_cam(
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None = None,
    raw: bool = False,
    **options: Any,
) -> np.ndarray:
    """EigenCAM: the feature maps' projection on their first principal direction.

    It needs no gradient and knows no class: it shows what stands out, whatever the answer. A
    direction has no sign; the one is taken in which the map is positive on the whole. Arguments,
    result and errors as for `grad_cam`.

    Example:
        >>> model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=5)
        >>> eigen_cam(model, np.random.default_rng(0).random((2, 64, 64, 3))).shape
        (2, 64, 64)

    Reference:
        Muhammad and Yeasin (2020), Eigen-CAM: Class Activation Map using Principal Components,
        https://arxiv.org/abs/2008.00299
    """
    return _drawn("eigen_cam", model, images, classes, raw, options)


def _drawn(
    method: str,
    model: keras.Model,
    images: Any,
    classes: ArrayLike | None,
    raw: bool,
    options: dict[str, Any],
) -> np.ndarray:
    mapper = GradientMapper(model, method, **options)
    maps, _ = mapper.maps(images, classes)
    return maps if raw else scaled(maps, mapper.image_size(images))
