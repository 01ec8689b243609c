"""A wide range of small networks, one idea each, for what converters and runtimes make of them."""

from __future__ import annotations

from collections.abc import Callable

import keras
from small_models import randomise

layers, ops = keras.layers, keras.ops


class Compute(layers.Layer):
    """A layer of a plain function."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def after_conv(function: Callable) -> Callable:
    """Put the function behind a convolution, as in a network."""
    return lambda x: Compute(function)(layers.Conv2D(4, 3)(x))


def activation(name: str) -> Callable:
    return lambda x: layers.Activation(name)(layers.Conv2D(4, 3)(x))


def merged(layer: type) -> Callable:
    return lambda x: layer()([layers.Conv2D(2, 3)(x), layers.Conv2D(2, 3)(x)])


def sequence(make: Callable) -> Callable:
    return lambda x: make()(layers.Reshape((4, 64))(x))


def squeeze_excite(x):
    gate = layers.Reshape((1, 1, 4))(layers.GlobalAveragePooling2D()(x))
    return layers.Multiply()([x, layers.Dense(4, activation="sigmoid")(gate)])


def attention(x):
    x = layers.Reshape((64, 4))(x)
    return layers.MultiHeadAttention(2, 4)(x, x)


def shuffle(x):
    x = layers.Permute((1, 2, 4, 3))(layers.Reshape((8, 8, 2, 2))(x))
    return layers.Reshape((8, 8, 4))(x)


def transposed(x):
    x = layers.Conv2DTranspose(4, 3, strides=2)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


MODELS: dict[str, Callable] = {
    **{
        name: activation(name)
        for name in (
            "gelu", "hard_silu", "hard_sigmoid", "silu", "elu", "selu", "tanh", "sigmoid",
            "leaky_relu", "softplus", "mish", "exponential", "softmax", "log_softmax", "softsign",
        )
    },
    **{
        layer.__name__: merged(layer)
        for layer in (
            layers.Concatenate, layers.Add, layers.Multiply, layers.Subtract, layers.Maximum,
            layers.Minimum, layers.Average,
        )
    },
    "prelu": lambda x: layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(4, 3)(x)),
    "nearest": lambda x: layers.UpSampling2D()(x),
    "bilinear": lambda x: layers.UpSampling2D(interpolation="bilinear")(x),
    "transposed": lambda x: layers.Conv2DTranspose(4, 3, strides=2)(x),
    "transposed_norm": transposed,
    # Weights of 1024 numbers and more are what dynamic quantization stores as integers.
    "wide_conv": lambda x: layers.Conv2D(32, 3)(x),
    "wide_depthwise": lambda x: layers.DepthwiseConv2D(3)(layers.Conv2D(128, 1)(x)),
    "wide_transposed": lambda x: layers.Conv2DTranspose(32, 3, strides=2)(x),
    "wide_lstm": sequence(lambda: layers.LSTM(8)),
    "grouped": lambda x: layers.Conv2D(8, 3, groups=4)(x),
    "dilated": lambda x: layers.Conv2D(4, 3, dilation_rate=2)(x),
    "depthwise": lambda x: layers.DepthwiseConv2D(3)(x),
    "separable": lambda x: layers.SeparableConv2D(6, 3)(x),
    "max_pool": lambda x: layers.MaxPooling2D()(x),
    "average_pool": lambda x: layers.AveragePooling2D(2)(x),
    "global_average": lambda x: layers.GlobalAveragePooling2D()(x),
    "global_max": lambda x: layers.GlobalMaxPooling2D()(x),
    "zero_pad": lambda x: layers.ZeroPadding2D()(x),
    "crop": lambda x: layers.Cropping2D()(x),
    "batch_norm": lambda x: layers.BatchNormalization()(x),
    "layer_norm": lambda x: layers.LayerNormalization()(x),
    "group_norm": lambda x: layers.GroupNormalization(2)(x),
    "unit_norm": lambda x: layers.UnitNormalization()(x),
    "rescaling": lambda x: layers.Rescaling(0.5, 1.0)(x),
    "squeeze_excite": squeeze_excite,
    "permute": lambda x: layers.Permute((2, 1, 3))(x),
    "shuffle": shuffle,
    "attention": attention,
    "conv1d": lambda x: layers.Conv1D(4, 3)(layers.Reshape((64, 4))(x)),
    "conv3d": lambda x: layers.Conv3D(2, 2)(layers.Reshape((8, 8, 2, 2))(x)),
    "lstm": sequence(lambda: layers.LSTM(4)),
    "gru": sequence(lambda: layers.GRU(4)),
    "lstm_unrolled": sequence(lambda: layers.LSTM(4, unroll=True)),
    "gru_unrolled": sequence(lambda: layers.GRU(4, unroll=True)),
    "rnn_unrolled": sequence(lambda: layers.SimpleRNN(4, unroll=True)),
    "bidirectional": sequence(lambda: layers.Bidirectional(layers.LSTM(4))),
    "matmul": lambda x: Compute(lambda y: ops.matmul(y, ops.transpose(y, (0, 1, 3, 2))))(x),
    "abs": after_conv(ops.abs),
    "sqrt": after_conv(lambda x: ops.sqrt(ops.abs(x) + 1)),
    "rsqrt": after_conv(lambda x: ops.rsqrt(ops.abs(x) + 1)),
    "square": after_conv(ops.square),
    "sin": after_conv(ops.sin),
    "log": after_conv(lambda x: ops.log(ops.abs(x) + 1)),
    "floor": after_conv(ops.floor),
    "round": after_conv(ops.round),
    "sign": after_conv(ops.sign),
    "divide": after_conv(lambda x: x / (ops.abs(x) + 1)),
    "power": after_conv(lambda x: ops.power(ops.abs(x) + 0.1, 1.5)),
    "sum": after_conv(lambda x: ops.sum(x, -1)),
    "reduce_max": after_conv(lambda x: ops.max(x, -1)),
    "reduce_min": after_conv(lambda x: ops.min(x, -1)),
    "reduce_prod": after_conv(lambda x: ops.prod(x, -1)),
    "variance": after_conv(lambda x: ops.var(x, -1)),
    "split": after_conv(lambda x: ops.concatenate(ops.split(x, 2, -1)[::-1], -1)),
    "slice": after_conv(lambda x: x[:, 1:3, :, :]),
    "stack": after_conv(lambda x: ops.stack([x, x + 1], -1)),
    "tile": after_conv(lambda x: ops.tile(x, (1, 2, 1, 1))),
    "flip": after_conv(lambda x: ops.flip(x, 1)),
    "where": after_conv(lambda x: ops.where(x > 0, x, x * 2)),
    "clip": after_conv(lambda x: ops.clip(x, -1, 1)),
    "clip01": after_conv(lambda x: ops.clip(x, 0, 1)),
    "cumsum": after_conv(lambda x: ops.cumsum(x, 1)),
    "compare": after_conv(lambda x: ops.cast(x > 0, "float32")),
    "mirror": after_conv(lambda x: ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")),
    "gather": after_conv(lambda x: ops.take(x, [0, 2], axis=3)),
    "top_k": after_conv(lambda x: ops.top_k(x, 2)[0]),
    "einsum": after_conv(lambda x: ops.einsum("bhwc,bhvc->bhwv", x, x)),
}  # fmt: skip
# Loops cannot be converted to integers.
FLOAT_ONLY = ("wide_lstm", "lstm", "gru", "bidirectional")
SHAPE = (8, 8, 4)


def build(name: str) -> keras.Model:
    """Return a network of that name: the idea, then a dense layer."""
    x = inputs = keras.Input(SHAPE)
    x = MODELS[name](x)
    if len(x.shape) > 2:
        x = layers.Flatten()(x)
    return randomise(keras.Model(inputs, layers.Dense(3)(x), name=name))
