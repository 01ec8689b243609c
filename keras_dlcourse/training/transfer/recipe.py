"""A classifier of few images, made of a network that was trained on many others."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras

from keras_dlcourse._checks import (
    fraction,
    is_whole,
    one_of,
    positive_float,
    positive_int,
)
from keras_dlcourse.data import Normalization
from keras_dlcourse.training.run.narration import fit_verbosity
from keras_dlcourse.training.transfer import stages
from keras_dlcourse.training.transfer.base import (
    Preprocessing,
    feature_model,
    preprocessing_of,
    without_head,
)
from keras_dlcourse.training.transfer.cache import cached_features
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
    """Train a new head on a trained network, then the last blocks of that at a lower rate.

    1. The base is frozen; pooling, dropout and a dense layer on its last feature maps learn the new
       classes.
    2. The last blocks are trained, too: slowly, so that what they know is adapted and not lost.

    In both, the base runs in inference mode: its batch normalization uses the statistics that it
    came with, which a few new images could only spoil, and never changes them. In each stage the
    learning rate rises in a line and falls along half a cosine.

    The new model takes images as the training data gave them; what lies between those and the
    pixels that the base was trained on is computed inside, so a file made of it needs nothing else.

    Args:
        base: A functional or Sequential model that was trained on images, one of ours or of
            `keras.applications`, with its classifier or without. It is copied, and stays as it is.
        classes: How many there are, or their names, which are then recorded in the model. With a
            number, a pipeline's own names are taken; there have to be as many.
        train: A `kd.data.Pipeline`; arrays `(x, y)` or `(x, y, sample_weight)` of pixels from 0 to
            255; or batches of such, as a `tf.data.Dataset` or a `keras.utils.PyDataset`. Labels
            are class numbers or one-hot. Grey images are repeated for a base that takes colours.
        validation: Of the same kind, to measure and to stop by; or None.
        preprocessing: What pixels from 0 to 255 have to go through for the base: a
            `kd.data.Normalization`, or a function of a tensor, such as
            `keras.applications.resnet50.preprocess_input`. None takes what the base has recorded,
            or does itself.
        augmentation: A layer or a model, called with batches as `train` gives them, in training
            only; it is not in the new model.
        unfreeze: How many blocks the second stage trains, from the end; of a network in which no
            blocks can be told, how many layers with weights. Or the name of the first layer to be
            trained. 0 leaves out the second stage.
        epochs: Of the first and the second stage.
        learning_rates: The highest of each stage.
        warmup: Share of the steps of a stage in which the rate rises.
        dropout: Share of features dropped in training before the classifier.
        pooling: `"avg"` or `"max"`.
        patience: Each stage ends after so many epochs without a lower loss on `validation`, and
            keeps its best weights. None goes through all epochs.
        cache: A folder to keep the features of the frozen base in, so that the first stage runs the
            base once and not in each epoch. Batches without numbers are read into memory then.
        callbacks: Given to the `fit` of each stage. With `cache`, the model of the first one is the
            head alone.
        batch_size: Of arrays; a pipeline and batches have their own.
        seed: Of dropout, and of the order of arrays.
        verbose: As for `Model.fit`; None shows a bar in a terminal, a line an epoch elsewhere.
        name: Name of the model.

    Returns:
        A `Transfer` with the model, compiled for the learning rate of the second stage.

    Raises:
        TypeError: If an argument is of a wrong kind.
        ValueError: If an argument is out of its range, data, classes and base do not fit, or the
            base does not say what pixels it takes.

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
    fraction("warmup", warmup)
    fraction("dropout", dropout)
    one_of("pooling", pooling, ("avg", "max"))
    positive_int("batch_size", batch_size)
    body = without_head(base)
    layers, began = stages.chosen_layers(body, unfreeze if epochs[1] else 0)
    before = preprocessing_of(base) if preprocessing is None else preprocessing
    given = check_given(train, validation, classes, batch_size, seed, cache is not None)
    features = feature_model(
        body, given.image_shape, given.normalization, before, given.class_names, pooling
    )
    head = stages.new_head(int(features.outputs[0].shape[-1]), given.classes, dropout, seed)
    verbose = fit_verbosity() if verbose is None else verbose
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
        vectors = _with_vectors(features, given, cache)
        first = stages.run_stage(
            stages.of_vectors(head), vectors, epochs[0], learning_rates[0], **rest
        )
        given.train.epoch = vectors.train.epoch  # the second stage goes on in the same order
    times.append(time.monotonic())
    second: History = {}
    if layers:
        stages.set_trained(features, layers)
        second = stages.run_stage(whole, given, epochs[1], learning_rates[1], **rest)
    times.append(time.monotonic())

    model = stages.joined(features, head, name)
    stages.compiled(model, learning_rates[1], given.one_hot)
    trained = tuple(layer.name for layer in layers)
    return Transfer(
        model=model,
        head_history=first,
        fine_history=second,
        trained=trained,
        frozen=tuple(name for name in stages.weighted_names(body) if name not in trained),
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
    """Raise an error for numbers that make no sense, before anything is built."""
    for argument, value in (("epochs", epochs), ("learning_rates", learning_rates)):
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise ValueError(f"{argument} must be a pair, one for each stage. Received: {value!r}")
    positive_int("epochs[0]", epochs[0])
    if not is_whole(epochs[1]) or epochs[1] < 0:
        raise ValueError(f"epochs[1] must be a whole number of 0 or more. Received: {epochs[1]!r}")
    for number, rate in enumerate(learning_rates):
        positive_float(f"learning_rates[{number}]", rate)
    if not isinstance(unfreeze, str) and (not is_whole(unfreeze) or unfreeze < 0):
        raise ValueError(
            "unfreeze must be a number of blocks, 0 or more, or the name of a layer. Received: "
            f"{unfreeze!r}"
        )
    if patience is not None:
        positive_int("patience", patience)
        if validation is None:
            raise ValueError("patience needs validation= data to measure the loss on.")
    if not is_whole(seed) or seed < 0:
        raise ValueError(f"seed must be a whole number of 0 or more. Received: {seed!r}")


def _check_inputs(preprocessing: Any, augmentation: Any, cache: Any) -> None:
    """Raise an error for what images cannot go through."""
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
            "cache keeps the features of each image, and augmentation makes other images each "
            "epoch: leave one of them out."
        )


def _with_vectors(features: keras.Model, given: Given, cache: str | os.PathLike[str]) -> Given:
    """Put vectors in place of images."""
    held_out = given.validation
    return replace(
        given,
        train=cached_features(features, given.train, cache),
        validation=None if held_out is None else cached_features(features, held_out, cache),
    )
