"""One small network for each kind of layer, random weights, and the device's answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_dlcourse as kd
from keras_dlcourse.edge.runtime.interpreter import interpreter

L = keras.layers
SHAPE = (12, 12, 4)  # no image: of one, export asks what its pixels went through


def inputs(n: int = 32, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (n, *SHAPE)).astype("float32")


def _conv_bn(x: Any, filters: int = 8, kernel: int = 3, **options: Any) -> Any:
    return L.BatchNormalization()(L.Conv2D(filters, kernel, padding="same", **options)(x))


def _squeeze_excite(x: Any) -> Any:
    gate = L.Dense(4, activation="relu")(L.GlobalAveragePooling2D()(x))
    return L.Multiply()([x, L.Reshape((1, 1, 8))(L.Dense(8, activation="sigmoid")(gate))])


def _attention(x: Any) -> Any:
    tokens = L.Reshape((9, 8))(L.MaxPooling2D(4)(x))
    return L.GlobalAveragePooling1D()(L.MultiHeadAttention(2, 4)(tokens, tokens))


def _shared(x: Any) -> Any:
    layer = L.Conv2D(8, 3, padding="same")
    return L.Add()([layer(x), layer(L.ReLU()(x))])


# What each network has between a convolution block of 8 channels and its Dense layer.
BODIES: dict[str, Callable[[Any], Any]] = {
    "relu6": lambda x: L.ReLU(6.0)(_conv_bn(x)),
    "relu1": lambda x: L.ReLU(1.0)(_conv_bn(x)),
    "swish": lambda x: L.Activation("swish")(_conv_bn(x)),
    "hard_swish": lambda x: L.Activation("hard_swish")(_conv_bn(x)),
    "hard_sigmoid": lambda x: L.Multiply()([x, L.Activation("hard_sigmoid")(_conv_bn(x))]),
    "gelu": lambda x: L.Activation("gelu")(_conv_bn(x)),
    "leaky": lambda x: L.LeakyReLU()(_conv_bn(x)),
    "prelu": lambda x: L.PReLU(shared_axes=[1, 2])(_conv_bn(x)),
    "tanh": lambda x: L.Activation("tanh")(_conv_bn(x)),
    "conv_swish": lambda x: L.Conv2D(8, 3, activation="swish")(x),
    "pre_activation": lambda x: _conv_bn(
        L.ReLU()(L.BatchNormalization()(L.Add()([x, _conv_bn(x)])))
    ),
    "depthwise": lambda x: L.ReLU()(
        L.BatchNormalization()(L.DepthwiseConv2D(3, depth_multiplier=2)(x))
    ),
    "separable": lambda x: L.ReLU()(L.BatchNormalization()(L.SeparableConv2D(12, 3)(x))),
    "grouped": lambda x: L.ReLU()(_conv_bn(x, groups=4)),
    "dilated": lambda x: L.ReLU()(_conv_bn(x, dilation_rate=2)),
    "transposed_bn": lambda x: L.ReLU()(
        L.BatchNormalization()(L.Conv2DTranspose(6, 3, strides=2, padding="same")(x))
    ),
    "transposed": lambda x: L.Conv2DTranspose(6, 3, strides=2, activation="relu")(x),
    "concat": lambda x: L.Concatenate()([_conv_bn(x, 4), L.ReLU()(_conv_bn(x, 4)), x]),
    "add_three": lambda x: L.ReLU()(L.Add()([_conv_bn(x), _conv_bn(x, 8, 1), x])),
    "average": lambda x: L.Average()([_conv_bn(x), _conv_bn(x, 8, 1), x]),
    "multiply": lambda x: L.Multiply()([_conv_bn(x), x]),
    "subtract": lambda x: L.Subtract()([_conv_bn(x), x]),
    "maximum": lambda x: L.Maximum()([_conv_bn(x), x]),
    "squeeze_excite": _squeeze_excite,
    "average_pooling": lambda x: L.AveragePooling2D(3, 2, padding="same")(_conv_bn(x)),
    "max_pooling": lambda x: _conv_bn(L.MaxPooling2D()(x)),
    "global_max": lambda x: L.GlobalMaxPooling2D()(x),
    "nearest": lambda x: _conv_bn(L.UpSampling2D(2)(x)),
    "bilinear": lambda x: _conv_bn(L.UpSampling2D(2, interpolation="bilinear")(x)),
    "resizing": lambda x: _conv_bn(L.Resizing(18, 18)(x)),
    "padding": lambda x: L.Conv2D(8, 3, strides=2)(L.ZeroPadding2D(1)(x)),
    "cropping": lambda x: _conv_bn(L.Cropping2D(1)(x)),
    "flatten": lambda x: L.Flatten()(L.MaxPooling2D(4)(x)),
    "layer_normalization": lambda x: _conv_bn(L.LayerNormalization()(x)),
    "l2": lambda x: L.UnitNormalization()(L.GlobalAveragePooling2D()(_conv_bn(x))),
    "rescaling": lambda x: _conv_bn(L.Rescaling(2.0, -0.5)(x)),
    "constants": lambda x: _conv_bn(L.ReLU(6.0)(x + 3.0) * (1 / 6)),
    "constant_first": lambda x: _conv_bn(1.0 - x),
    "dense_bn": lambda x: L.ReLU()(
        L.BatchNormalization()(L.Dense(8)(L.GlobalAveragePooling2D()(x)))
    ),
    "softmax": lambda x: L.Softmax()(L.Dense(6)(L.Flatten()(L.MaxPooling2D(4)(x)))),
    "attention": _attention,
    "dropout": lambda x: _conv_bn(L.Dropout(0.3)(x)),
    "permute": lambda x: _conv_bn(L.Permute((2, 1, 3))(x)),
    "split": lambda x: _conv_bn(L.Concatenate()(keras.ops.split(x, 2, axis=-1))),
    "split_in_part": lambda x: _conv_bn(L.Concatenate()(keras.ops.split(x, [2, 5], axis=-1)[1:])),
    "two_norms": lambda x: L.ReLU()(L.BatchNormalization()(_conv_bn(x))),
    "relu_then_norm": lambda x: L.BatchNormalization()(L.Conv2D(8, 3, activation="relu")(x)),
    "dense_on_images": lambda x: L.Dense(8, activation="relu")(x),
    "conv1d": lambda x: L.GlobalAveragePooling1D()(
        L.Conv1D(8, 3, activation="relu")(L.Reshape((12, 96))(x))
    ),
    "lstm": lambda x: L.LSTM(6, unroll=True)(L.Reshape((6, 192))(x)),
    "gru": lambda x: L.GRU(6, unroll=True, go_backwards=True)(L.Reshape((6, 192))(x)),
    "simple_rnn": lambda x: L.Flatten()(
        L.SimpleRNN(6, unroll=True, return_sequences=True)(L.Reshape((6, 192))(x))
    ),
    "shared": _shared,
    "inverted_residual": lambda x: kd.layers.InvertedResidual(8, expansion=2)(x),
    "depthwise_separable": lambda x: kd.layers.DepthwiseSeparableConv2D(12)(x),
    "excited_residual": lambda x: kd.layers.InvertedResidual(
        8, expansion=2, activation="hard_silu", squeeze=4, gate="hard_sigmoid", drop_path=0.2
    )(x),
    "swish_residual": lambda x: kd.layers.InvertedResidual(
        8, expansion=2, activation="silu", squeeze=4, squeeze_activation="silu"
    )(x),
    "residual_block": lambda x: kd.layers.ResidualBlock(12, strides=2)(x),
    "padded_residual": lambda x: kd.layers.ResidualBlock(12, strides=2, shortcut="pad")(x),
    "preactivated_residual": lambda x: kd.layers.ResidualBlock(
        12, kind="bottleneck", width=4, groups=2, preactivation=True, dropout=0.2
    )(x),
    "dense_block": lambda x: kd.layers.DenseBlock(1, 4)(x),
    "dense_transition": lambda x: kd.layers.DenseTransition()(x),
    "inception": lambda x: kd.layers.InceptionModule(2, (2, 3), (2, 3), 4)(x),
    "mlp_convolution": lambda x: kd.layers.MLPConv2D((8, 6), 3)(x),
}


def network(body: Callable[[Any], Any], seed: int = 0) -> keras.Model:
    """A convolution block, the body, and a Dense layer of five outputs, weights all random."""
    given = keras.Input(SHAPE)
    x = body(L.ReLU()(_conv_bn(given)))
    if len(x.shape) == 4:
        x = L.GlobalAveragePooling2D()(x)
    return randomised(keras.Model(given, L.Dense(5, name="scores")(x)), seed)


def randomised(model: keras.Model, seed: int = 0) -> keras.Model:
    """Random weights and statistics, some scales of batch normalization negative."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = weight.shape
        if "seed" in weight.path:
            continue
        if "variance" in weight.path:
            value = rng.uniform(0.5, 1.5, shape)
        elif "gamma" in weight.path:
            value = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1, 1, 1], shape)
        elif "kernel" in weight.path:
            fan_in = np.prod(shape[:2]) if "depthwise" in weight.path else np.prod(shape[:-1])
            value = rng.normal(0, 1.2 / np.sqrt(fan_in), shape)
        else:
            value = rng.normal(0, 0.2, shape)
        weight.assign(value)
    return model


def device(path: Path, x: np.ndarray) -> tuple[np.ndarray, float]:
    """Run an int8 file (uint8 in and out); return its numbers and the output's step."""
    runtime = interpreter(path.read_bytes(), threads=1)
    source, target = runtime.get_input_details()[0], runtime.get_output_details()[0]
    (scale, zero), (out_scale, out_zero) = source["quantization"], target["quantization"]
    codes = np.clip(np.floor(x / scale + 0.5) + zero, 0, 255).astype("uint8")
    outputs = []
    for row in codes:
        runtime.set_tensor(source["index"], row[None])
        runtime.invoke()
        outputs.append(runtime.get_tensor(target["index"])[0].astype("float32"))
    return (np.asarray(outputs) - out_zero) * out_scale, out_scale
