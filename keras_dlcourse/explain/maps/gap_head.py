"""Replace the head of a network so that `cam` works with it."""

from __future__ import annotations

import keras

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse.graph.places import is_map
from keras_dlcourse.graph.running import Network, Place

_POOLINGS = {
    "average": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
}


def with_gap_head(
    model: keras.Model,
    classes: int,
    pooling: str = "average",
    activation: str | None = "softmax",
) -> keras.Model:
    """Replace everything after the last feature maps with global pooling and one Dense layer.

    The dense layers of a pre-trained network are dropped. The remaining layers and weights are
    shared with `model`, so training the new network changes both. The Dense layer is new; fine-tune
    it, then use `cam`. Average pooling makes a network look at the whole object, because every
    location counts; with max pooling, the most discriminative part is enough.

    The last feature maps are the inputs of global pooling or Flatten. Padding and local pooling
    directly before it are dropped, too: this doubles the resolution of the maps at no cost. So are
    layers that output maps with a single location (for small images), because those do not show
    where things are.

    Args:
        model: A functional or Sequential model with one output, with or without its top; it may
            contain a nested backbone.
        classes: Number of classes.
        pooling: `"average"` (GAP) or `"max"` (GMP).
        activation: Activation of the Dense layer; None gives logits.

    Returns:
        A functional model with the inputs of `model` and one output `(n, classes)`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If the model has no graph, several outputs or no feature maps, or an argument is
            out of range.

    Example:
        >>> from keras_dlcourse.explain import cam, with_gap_head
        >>> import numpy as np
        >>> vgg = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=10)
        >>> model = with_gap_head(vgg, classes=3)
        >>> [layer.name for layer in model.layers[-3:]]
        ['block5_conv3', 'gap_pooling', 'gap_scores']
        >>> cam(model, np.zeros((1, 32, 32, 3))).shape
        (1, 32, 32)

    Reference:
        Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016,
        https://arxiv.org/abs/1512.04150
    """
    classes = check_integer("classes", classes)
    check_one_of("pooling", pooling, tuple(_POOLINGS))
    network = Network(model)
    if len(network.model.outputs) != 1:
        raise ValueError(
            f"model {model.name!r} has {len(network.model.outputs)} outputs; one is needed. Pass "
            "keras.Model(model.inputs, model.outputs[i])."
        )
    tensor = network.tensor_at(_last_maps(network))
    first = _is_channels_first(network)
    pooled = _POOLINGS[pooling](
        data_format="channels_first" if first else "channels_last",
        name=_find_free_name(network, "gap_pooling"),
    )(tensor)
    # 16-bit probabilities are too coarse for the loss.
    half = keras.config.dtype_policy().compute_dtype in ("float16", "bfloat16")
    scores = keras.layers.Dense(
        classes,
        activation=activation,
        dtype="float32" if half else None,
        name=_find_free_name(network, "gap_scores"),
    )(pooled)
    return keras.Model(network.model.input, scores, name=f"{model.name}_gap")


# Pooling after these would average over padding, or over needlessly coarse maps.
_PASSED_OVER = (
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.ZeroPadding2D,
)


def _last_maps(network: Network) -> Place:
    """Walk back from the output to the nearest layer whose outputs are feature maps."""
    place = network.maker(network.model.outputs[0])
    while place is not None and (
        not is_map(place) or isinstance(place.node.operation, _PASSED_OVER)
    ):
        place = _source(network, place)
    if place is None:
        raise ValueError(
            f"model {network.model.name!r} has no feature maps (height, width, channels) before "
            "its output, so there is nothing to pool."
        )
    return place


def _source(network: Network, place: Place) -> Place | None:
    """Return the place that feeds `place`: the first one that is not a model input."""
    for number in range(len(place.node.inputs)):
        found = network.source(place, number)
        if found is not None:
            return found
    return None


def _is_channels_first(network: Network) -> bool:
    formats = [getattr(place.node.operation, "data_format", None) for place in network.places]
    return "channels_first" in formats


def _find_free_name(network: Network, name: str) -> str:
    taken = {place.node.name for place in network.places}
    number = 0
    free = name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
