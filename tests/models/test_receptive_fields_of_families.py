"""What positions see, by composition of layers and by the gradient of each, on every family."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_dlcourse as kd
from keras_dlcourse.graph.flat import Graph, flat_copy, open_block

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="it is about numbers, not backends"
)

SIZE = (64, 60)
NONLINEAR = keras.layers.ReLU | keras.layers.Activation | kd.layers.LocalResponseNormalization
# Squeezing and exciting looks at the whole image, so forms without it go deeper.
NETWORKS = {
    "lenet5": {},
    "lenet5_paper": {"alpha": 1.0},
    "alexnet": {},
    "vgg11": {},
    "nin_cifar10": {},
    "googlenet": {},
    "resnet18": {},
    "resnet20_cifar": {"shortcut": "pad", "version": 2},
    "wide_resnet_16_8": {},
    "resnext29_8x64d": {},
    "densenet_40_12": {},
    "mobilenet": {},
    "mobilenet_v2": {},
    "mobilenet_v3_large": {},
    "mobilenet_v3_small": {"minimalistic": True},
    "efficientnet_b0": {},
    "efficientnet_lite0": {},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_the_pixels_that_composition_says(name):
    options = {"alpha": 0.05, **NETWORKS[name]}
    model = kd.models.build(name, input_shape=(*SIZE, 1), classes=2, **options)
    linear = _linear(model)
    layer = _deepest(linear)
    field = kd.graph.receptive_field(linear, layer)
    assert field.size[0] > 7 or name in ("efficientnet_b0", "mobilenet_v3_large")
    (node,) = (node for node in Graph(linear).nodes if node.name == layer)
    maps = keras.Model(linear.input, node.outputs[0])
    rows, columns = field.positions
    for position in {(0, 0), (rows // 2, columns // 3), (rows - 1, columns - 1)}:
        assert field.region(*position) == _reached(maps, position)


def _linear(model: keras.Model) -> keras.Model:
    """Return a copy in which no gradient is 0 by chance: kernels average, nothing is cut off."""
    graph = Graph(flat_copy(model, open_block))

    def call(node, args, kwargs):
        layer = node.operation
        if isinstance(layer, keras.layers.MaxPooling2D):
            config = layer.get_config()
            layer = keras.layers.AveragePooling2D(
                **{key: config[key] for key in ("name", "pool_size", "padding", "strides")}
            )
        elif isinstance(layer, NONLINEAR):
            return keras.layers.Identity(name=layer.name)(*args)
        elif getattr(layer, "activation", None) is not None:
            layer.activation = keras.activations.linear
        return layer(*args, **kwargs)

    linear = graph.rebuild(call)
    rng = np.random.default_rng(0)
    for layer in linear.layers:
        for weight in layer.weights:
            if weight.name in ("kernel", "depthwise_kernel"):
                drawn = rng.uniform(0.5, 1.5, weight.shape)
                weight.assign(drawn / drawn.sum(axis=tuple(range(drawn.ndim - 1)), keepdims=True))
    return linear


def _deepest(model: keras.Model) -> str:
    """Return the last layer whose positions see less than the image."""
    found = kd.graph.profile(model)
    part = [
        row.name
        for row in found.layers
        if row.receptive_field is not None
        and not row.receptive_field.whole
        and row.receptive_field.size[0] < SIZE[0] * 0.75
        and min(row.receptive_field.positions) > 1
    ]
    return part[-1]


def _reached(maps: keras.Model, position: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box of the pixels that a position has a gradient for."""

    # Compiled by XLA: the gradient of a grouped convolution that oneDNN computes has been seen to
    # damage memory (TensorFlow 2.21, 3 channels a group).
    @tf.function(jit_compile=True)
    def gradient(image):
        total = tf.reduce_sum(maps(image, training=False)[0, position[0], position[1]])
        return tf.gradients(total, image)[0]

    rows, columns = np.nonzero(gradient(tf.ones((1, *SIZE, 1)))[0, ..., 0])
    if not len(rows):
        return 0, 0, 0, 0
    return (
        int(columns.min()),
        int(rows.min()),
        int(columns.max()) + 1,
        int(rows.max()) + 1,
    )
