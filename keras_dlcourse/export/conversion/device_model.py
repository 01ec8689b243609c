"""The model as the device calls it: one image of fixed size, in the pixels that a camera gives."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import keras
import numpy as np

from keras_dlcourse import layers
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.graph import fold_batch_norm
from keras_dlcourse.graph.flat import Graph

# The weights of ITU-R BT.601 luma, those of Pillow's mode "L" with which grey images are read.
LUMA = (0.299, 0.587, 0.114)


class ExportError(ValueError):
    """A model that cannot go into a `.tflite` file as asked, with the reason and the way out."""


def with_folded_transposes(model: keras.Model) -> keras.Model:
    """Fold batch normalization for the converter, which does it for all kernels but one.

    Behind a transposed convolution it leaves a multiplication and an addition, in float in some
    integer files. A model whose graph is hidden in its `call` stays as it is.
    """
    inside = model._flatten_layers()
    if not any(isinstance(layer, keras.layers.Conv2DTranspose) for layer in inside):
        return model
    try:
        return fold_batch_norm(model)
    except (TypeError, ValueError):
        return model


def is_image_shape(shape: tuple[int | None, ...]) -> bool:
    """Whether a shape without its batch is that of a grey or colour image."""
    return len(shape) == 3 and shape[-1] in (1, 3)


def input_shape(model: keras.Model) -> tuple[int, ...]:
    """Return the shape of the model's one input, without the batch.

    Raises:
        ExportError: If there is more than one input, none is known, or a size is open.
    """
    shapes = _input_shapes(model)
    if not shapes:
        raise ExportError(
            f"model {model.name!r} has not been built, so the size of its input is not known; "
            "call it once on data, or give its first layer an input shape"
        )
    if len(shapes) > 1:
        raise ExportError(
            f"model {model.name!r} has {len(shapes)} inputs; to_tflite takes models with one"
        )
    shape = shapes[0][1:]
    sizes = tuple(size for size in shape if size is not None)
    if len(sizes) < len(shape):
        raise ExportError(
            f"the input of model {model.name!r} has the open shape {shape}; a device needs fixed "
            "sizes: build the model with an input_shape, or wrap it: "
            "keras.Model(x := keras.Input((height, width, channels)), model(x))"
        )
    return sizes


def _input_shapes(model: keras.Model) -> list[tuple[int | None, ...]]:
    """Return the shape of each input with the batch; an empty list if not built."""
    if not model.built:
        return []
    inputs = getattr(model, "inputs", None)
    if inputs:
        return [tuple(x.shape) for x in inputs]
    # A subclassed model knows what it was called on.
    config = model.get_build_config() or {}
    shape = config.get("input_shape") or config.get("shapes_dict", {}).get("input_shape")
    if shape is None:
        return []
    if isinstance(shape, dict):
        return [tuple(one) for one in shape.values()]
    if isinstance(shape[0], (list, tuple)):
        return [tuple(one) for one in shape]
    return [tuple(shape)]


def device_model(
    model: keras.Model,
    *,
    normalization: Normalization | None = None,
    rgb: bool = False,
    batch: int | None = 1,
) -> keras.Model:
    """Return a model that shares the weights of `model` and has a device's input.

    Args:
        model: A built Keras model with one input.
        normalization: If given, computed inside the graph, on pixels from 0 to 255; a 1x1
            depthwise convolution, which integer runtimes have.
        rgb: Whether a one-channel model takes colour images. The conversion is a 1x1 convolution
            behind the normalization, which commutes with it because the weights add up to 1.
        batch: Static batch size, or None for an open one.

    Returns:
        A functional model, computed in float32: `model` itself where there is nothing to add.
    """
    shape = input_shape(model)
    model = in_float32(model)
    if normalization is None and not rgb and getattr(model, "inputs", None):
        return model  # building another graph around it would only cost time
    channels = 3 if rgb else shape[-1]
    image = x = keras.Input((*shape[:-1], channels), batch_size=batch, name="image")
    if normalization is not None:
        x = _constant_layer(
            keras.layers.DepthwiseConv2D(1, name="normalization"),
            np.broadcast_to(1 / np.asarray(normalization.std), channels),
            np.broadcast_to(
                -np.asarray(normalization.mean) / np.asarray(normalization.std), channels
            ),
        )(x)
    if rgb:
        x = _constant_layer(keras.layers.Conv2D(1, 1, use_bias=False, name="grey"), LUMA)(x)
    return keras.Model(image, model(x, training=False), name=model.name)


def in_inference(model: keras.Model) -> keras.Model:
    """Return a model that is in inference however it is called.

    Keras's own augmentation layers augment unless they are told not to, and `export` tells nothing:
    the file would hold random operations.
    """
    if not any(_trains_untold(layer) for layer in model._flatten_layers(include_self=False)):
        return model
    image = keras.Input(batch_shape=model.inputs[0].shape, name="image")
    return keras.Model(image, model(image, training=False), name=model.name)


def _trains_untold(layer: keras.layers.Layer) -> bool:
    training = inspect.signature(layer.call).parameters.get("training")
    return training is not None and training.default is True


def as_the_device_sees(inputs: np.ndarray, in_graph: Normalization | None, rgb: bool) -> np.ndarray:
    """Return a Keras model's inputs as its `device_model` takes them.

    Args:
        inputs: Normalised examples, channels last.
        in_graph: The normalization that the device's graph computes itself, or None.
        rgb: Whether it turns colour into grey.
    """
    if in_graph is not None:
        inputs = inputs * np.asarray(in_graph.std, "float32") + np.asarray(in_graph.mean, "float32")
    return np.repeat(inputs, 3, axis=-1) if rgb else inputs


def with_pixel_range(
    model: keras.Model, normalization: Normalization | None, *, own_range: bool
) -> keras.Model:
    """Return the model with the range of all pixels on its input, for one that knows its ranges.

    Then the input tensor's scale and zero point are the normalization and a pixel p is stored as p,
    whatever range the model has learned for what it was fed.

    Args:
        model: A functional model with one input.
        normalization: What pixels from 0 to 255 have gone through at the input, one mean and
            standard deviation; None if that is not known, which leaves the model as it is.
        own_range: Whether the model begins with a range of its own. If that is a layer, this one
            takes its place. Else, of two ranges in a row the converter makes a way through floats,
            so a depthwise convolution by 1 stands between them, which goes from one to the other in
            integers.
    """
    if normalization is None:
        return model
    low, high = (float(normalization(np.array([[[level]]], "uint8")).item()) for level in (0, 255))
    pixels = layers.FakeQuantize(ranges=(low, high), name="pixel_range")
    first = _first_range(model) if own_range else None
    if first is not None:
        graph = Graph(model)
        swapped = {id(first): pixels}
        return graph.rebuild(
            lambda node, args, kwargs: swapped.get(id(node.operation), node.operation)(
                *args, **kwargs
            )
        )
    given = model.inputs[0]
    image = keras.Input(batch_shape=given.shape, name="image")
    x = pixels(image)
    if own_range and len(given.shape) == 4:
        one = keras.layers.DepthwiseConv2D(1, use_bias=False, name="bridge")
        x = _constant_layer(one, np.ones(given.shape[-1]))(x)
    return keras.Model(image, model(x), name=model.name)


def _first_range(model: keras.Model) -> Any:
    """Return the layer that rounds the model's input, None if there is none."""
    graph = Graph(model)
    users = graph.users(model.inputs[0])
    if len(users) == 1 and isinstance(users[0].operation, layers.FakeQuantize):
        return users[0].operation
    return None


