"""Transfer learning: a classifier for few images, from a network trained on many others."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras

from keras_dlcourse._checks import (
    check_fraction,
    check_integer,
    check_number,
    check_one_of,
)
from keras_dlcourse.data import Normalization
from keras_dlcourse.training.transfer import stages
from keras_dlcourse.training.transfer.base import (
    Preprocessing,
    feature_model,
    preprocessing_of,
    remove_head,
)
from keras_dlcourse.training.transfer.cache import cache_features
from keras_dlcourse.training.transfer.given import Given, check_given
from keras_dlcourse.training.transfer.result import History, Transfer


def transfer(
    base: keras.Model,
    classes: int | Sequence[str],
    train: Any,
    validation: Any = None,
    *,
    preprocessing: Preprocessing = None,
    augmentation: keras.layers.Layer | None = None,
    unfreeze: int | str = 1,
    epochs: tuple[int, int] = (20, 10),
    learning_rates: tuple[float, float] = (1e-2, 1e-4),
    warmup: float = 0.1,
    dropout: float = 0.2,
    pooling: str = "avg",
    patience: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    batch_size: int = 32,
    seed: int = 0,
    verbose: int | None = None,
    name: str = "transferred",
) -> Transfer:
    """Train a new head on a trained network, then fine-tune its last blocks at a lower rate.

    1. The base is frozen; pooling, dropout and a dense layer on its last feature maps learn the new
       classes.
    2. The last blocks are trained, too, slowly, so that what they have learned is adapted and not
       lost.

    In both stages, the base runs in inference mode: its batch normalization uses its original
    statistics and never changes them, because a few new images could only make them worse. In each
    stage, the learning rate rises linearly and falls along half a cosine.

    The new model takes images in the form of the training data. It includes the conversion to the
    pixels that the base was trained on, so an exported file needs no further preprocessing.

    Args:
        base: A functional or Sequential model that was trained on images, from this package or
            `keras.applications`, with or without its classifier. It is copied and left unchanged.
        classes: Number of classes, or their names, which are then recorded in the model. With a
            number, the class names of a pipeline are used; there must be as many.
        train: A `kd.data.Pipeline`; arrays `(x, y)` or `(x, y, sample_weight)` of pixels from 0 to
            255; or batches of these, as a `tf.data.Dataset` or a `keras.utils.PyDataset`. Labels
            are class numbers or one-hot. Gray images are repeated for a base that takes color.
        validation: The same kind of data, for validation and early stopping; or None.
        preprocessing: The preprocessing of pixels from 0 to 255 that the base expects: a
            `kd.data.Normalization`, or a function of a tensor, such as
            `keras.applications.resnet50.preprocess_input`. None uses the one that the base has
            recorded or includes.
        augmentation: A layer or a model, called with batches of `train` in training only; it is not
            part of the new model.
        unfreeze: Number of blocks, from the end, that the second stage trains; for a network
            without recognizable blocks, the number of layers with weights. Or the name of the first
            layer to train. 0 skips the second stage.
        epochs: Number of epochs of the first and the second stage.
        learning_rates: Highest learning rate of each stage.
        warmup: Fraction of the steps of a stage during which the rate rises.
        dropout: Fraction of features dropped before the classifier in training.
        pooling: `"avg"` or `"max"`.
        patience: Each stage stops after this many epochs without a lower loss on `validation`, and
            keeps its best weights. None runs all epochs.
        cache: Folder for the features of the frozen base, so that the first stage runs the base
            only once instead of in each epoch. Batches without an index are then read into memory.
        callbacks: Passed to the `fit` of each stage. With `cache`, the model of the first stage is
            only the head.
        batch_size: Batch size for arrays; pipelines and batches have their own.
        seed: Seed for dropout and the order of arrays.
        verbose: As in `Model.fit`; None shows the same progress as `kd.training.run`.
        name: Name of the model.

    Returns:
        A `Transfer` with the model, compiled for the learning rate of the second stage.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, if `train`, `classes` and `base` do not match,
            or if the preprocessing that the base expects is unknown.

    Example:
        >>> import numpy as np
        >>> base = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None)
        >>> images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype("uint8")
        >>> found = transfer(
        ...     base, ["cat", "dog"], (images, np.arange(8) % 2),
        ...     preprocessing=keras.applications.mobilenet_v2.preprocess_input,
        ...     epochs=(1, 0), verbose=0)
        >>> found.model.output_shape, found.trained
        ((None, 2), ())

    Reference:
        Yosinski et al., "How transferable are features in deep neural networks?", NIPS 2014,
        https://arxiv.org/abs/1411.1792
    """
    _check(epochs, learning_rates, unfreeze, patience, validation, seed)
    _check_inputs(preprocessing, augmentation, cache)
    check_fraction("warmup", warmup)
    check_fraction("dropout", dropout)
    check_one_of("pooling", pooling, ("avg", "max"))
    check_integer("batch_size", batch_size)
    body = remove_head(base)
    layers, began = stages.choose_layers(body, unfreeze if epochs[1] else 0)
    before = preprocessing_of(base) if preprocessing is None else preprocessing
    given = check_given(train, validation, classes, batch_size, seed, cache is not None)
    features = feature_model(
        body, given.image_shape, given.normalization, before, given.class_names, pooling
    )
    head = stages.build_head(int(features.outputs[0].shape[-1]), given.classes, dropout, seed)
    rest: dict[str, Any] = {
        "warmup": warmup,
        "patience": patience,
        "callbacks": callbacks,
        "verbose": verbose,
    }

    times = [time.monotonic()]
    stages.set_trained(features, [])
    whole = stages.Steps(features, head, augmentation)
    if cache is None:
        first = stages.run_stage(whole, given, epochs[0], learning_rates[0], **rest)
    else:
        vectors = _replace_images(features, given, cache)
        first = stages.run_stage(
            stages.adapt_to_vectors(head), vectors, epochs[0], learning_rates[0], **rest
        )
        given.train.epoch = vectors.train.epoch  # the second stage continues in the same order
    times.append(time.monotonic())
    second: History = {}
    if layers:
        stages.set_trained(features, layers)
        second = stages.run_stage(whole, given, epochs[1], learning_rates[1], **rest)
    times.append(time.monotonic())

    model = stages.join_head(features, head, name)
    stages.compile_model(model, learning_rates[1], given.one_hot)
    trained = tuple(layer.name for layer in layers)
    return Transfer(
        model=model,
        head_history=first,
        fine_history=second,
        trained=trained,
        frozen=tuple(name for name in stages.list_weighted_names(body) if name not in trained),
        began=began,
        seconds=(round(times[1] - times[0], 1), round(times[2] - times[1], 1)),
        cached=cache is not None,
    )


def _check(
    epochs: Any,
    learning_rates: Any,
    unfreeze: Any,
    patience: Any,
    validation: Any,
    seed: Any,
) -> None:
    """Raise an error for arguments out of range, before anything is built."""
    for argument, value in (("epochs", epochs), ("learning_rates", learning_rates)):
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise ValueError(f"{argument} must be a pair, one value per stage. Received: {value!r}")
    check_integer("epochs[0]", epochs[0])
    check_integer("epochs[1]", epochs[1], least=0)
    for number, rate in enumerate(learning_rates):
        check_number(f"learning_rates[{number}]", rate, above=0)
    if not isinstance(unfreeze, str):  # a number of blocks, else the name of a layer
        check_integer("unfreeze", unfreeze, least=0)
    if patience is not None:
        check_integer("patience", patience)
        if validation is None:
            raise ValueError("patience needs validation data. Pass validation=.")
    check_integer("seed", seed, least=0)


def _check_inputs(preprocessing: Any, augmentation: Any, cache: Any) -> None:
    """Raise an error if preprocessing, augmentation or cache cannot be used."""
    known = preprocessing is None or isinstance(preprocessing, Normalization)
    if not known and not callable(preprocessing):
        raise TypeError(
            "preprocessing must be a kd.data.Normalization or a function of a tensor. Received: "
            f"{preprocessing!r}"
        )
    if augmentation is not None and not isinstance(augmentation, keras.layers.Layer):
        raise TypeError(f"augmentation must be a Keras layer. Received: {augmentation!r}")
    if augmentation is not None and cache is not None:
        raise ValueError(
            "cache stores the features of each image, but augmentation creates new images in each "
            "epoch. Omit one of them."
        )


def _replace_images(features: keras.Model, given: Given, cache: str | os.PathLike[str]) -> Given:
    """Replace images with cached vectors."""
    held_out = given.validation
    return replace(
        given,
        train=cache_features(features, given.train, cache),
        validation=None if held_out is None else cache_features(features, held_out, cache),
    )
