"""Networks that start from weights trained on other images: find them, and fit a new head."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from keras_dlcourse import models
from keras_dlcourse._files import keras_home, user_path
from keras_dlcourse.data import Dataset, take
from keras_dlcourse.models._shared.imagenet import DEFAULT_SIZE
from keras_dlcourse.models.classification import mobilenet, mobilenet_v2
from keras_dlcourse.training.run.recipe import Recipe
from keras_dlcourse.training.transfer.base import feature_model, preprocessing_of, remove_head
from keras_dlcourse.training.transfer.stages import choose_layers, set_trained

FOLDER = "KERAS_DLCOURSE_WEIGHTS"  # the environment variable that names a folder of .keras files
SMALLEST = 64  # pixels; networks trained on photographs see nothing in smaller images
_BLOCKS = 1  # that are trained, from the end
_HEAD_LIMIT = 10_000  # images that the head is fitted on
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # C of the logistic regressions that are tried


def choose_weights(recipe: Recipe, image_shape: tuple[int, ...]) -> tuple[Recipe, str]:
    """Find the weights to start from.

    Args:
        recipe: A recipe; its `weights` may be `"auto"`.
        image_shape: Height, width and channels.

    Returns:
        The recipe with `"none"`, `"imagenet"` or the path of a file, and a sentence that says why.
    """
    if recipe.weights == "none":
        return recipe, "weights=none: random weights, as requested"
    if recipe.weights not in ("auto", "imagenet"):
        return recipe, f"weights={recipe.weights}: as requested"
    found, why = _find(recipe, image_shape)
    return replace(recipe, weights=found), f"weights={found}: {why}"


def _find(recipe: Recipe, image_shape: tuple[int, ...]) -> tuple[str, str]:
    is_cached = _cached_file(recipe, image_shape).is_file()
    if recipe.weights == "imagenet":
        try:
            if not is_cached:
                _build_imagenet(recipe, image_shape)  # downloads them
        except OSError as error:
            return "none", f"the network is trained from random weights, because {error}"
        return "imagenet", "as requested"
    if min(image_shape[:2]) < SMALLEST:
        return "none", f"the images are smaller than {SMALLEST} pixels"
    for name in (f"{recipe.model}_{recipe.alpha:g}.keras", f"{recipe.model}.keras"):
        path = Path(os.environ.get(FOLDER, "")) / name
        if os.environ.get(FOLDER) and path.is_file():
            return str(path), f"the folder in {FOLDER} has it"
    if is_cached:
        return "imagenet", "they are in Keras's cache"
    return "none", (
        f"there are no ImageNet weights for {recipe.model} of this width and image size on "
        "this machine. weights='imagenet' (--weights imagenet) downloads them if they exist"
    )


def _cached_file(recipe: Recipe, image_shape: tuple[int, ...]) -> Path:
    """Return the file in Keras's cache that `weights="imagenet"` reads.

    Keras has no way to ask for it without building the network and downloading the file.
    """
    height, width = image_shape[:2]
    is_trained = height == width and height in (_SIZES.get(recipe.model) or ())
    pattern = _FILES.get(recipe.model, "")
    if recipe.alpha != 1 and "{alpha" not in pattern:
        pattern = ""  # there are weights for the usual width only
    name = pattern.format(
        alpha=float(recipe.alpha),
        alpha_tenths=_TENTHS.get(recipe.alpha),
        size=height if is_trained else DEFAULT_SIZE,
    )
    return keras_home() / "models" / name


_SIZES = {"mobilenet": mobilenet.IMAGENET.sizes, "mobilenet_v2": mobilenet_v2.IMAGENET.sizes}
_TENTHS = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}
_KERNELS = "weights_tf_dim_ordering_tf_kernels"
_FILES = {
    "mobilenet": "mobilenet_{alpha_tenths}_{size}_tf_no_top.h5",
    "mobilenet_v2": f"mobilenet_v2_{_KERNELS}_{{alpha}}_{{size}}_no_top.h5",
    "mobilenet_v3_large": "weights_mobilenet_v3_large_224_{alpha}_float_no_top_v2.h5",
    "mobilenet_v3_small": "weights_mobilenet_v3_small_224_{alpha}_float_no_top_v2.h5",
    **{f"efficientnet_b{number}": f"efficientnetb{number}_notop.h5" for number in range(8)},
    **{f"densenet{depth}": f"densenet{depth}_{_KERNELS}_notop.h5" for depth in (121, 169, 201)},
    **{f"resnet{depth}": f"resnet{depth}_{_KERNELS}_notop.h5" for depth in (50, 101, 152)},
    **{f"vgg{depth}": f"vgg{depth}_{_KERNELS}_notop.h5" for depth in (16, 19)},
}


def _build_imagenet(recipe: Recipe, image_shape: tuple[int, ...]) -> keras.Model:
    options = {"alpha": recipe.alpha, "weights": "imagenet", "include_top": False}
    try:
        return models.build(recipe.model, input_shape=(*image_shape[:2], 3), **options)
    except ValueError:  # the official weights are for certain sizes only; an open size takes them
        return models.build(recipe.model, input_shape=(None, None, 3), **options)


def build_pretrained(
    data: Dataset, recipe: Recipe, classifier_activation: str = "softmax"
) -> keras.Model:
    """Build a classifier on a network with weights; only its last block and its head are trained.

    The base has its own preprocessing inside. Its batch normalization never changes.

    Args:
        data: The data set.
        recipe: A recipe with `weights` that are `"imagenet"` or the path of a Keras model.
        classifier_activation: Activation of the scores.

    Returns:
        A functional model. Its head is still random, see `fit_head`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the network does not record its preprocessing or does not fit the images.
    """
    base = _load_base(recipe, data.image_shape)
    body = remove_head(base)
    features = feature_model(
        body, data.image_shape, data.normalization, preprocessing_of(base), data.class_names, "avg"
    )
    layers, _ = choose_layers(body, _BLOCKS)
    set_trained(features, layers)
    x = keras.layers.Dropout(recipe.dropout, seed=recipe.seed, name="head_dropout")(
        features.outputs[0]
    )
    scores = keras.layers.Dense(
        len(data.class_names), classifier_activation, dtype="float32", name="predictions"
    )(x)
    return keras.Model(features.inputs[0], scores, name=f"{base.name}_transferred")


def _load_base(recipe: Recipe, image_shape: tuple[int, ...]) -> keras.Model:
    if recipe.weights == "imagenet":
        return _build_imagenet(recipe, image_shape)
    path = user_path(recipe.weights)
    if not path.is_file():
        raise FileNotFoundError(
            f"weights must be 'auto', 'none', 'imagenet' or the path of a .keras file. Received: "
            f"{recipe.weights}, which does not exist"
        )
    return keras.models.load_model(path, compile=False)


Regression = tuple[float, NDArray, NDArray]  # how good it is, and its kernel and bias


def regress_classes(
    strength: float, x: NDArray, labels: NDArray, held_out: NDArray, held_labels: NDArray
) -> Regression:
    """Fit a multinomial logistic regression to class numbers, and measure its accuracy.

    Args:
        strength: The inverse of the regularization, C.
        x: Features to fit, `(n, features)`.
        labels: Class numbers, `(n,)`.
        held_out: Features to measure the accuracy on.
        held_labels: Their class numbers.

    Returns:
        The accuracy, and the kernel `(features, classes)` and bias of a softmax layer.
    """
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(C=strength, max_iter=1000).fit(x, labels)
    kernel, bias = head.coef_.T, head.intercept_
    if kernel.shape[1] == 1:  # two classes: one score, of the second class
        kernel, bias = np.concatenate([-kernel / 2, kernel / 2], axis=1), bias / 2 * [-1, 1]
    return float(head.score(held_out, held_labels)), kernel, bias


def fit_head(
    model: keras.Model, data: Dataset, regress: Callable[..., Regression] = regress_classes
) -> float:
    """Fit the head of a network to the features of its frozen base.

    The head alone is a logistic regression: its best weights are found exactly, and the fine-tuning
    that follows begins with them instead of spoiling the base at first.

    Args:
        model: The result of `build_pretrained`.
        data: The data set. The strength of regularization is chosen on its validation part.
        regress: Fits the regression that fits the activation of the head.

    Returns:
        How good the regression is on the validation part: its accuracy for classes.

    Reference:
        Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
        Out-of-Distribution", ICLR 2022, https://arxiv.org/abs/2202.10054
    """
    features = keras.Model(model.inputs[0], model.get_layer("head_dropout").input)
    train, validation = take(data.train, _HEAD_LIMIT, seed=0), take(data.validation)
    x, held_out = (
        np.asarray(features.predict(part.inputs, verbose=0)) for part in (train, validation)
    )
    # One scale for all features: of its own, a feature that hardly ever varies would get a weight
    # without bounds, and the smallest change of the base would upset the scores.
    mean, scale = x.mean(axis=0), float(x.std(axis=0).mean()) or 1.0
    x, held_out = (x - mean) / scale, (held_out - mean) / scale
    found = [
        regress(strength, x, train.labels, held_out, validation.labels) for strength in _STRENGTHS
    ]
    best, kernel, bias = max(found, key=lambda one: one[0])
    kernel = kernel / scale  # what scaling and regression do together
    model.get_layer("predictions").set_weights([kernel, bias - mean @ kernel])
    return best
