"""Networks and files with one fault each, planted where it is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import flatbuffers
import keras
import numpy as np
from ai_edge_litert import schema_py_generated as tflite

from keras_dlcourse._files import write_bytes
from keras_dlcourse.edge import ModelFile
from keras_dlcourse.export.conversion.converter import convert
from keras_dlcourse.export.conversion.schemes import SCHEMES
from keras_dlcourse.export.writing.input import Input

layers = keras.layers


def network(activation: str = "relu", seed: int = 0) -> keras.Model:
    """Four convolutions and a dense layer with random weights, 16x16 in, five numbers out."""
    x = inputs = keras.Input((16, 16, 4), name="image")  # no pixels
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="stem")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    x = layers.Conv2D(16, 1, name="middle")(x)
    x = layers.Activation(activation, name="bend")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="late")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(12, activation="relu", name="hidden")(x)
    x = layers.Dense(5, name="scores")(x)
    return randomised(keras.Model(inputs, x, name="planted"), seed)


def randomised(model: keras.Model, seed: int = 0) -> keras.Model:
    """Draw weights that keep numbers about as large from layer to layer."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        weights = layer.get_weights()
        if weights:
            kernel = weights[0]
            depthwise = isinstance(layer, layers.DepthwiseConv2D)
            fan_in = kernel[..., 0, 0].size if depthwise else kernel[..., 0].size
            layer.set_weights(
                [
                    rng.normal(0, (2 / fan_in) ** 0.5, kernel.shape),
                    *(rng.normal(0, 0.1, bias.shape) for bias in weights[1:]),
                ]
            )
    return model


def examples(n: int = 120, seed: int = 1) -> np.ndarray:
    """Smooth blobs, standard normal."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(n, 4, 4, 4)) + rng.normal(size=(n, 1, 1, 4))
    return coarse.repeat(4, 1).repeat(4, 2).astype("float32")


def scale_channel(model: keras.Model, first: str, second: str, channel: int, factor: float) -> None:
    """Make one channel larger in one layer and its weights smaller in the next: same outputs."""
    kernel, bias = model.get_layer(first).get_weights()
    if isinstance(model.get_layer(first), layers.DepthwiseConv2D):
        kernel[:, :, channel] *= factor
    else:
        kernel[..., channel] *= factor
    bias[channel] *= factor
    model.get_layer(first).set_weights([kernel, bias])
    kernel, bias = model.get_layer(second).get_weights()
    kernel[..., channel, :] /= factor
    model.get_layer(second).set_weights([kernel, bias])


def int8_file(model: keras.Model, path: Path, data: np.ndarray, **row: bool) -> Path:
    """Convert without metadata, so that ranges and options can be wrong on purpose."""
    content = convert(
        model,
        replace(SCHEMES["int8"], **row),
        (Input("", "numbers", model.input_shape[1:]),),
        calibration=[data],
        input_dtype="int8",
        output_dtype="int8",
    )
    write_bytes(path, content)
    return path


def edited(path: Path, target: Path, operator: int, edit) -> Path:
    """Change the tensors of one operator in a file.

    Args:
        path: The file.
        target: Where to write the changed one.
        operator: The operator's number.
        edit: Called with the model (flatbuffer objects), the graph and the operator.
    """
    model = tflite.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = model.subgraphs[0]
    edit(model, graph, graph.operators[operator])
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    content = bytes(builder.Output())
    ModelFile.read(content)
    write_bytes(target, content)
    return target
