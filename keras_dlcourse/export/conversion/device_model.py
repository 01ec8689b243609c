"""Build the model as a device calls it: on one image of fixed size, with raw camera pixels."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import keras
import numpy as np

from keras_dlcourse import layers
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.export.conversion.schemes import Scheme
from keras_dlcourse.graph import fold_batch_norm
from keras_dlcourse.graph.flat import Graph, to_functional

# The ITU-R BT.601 luma weights, which Pillow's mode "L" also uses to read gray images.
LUMA = (0.299, 0.587, 0.114)


class ExportError(ValueError):
    """Raised if a model cannot be exported to a `.tflite` file; states the reason and the fix."""


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


def input_shape(model: keras.Model) -> tuple[int, ...]:
    """Return the shape of the model's only input, without the batch.

    Raises:
        ExportError: If there are several inputs, none is known, or a size is dynamic.
    """
    shapes = _input_shapes(model)
    if not shapes:
        raise ExportError(
            f"model {model.name!r} has not been built, so its input size is unknown. "
            "Either call it once on data, or give its first layer an input shape"
        )
    if len(shapes) > 1:
        raise ExportError(
            f"model {model.name!r} has {len(shapes)} inputs; to_tflite takes models with one input"
        )
    shape = shapes[0][1:]
    sizes = tuple(size for size in shape if size is not None)
    if len(sizes) < len(shape):
        raise ExportError(
            f"the input of model {model.name!r} has the dynamic shape {shape}, but a device needs "
            "fixed sizes. Build the model with an input_shape, or wrap it: "
            "keras.Model(x := keras.Input((height, width, channels)), model(x))"
        )
    return sizes


def token_dtype(model: keras.Model, row: Scheme) -> str | None:
    """Return the type of an input of token numbers, `"int32"`; None for inputs of other kinds.

    Those are integer inputs that are not images, such as those of an `Embedding`.

    Raises:
        ExportError: If the file would quantize token numbers, because the input is declared as
            floats, or cannot be converted with them.
    """
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return None
    given = inputs[0]
    if "int" in keras.backend.standardize_dtype(given.dtype):
        if is_image_shape(tuple(given.shape[1:])):
            return None
        if row.name == "int16x8":
            raise ExportError(
                f"quantization='int16x8' does not support integer inputs. Received: {given.dtype} "
                f"input of model {model.name!r}. Use quantization='int8'"
            )
        return "int32"
    layer = _find_embedding_of_input(model) if row.name in ("int8", "int16x8") else None
    if layer is not None:
        raise ExportError(
            f"the input of model {model.name!r} must be integers, because layer {layer.name!r} "
            f"(Embedding) reads it. Received: {given.dtype}, which an integer file quantizes. "
            "Declare it as keras.Input(shape, dtype='int32')"
        )
    return None


def _find_embedding_of_input(model: keras.Model) -> keras.layers.Layer | None:
    """Return the `Embedding` that reads the input of a model, None if there is none."""
    if not any(isinstance(layer, keras.layers.Embedding) for layer in model._flatten_layers()):
        return None
    try:
        graph = Graph(to_functional(model))
    except (TypeError, ValueError):  # its graph is hidden in its `call`
        return None
    readers = (node.operation for node in graph.users(graph.model.inputs[0]))
    return next((layer for layer in readers if isinstance(layer, keras.layers.Embedding)), None)


def _input_shapes(model: keras.Model) -> list[tuple[int | None, ...]]:
    """Return the shape of each input, with the batch; an empty list if not built."""
    if not model.built:
        return []
    inputs = getattr(model, "inputs", None)
    if inputs:
        return [tuple(x.shape) for x in inputs]
    # A subclassed model records the shapes it was called on.
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
    """Return a model that shares the weights of `model` and takes the input of a device.

    Args:
        model: A built Keras model with one input.
        normalization: If given, it is computed inside the graph on pixels from 0 to 255, as a 1x1
            depthwise convolution, which integer runtimes support.
        rgb: Whether a one-channel model takes color images. The conversion is a 1x1 convolution
            after the normalization, with which it commutes because the weights add up to 1.
        batch: Static batch size, or None for a dynamic one.

    Returns:
        A functional model that computes in float32: `model` itself if there is nothing to add.
    """
    shape = input_shape(model)
    model = convert_to_float32(model)
    if normalization is None and not rgb and getattr(model, "inputs", None):
        return model  # wrapping it in another graph would only cost time
    channels = 3 if rgb else shape[-1]
    image = x = keras.Input((*shape[:-1], channels), batch_size=batch, name="image")
    if normalization is not None:
        x = _build_constant_layer(
            keras.layers.DepthwiseConv2D(1, name="normalization"),
            np.broadcast_to(1 / np.asarray(normalization.std), channels),
            np.broadcast_to(
                -np.asarray(normalization.mean) / np.asarray(normalization.std), channels
            ),
        )(x)
    if rgb:
        x = _build_constant_layer(keras.layers.Conv2D(1, 1, use_bias=False, name="grey"), LUMA)(x)
    return keras.Model(image, model(x, training=False), name=model.name)


def force_inference(model: keras.Model) -> keras.Model:
    """Return a model that is in inference mode however it is called.

    Keras's own augmentation layers augment by default, and `export` does not pass `training`: the
    file would contain random operations.
    """
    if not any(_trains_untold(layer) for layer in model._flatten_layers(include_self=False)):
        return model
    given = model.inputs[0]
    image = keras.Input(batch_shape=given.shape, dtype=given.dtype, name="image")
    return keras.Model(image, model(image, training=False), name=model.name)


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


def set_pixel_range(
    model: keras.Model, normalization: Normalization | None, *, own_range: bool
) -> keras.Model:
    """Set the input range of a quantization-aware model to the range of all pixels.

    The input tensor's scale and zero point then encode the normalization and a pixel p is stored as
    p, whatever range the model learned for its inputs.

    Args:
        model: A functional model with one input.
        normalization: The normalization applied to pixels from 0 to 255 at the input, with a single
            mean and standard deviation; None if unknown, which leaves the model unchanged.
        own_range: Whether the model begins with a range of its own. If that is a layer, it is
            replaced. Otherwise, the converter would go from one range to the next in float, so a
            depthwise convolution by 1 is inserted between them, which does it in integers.
    """
    if normalization is None:
        return model
    low, high = (float(normalization(np.array([[[level]]], "uint8")).item()) for level in (0, 255))
    pixels = layers.FakeQuantize(ranges=(low, high), name="pixel_range")
    first = _find_first_range(model) if own_range else None
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
        x = _build_constant_layer(one, np.ones(given.shape[-1]))(x)
    return keras.Model(image, model(x), name=model.name)


def _find_first_range(model: keras.Model) -> Any:
    """Return the layer that quantizes the model's input, None if there is none."""
    graph = Graph(model)
    users = graph.users(model.inputs[0])
    if len(users) == 1 and isinstance(users[0].operation, layers.FakeQuantize):
        return users[0].operation
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
    """Return the SHA-256 of the model's weights, with their paths and shapes, in hexadecimal.

    It ties a device file to the Keras model it was made from.
    """
    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{weight.name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
