"""Build the model as a device calls it: on inputs of fixed size, with raw camera pixels."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import keras
import numpy as np

from keras_dlcourse import layers
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.export.conversion.errors import ExportError
from keras_dlcourse.export.conversion.structure import get_tensor, list_tensors, pack_inputs
from keras_dlcourse.export.writing.input import Input
from keras_dlcourse.graph import fold_batch_norm
from keras_dlcourse.graph.flat import Graph, Node

# The ITU-R BT.601 luma weights, which Pillow's mode "L" also uses to read gray images.
LUMA = (0.299, 0.587, 0.114)


def fold_transposes(model: keras.Model) -> keras.Model:
    """Fold batch normalization in models with transposed convolutions.

    The converter folds it for all other kernels. After a transposed convolution it leaves a
    multiplication and an addition, in float in some integer files. A model whose graph is hidden in
    its `call` is returned unchanged.
    """
    inside = model._flatten_layers()
    if not any(isinstance(layer, keras.layers.Conv2DTranspose) for layer in inside):
        return model
    try:
        return fold_batch_norm(model)
    except (TypeError, ValueError):
        return model


def is_image_shape(shape: tuple[int | None, ...]) -> bool:
    """Whether a shape, without the batch, is that of a gray or color image."""
    return len(shape) == 3 and shape[-1] in (1, 3)


def device_model(
    model: keras.Model, inputs: tuple[Input, ...], *, batch: int | None = 1
) -> keras.Model:
    """Return a model that shares the weights of `model` and takes the inputs of a device.

    Images get what the file does to them inside its graph: their normalization, as a 1x1 depthwise
    convolution, which integer runtimes support; and the conversion of color to gray, a 1x1
    convolution after the normalization, with which it commutes because the weights add up to 1.

    Args:
        model: A built Keras model.
        inputs: Its inputs.
        batch: Static batch size, or None for a dynamic one.

    Returns:
        A functional model that computes in float32: `model` itself if there is nothing to add.
    """
    model = convert_to_float32(model)
    added = any(one.in_graph is not None or one.rgb for one in inputs)
    if not added and getattr(model, "inputs", None):
        return model  # wrapping it in another graph would only cost time
    given = [_build_input(one, batch) for one in inputs]
    values = [_add_steps(tensor, one) for tensor, one in zip(given, inputs, strict=True)]
    outputs = model(pack_inputs(model, values), training=False)
    return keras.Model(pack_inputs(model, given), outputs, name=model.name)


def _build_input(one: Input, batch: int | None) -> Any:
    """Return a symbolic input of the device."""
    shape = (*one.shape[:-1], 3) if one.rgb else one.shape
    return keras.Input(shape, batch_size=batch, name=one.name or one.kind, dtype=one.dtype)


def _add_steps(x: Any, one: Input) -> Any:
    """Add what the graph does to an image."""
    after = f"_{one.name}" if one.name else ""
    if one.in_graph is not None:
        mean, std = np.asarray(one.in_graph.mean), np.asarray(one.in_graph.std)
        x = _build_constant_layer(
            keras.layers.DepthwiseConv2D(1, name=f"normalization{after}"),
            np.broadcast_to(1 / std, x.shape[-1]),
            np.broadcast_to(-mean / std, x.shape[-1]),
        )(x)
    if one.rgb:
        gray = keras.layers.Conv2D(1, 1, use_bias=False, name=f"gray{after}")
        x = _build_constant_layer(gray, LUMA)(x)
    return x


def force_inference(model: keras.Model) -> keras.Model:
    """Return a model that is in inference mode however it is called.

    Keras's own augmentation layers augment by default, and `export` does not pass `training`: the
    file would contain random operations.
    """
    if not any(_trains_untold(layer) for layer in model._flatten_layers(include_self=False)):
        return model
    given = copy_inputs(model)
    outputs = model(pack_inputs(model, given), training=False)
    return keras.Model(pack_inputs(model, given), outputs, name=model.name)


def copy_inputs(model: keras.Model) -> list[Any]:
    """Return new symbolic inputs like those of a model, in the order of `list_inputs`."""
    tensors = list_tensors(model)
    return [
        keras.Input(
            batch_shape=one.shape, dtype=one.dtype, name=name if len(tensors) > 1 else "image"
        )
        for name, one in tensors.items()
    ]


def _trains_untold(layer: keras.layers.Layer) -> bool:
    training = inspect.signature(layer.call).parameters.get("training")
    return training is not None and training.default is True


def convert_to_device_inputs(
    inputs: np.ndarray, in_graph: Normalization | None, rgb: bool
) -> np.ndarray:
    """Convert a Keras model's inputs to those of its `device_model`.

    Args:
        inputs: Normalized examples, channels last.
        in_graph: The normalization that the device's graph computes itself, or None.
        rgb: Whether that graph converts color to gray.
    """
    if in_graph is not None:
        inputs = inputs * np.asarray(in_graph.std, "float32") + np.asarray(in_graph.mean, "float32")
    return np.repeat(inputs, 3, axis=-1) if rgb else inputs


def set_pixel_ranges(
    model: keras.Model, inputs: tuple[Input, ...], *, own_ranges: bool
) -> keras.Model:
    """Set the range of each image of a quantization-aware model to the range of all pixels.

    The input tensor's scale and zero point then encode the normalization and a pixel p is stored as
    p, whatever range the model learned for its inputs.

    Args:
        model: A functional model.
        inputs: Its inputs.
        own_ranges: Whether the model begins with ranges of its own. Those that are layers are
            replaced. Otherwise, the converter would go from one range to the next in float, so a
            depthwise convolution by 1 is inserted between them, which does it in integers.
    """
    swapped, added = {}, {}
    for number, one in enumerate(inputs):
        if one.before_graph is None:
            continue
        pixels = _build_pixel_range(one)
        first = _find_first_range(model, number) if own_ranges else None
        if first is not None:
            swapped[id(first.outputs[0])] = pixels  # the layer may be shared by several images
        else:
            added[number] = pixels
    if swapped:
        model = Graph(model).rebuild(
            lambda node, args, kwargs: swapped.get(id(node.outputs[0]), node.operation)(
                *args, **kwargs
            )
        )
    if not added:
        return model
    given = copy_inputs(model)
    values = list(given)
    for number, pixels in added.items():
        values[number] = pixels(given[number])
        if own_ranges and len(given[number].shape) == 4:
            name = f"bridge_{inputs[number].name}" if inputs[number].name else "bridge"
            bridge = keras.layers.DepthwiseConv2D(1, use_bias=False, name=name)
            ones = np.ones(given[number].shape[-1])
            values[number] = _build_constant_layer(bridge, ones)(values[number])
    outputs = model(pack_inputs(model, values))
    return keras.Model(pack_inputs(model, given), outputs, name=model.name)


def _build_pixel_range(one: Input) -> keras.layers.Layer:
    """Return a layer with the range of all pixels of an image."""
    before = one.before_graph or Normalization.identity()
    low, high = (float(before(np.array([[[level]]], "uint8")).item()) for level in (0, 255))
    name = f"pixel_range_{one.name}" if one.name else "pixel_range"
    return layers.FakeQuantize(ranges=(low, high), name=name)


def _find_first_range(model: keras.Model, number: int) -> Node | None:
    """Return the call of the layer that quantizes an input of a model, None without one."""
    graph = Graph(model)
    users = graph.users(get_tensor(model, number))
    if len(users) == 1 and isinstance(users[0].operation, layers.FakeQuantize):
        return users[0]
    return None


def _build_constant_layer(layer: keras.layers.Layer, kernel: Any, *bias: Any) -> keras.layers.Layer:
    """Build a 1x1 convolution over the channels and set its weights."""
    kernel = np.asarray(kernel, "float32").reshape(1, 1, -1, 1)
    layer.build((None, 1, 1, kernel.shape[2]))
    layer.set_weights([kernel, *(np.asarray(b, "float32") for b in bias)])
    return layer


def convert_to_float32(model: keras.Model) -> keras.Model:
    """Return the model, or a float32 copy if it was trained in mixed precision.

    Half-precision graphs are full of casts for which devices have no kernels, and the variables of
    a mixed-precision model are in float32 anyway.
    """
    if not any(_is_low_precision(layer) for layer in model._flatten_layers()):
        return model
    try:
        config = keras.saving.serialize_keras_object(model)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ExportError(
            f"model {model.name!r} computes in half precision and has no config to rebuild it in "
            "float32. Build it under keras.config.set_dtype_policy('float32') and set its weights"
        ) from error
    twin = keras.saving.deserialize_keras_object(_replace_policies(config))
    twin.set_weights(model.get_weights())
    return twin


def _is_low_precision(layer: keras.layers.Layer) -> bool:
    return layer.compute_dtype in ("float16", "bfloat16")


def _replace_policies(config: Any) -> Any:
    """Replace every mixed-precision policy in `config` with float32."""
    if isinstance(config, list):
        return [_replace_policies(item) for item in config]
    if not isinstance(config, dict):
        return "float32" if config in ("mixed_float16", "mixed_bfloat16") else config
    return {
        key: _replace_policies(value) for key, value in config.items() if key != "compile_config"
    }


def model_hash(model: keras.Model) -> str:
    """Return the SHA-256 of the model's weights, with their names and shapes, in hexadecimal.

    It ties a device file to the Keras model it was made from.
    """
    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{weight.name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