def _constant_layer(layer: keras.layers.Layer, kernel: Any, *bias: Any) -> keras.layers.Layer:
    """Build a 1x1 convolution over the channels and set its weights."""
    kernel = np.asarray(kernel, "float32").reshape(1, 1, -1, 1)
    layer.build((None, 1, 1, kernel.shape[2]))
    layer.set_weights([kernel, *(np.asarray(b, "float32") for b in bias)])
    return layer


def in_float32(model: keras.Model) -> keras.Model:
    """Return the model, or its float32 twin where it was trained in mixed precision.

    Half-precision graphs are full of casts that devices have no kernels for, and the variables of
    a mixed-precision model are in float32 anyway.
    """
    if not any(_is_low_precision(layer) for layer in model._flatten_layers()):
        return model
    try:
        config = keras.saving.serialize_keras_object(model)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ExportError(
            f"model {model.name!r} computes in half precision and has no config to rebuild it in "
            "float32; build it under keras.config.set_dtype_policy('float32') and set its weights"
        ) from error
    twin = keras.saving.deserialize_keras_object(_replace_policies(config))
    twin.set_weights(model.get_weights())
    return twin


def _is_low_precision(layer: keras.layers.Layer) -> bool:
    return layer.compute_dtype in ("float16", "bfloat16")


def _replace_policies(config: Any) -> Any:
    """Replace every dtype policy below `config` by float32."""
    if isinstance(config, list):
        return [_replace_policies(item) for item in config]
    if not isinstance(config, dict):
        return "float32" if config in ("mixed_float16", "mixed_bfloat16") else config
    return {
        key: _replace_policies(value) for key, value in config.items() if key != "compile_config"
    }


def model_hash(model: keras.Model) -> str:
    """Return the SHA-256 of the model's weights, with their paths and shapes, in hexadecimal.

    It ties a device file to the Keras model it was made of.
    """
    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{weight.name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
