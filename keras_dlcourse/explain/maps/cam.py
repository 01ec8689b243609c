"""Class activation maps: where the evidence for a class is in an image."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse._checks import check_integer
from keras_dlcourse.explain.engine.inputs import check_classes, check_inputs
from keras_dlcourse.explain.engine.mapper import image_size
from keras_dlcourse.explain.engine.scaling import resize_and_scale
from keras_dlcourse.graph.head import find_head
from keras_dlcourse.graph.predicting import predict

# The part up to the pooling of each model: its mappers share what was traced and compiled.
_FEATURES: WeakKeyDictionary[keras.Model, keras.Model] = WeakKeyDictionary()


class ClassActivationMapper:
    """Computes class activation maps for one model repeatedly, e.g. after each training epoch.

    Let `f_k(x, y)` be the last feature maps, `F_k = mean f_k(x, y)` their averages, and `w_k^c` and
    `b^c` the weights and bias of the layer after the pooling. The logit of class c is
    `S_c = sum_k w_k^c F_k + b^c`, and the map shows where its first term comes from:

        M_c(x, y) = sum_k w_k^c f_k(x, y),    so that    mean M_c(x, y) + b^c = S_c

    (In the paper, F_k is the sum, not the average, and there is no bias.) With global max pooling,
    F_k is the maximum; the map is the same sum, but its mean does not relate to the score. Such a
    network only needs to find one discriminative location, so its maps are narrower.

    The part of the model up to the pooling is built once and compiled at the first call. Weights
    are read at each call, so the model may be trained between calls; during `fit` on the JAX
    backend, call it at the end of an epoch. All batches are padded to `batch_size`, so nothing is
    traced twice.

    A head with one output is a binary classifier: the map and logit of class 1 are those of the
    output, and class 0 has their negatives.

    Args:
        model: A functional or Sequential model that ends in global average or max pooling and one
            Dense layer or 1x1 convolution; see `find_head` for other layers that are allowed.
        batch_size: Number of images per batch.

    Raises:
        ValueError: If the model has another head; the message names it and suggests a fix.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=5)
        >>> mapper = ClassActivationMapper(model)
        >>> maps, logits = mapper.maps(np.zeros((3, 32, 32, 3)), classes=[4, 0, 1])
        >>> maps.shape, logits.shape
        ((3, 1, 1), (3, 5))

    Reference:
        Zhou et al. (2016), Learning Deep Features for Discriminative Localization,
        https://arxiv.org/abs/1512.04150
    """

    def __init__(self, model: keras.Model, batch_size: int = 32) -> None:
        self.batch_size = check_integer("batch_size", batch_size)
        self.head = find_head(model)
        self._features = _share(model, self.head.features)
        if len(self._features.inputs) != 1:
            raise ValueError(
                f"Class activation maps need a model with one input. Model {model.name!r} has "
                f"{len(self._features.inputs)} inputs before its pooling."
            )

    @property
    def classes(self) -> int:
        """Number of classes."""
        return max(2, self.head.classes)

    def maps(
        self, images: ArrayLike, classes: ArrayLike | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compute raw maps and logits.

        Args:
            images: `(n, height, width, channels)`, prepared as for `model.predict`.
            classes: Class indices: one for all images, one per image `(n,)`, or several per
                image `(n, k)`. None uses the class with the highest logit.

        Returns:
            Maps at the resolution of the last feature maps and in units of the logits,
            `(n, h, w)`, or `(n, k, h, w)` if `classes` is `(n, k)`; and logits `(n, classes)`,
            before any softmax or sigmoid. Both are float32.

        Raises:
            ValueError: If images or classes do not match the model, or images hold NaN or infinity.
        """
        count = len(np.asarray(images)) if np.ndim(images) else 0
        chosen = None if classes is None else check_classes(classes, count, self.classes)
        features, logits = self.features(images)
        return self.weighted(features, logits.argmax(-1) if chosen is None else chosen), logits

    def features(self, images: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Compute the last feature maps and the logits from their averages or maxima.

        Args:
            images: As for `maps`.

        Returns:
            Feature maps `(n, h, w, channels)` and logits `(n, classes)`, float32.
        """
        features = self._run(check_inputs(self._features, images)[0])
        kernel, bias = self._weights()
        largest = isinstance(self.head.pooling, keras.layers.GlobalMaxPooling2D)
        pooled = features.max((1, 2)) if largest else features.mean((1, 2))
        return features, pooled @ kernel + bias

    def scores(self, images: ArrayLike) -> np.ndarray:
        """Compute the logits, `(n, classes)`."""
        return self.features(images)[1]

    def weighted(self, features: np.ndarray, classes: ArrayLike) -> np.ndarray:
        """Weight feature maps as the head does for the given classes.

        Args:
            features: Feature maps, from `features`.
            classes: As for `maps`, but not None.

        Returns:
            Maps `(n, h, w)`, or `(n, k, h, w)` if `classes` is `(n, k)`.
        """
        chosen = check_classes(classes, len(features), self.classes)
        weights = self._weights()[0].T[chosen]  # (n, c) or (n, k, c)
        one_each = chosen.ndim == 1
        return np.einsum("nhwc,nc->nhw" if one_each else "nhwc,nkc->nkhw", features, weights)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Convert logits to probabilities: by sigmoid if the model ends in one, else by softmax.

        Args:
            logits: `(n, classes)`, from `maps`.

        Returns:
            Probabilities of the same shape.
        """
        if self.head.classes == 1 or self.head.activation == "sigmoid":
            return np.asarray(np.exp(-np.logaddexp(0, -logits)))
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        return np.asarray(powers / powers.sum(-1, keepdims=True))

    def image_size(self, images: np.ndarray) -> tuple[int, int]:
        """Return the height and width of images in the layout that this model takes."""
        return image_size(images, self.head.channels_first)

    def _run(self, images: np.ndarray) -> np.ndarray:
        """Compute feature maps `(n, h, w, channels)` in batches of equal size."""
        features = np.asarray(predict(self._features, [images], self.batch_size), "float32")
        return np.moveaxis(features, 1, -1) if self.head.channels_first else features

    def _weights(self) -> tuple[np.ndarray, np.ndarray]:
        kernel, bias = self.head.weights()
        if self.head.classes > 1:
            return kernel, bias
        return np.concatenate([-kernel, kernel], axis=1), np.concatenate([-bias, bias])


def _share(model: keras.Model, features: keras.Model) -> keras.Model:
    """Return the part of a model that an earlier mapper has compiled, if it is still the same."""
    known = _FEATURES.get(model)
    if known is None or known.outputs[0] is not features.outputs[0]:
        known = _FEATURES[model] = features
    return known


def cam(
    model: keras.Model, images: ArrayLike, classes: ArrayLike | None = None, raw: bool = False
) -> np.ndarray:
    """Compute class activation maps: where the evidence for a class is in an image.

    Args:
        model: A model that ends in global average or max pooling and one Dense layer or 1x1
            convolution. For other heads, use `with_gap_head` or `grad_cam`.
        images: `(n, height, width, channels)`, prepared as for `model.predict`.
        classes: Class indices: one for all images, one per image `(n,)`, or several per image
            `(n, k)`. None uses the class with the highest score.
        raw: Whether to return unscaled maps at the resolution of the last feature maps and in
            units of the logits, so that their mean plus the bias is the class's logit.

    Returns:
        Float32 maps at the size of the images (bilinear), from 0 for the least evidence in the
        image to 1 for the most: `(n, height, width)`, or `(n, k, height, width)` if `classes` is
        `(n, k)`; the k maps of one image share one scale and can be compared. A constant map
        becomes all 0. With `raw`, unscaled `(n, h, w)` or `(n, k, h, w)`.

    Raises:
        ValueError: If the model has another head, or images or classes do not match it.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=5)
        >>> images = np.random.default_rng(0).random((2, 64, 64, 3))
        >>> cam(model, images).shape, cam(model, images, [[0, 1, 2]] * 2, raw=True).shape
        ((2, 64, 64), (2, 3, 2, 2))

    Reference:
        Zhou et al. (2016), Learning Deep Features for Discriminative Localization,
        https://arxiv.org/abs/1512.04150
    """
    images = np.asarray(images)
    mapper = ClassActivationMapper(
        model, batch_size=32 if images.ndim == 0 else max(1, min(32, len(images)))
    )
    maps, _ = mapper.maps(images, classes)
    return maps if raw else resize_and_scale(maps, mapper.image_size(images))
