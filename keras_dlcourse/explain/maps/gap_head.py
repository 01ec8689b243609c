"""Give a network a head from which class activation maps can be read."""

from __future__ import annotations

import keras

from keras_dlcourse.data import checks
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
    """Replace what stands behind the last feature maps by global pooling and one Dense layer.

    The dense layers of a pre-trained network are dropped. What is left keeps its layers and
    weights: they are shared with `model`, so training the new network changes both. The Dense layer
    is new; fine-tune it, and then `cam` works. Average pooling makes a network look at the whole
    object, as every place of a map counts; for maximum pooling its most telling part is enough.

    The last feature maps are those that a global pooling or Flatten sees, without padding and
    local pooling straight before it: maps twice as fine cost nothing here. Maps of one place say
    nothing about where things are, so for small images the layers that make such go, too.

    Args:
        model: A functional or Sequential model with one output, with or without its top; it may
            hold a nested backbone.
        classes: Number of classes.
        pooling: `"average"` (GAP) or `"max"` (GMP).
        activation: Of the Dense layer; None gives logits.

    Returns:
        A functional model with the inputs of `model` and one output `(n, classes)`.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If it has no graph, several outputs or no feature maps, or an argument is out
            of its range.

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
    classes = checks.whole_number("classes", classes, least=1)
    if pooling not in _POOLINGS:
        raise ValueError(f"pooling must be one of {', '.join(_POOLINGS)}. Received: {pooling!r}")
    network = Network(model)
    if len(network.model.outputs) != 1:
        raise ValueError(
            f"model {model.name!r} has {len(network.model.outputs)} outputs; pass one road through "
            "it, keras.Model(model.inputs, model.outputs[i])"
        )
    tensor = network.tensor_at(_last_maps(network))
    first = _is_channels_first(network)
    pooled = _POOLINGS[pooling](
        data_format="channels_first" if first else "channels_last",
        name=_free(network, "gap_pooling"),
    )(tensor)
    # Probabilities in 16 bits would spoil the loss.
    half = keras.config.dtype_policy().compute_dtype in ("float16", "bfloat16")
    scores = keras.layers.Dense(
        classes,
        activation=activation,
        dtype="float32" if half else None,
        name=_free(network, "gap_scores"),
    )(pooled)
    return keras.Model(network.model.input, scores, name=f"{model.name}_gap")


# A mean over their outputs would be one over padding, or over maps made coarser for no gain.
_PASSED_OVER = (
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.ZeroPadding2D,
)


def _last_maps(network: Network) -> Place:
    """Walk back from the output to the first layer whose outputs are feature maps."""
    place = network.maker(network.model.outputs[0])
    while place is not None and (
        not is_map(place) or isinstance(place.node.operation, _PASSED_OVER)
    ):
        place = _source(network, place)
    if place is None:
        raise ValueError(
            f"model {network.model.name!r} has no feature maps (height, width, channels) on the "
            "way back from its output, so there is nothing to pool"
        )
    return place


def _source(network: Network, place: Place) -> Place | None:
    """Return what a place reads; of several, the first that is not an input of the model."""
    for number in range(len(place.node.inputs)):
        found = network.source(place, number)
        if found is not None:
            return found
    return None


def _is_channels_first(network: Network) -> bool:
    formats = [getattr(place.node.operation, "data_format", None) for place in network.places]
    return "channels_first" in formats


def _free(network: Network, name: str) -> str:
    taken = {place.node.name for place in network.places}
    number = 0
    free = name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
