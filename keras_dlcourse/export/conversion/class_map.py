"""Add the class activation map as a second output of a `.tflite` file.

The map of class c is the result of the classifier on the last feature maps f_k at each position,
before pooling and without the bias:

    M_c(x, y) = sum_k w_k^c f_k(x, y)

The classifier is called a second time, on the feature maps themselves. The path to the scores is
unchanged, so the scores equal those of a file without maps, and both calls read the same weights,
which are stored once. The cost is that of a 1x1 convolution: height x width x channels x classes.
"""

from __future__ import annotations

import keras
import numpy as np

from keras_dlcourse import layers
from keras_dlcourse.edge.tflite.metadata import CLASS_MAP
from keras_dlcourse.export.conversion.errors import ExportError
from keras_dlcourse.graph.flat import flat_copy
from keras_dlcourse.graph.head import Head, find_head
from keras_dlcourse.graph.predicting import predict
from keras_dlcourse.layers.compression.fake_quantize import is_quantized


def add_class_map(model: keras.Model, examples: np.ndarray | None = None) -> keras.Model:
    """Return the model with the map of every class as a second output.

    Args:
        model: A functional or Sequential model with one input, which computes in float32.
        examples: Inputs `(n, *input_shape)` on which the range of the map is measured for a
            quantization-aware model, whose training did not include the map; unused for other
            models.

    Returns:
        A functional model with two outputs: scores, and map `(n, height, width, classes)`.

    Raises:
        ExportError: If the model has a different head, or is quantization-aware and there are no
            examples.

    Example:
        >>> import keras
        >>> model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=5)
        >>> [output.shape for output in add_class_map(model).outputs]
        [(None, 5), (None, 2, 2, 5)]

    Reference:
        Zhou et al. (2016), Learning Deep Features for Discriminative Localization,
        https://arxiv.org/abs/1512.04150
    """
    try:
        find_head(model)
        if any(isinstance(layer, keras.Model) for layer in model.layers):
            # Only a flat graph can return the maps inside it without computing them twice.
            model = flat_copy(model, lambda layer: None)
        head = find_head(model)
    except ValueError as error:
        raise ExportError(f"class_map=True is not possible for this model. {error}") from error
    features = head.features.outputs[0]
    if head.channels_first:
        features = keras.layers.Permute((2, 3, 1), name=f"{CLASS_MAP}_channels_last")(features)
    maps = _classifier(head)(features)
    if is_quantized(model):
        low, high = _measure_range(keras.Model(model.inputs, maps), examples)
        maps = layers.FakeQuantize(ranges=(low, high), name=f"{CLASS_MAP}_range")(maps)
    return keras.Model(model.inputs, [model.outputs[0], maps], name=model.name)


def _classifier(head: Head) -> keras.layers.Layer:
    """Return the head's classifier without bias and activation, applied at each position."""
    kernel = np.asarray(head.weights()[0])
    # The same kind of layer as the classifier, so that both calls share one kernel in the file.
    if isinstance(head.classifier, keras.layers.Conv2D):
        convolution = keras.layers.Conv2D(head.classes, 1, use_bias=False, name=CLASS_MAP)
        return _set_kernel(convolution, kernel[None, None])
    return _set_kernel(keras.layers.Dense(head.classes, use_bias=False, name=CLASS_MAP), kernel)


def _set_kernel(layer: keras.layers.Layer, kernel: np.ndarray) -> keras.layers.Layer:
    layer.build((None, 1, 1, kernel.shape[-2]))
    layer.set_weights([kernel])
    return layer


def _measure_range(maps: keras.Model, examples: np.ndarray | None) -> tuple[float, float]:
    """Measure the range of the maps, including 0."""
    if examples is None:
        raise ExportError(
            "class_map=True: quantization-aware training measured every range in this model except "
            "that of its map. Pass calibration=, e.g. the training data"
        )
    values = predict(maps, examples)
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return (low, high) if low < high else (low, low + 1.0)


def compute_class_maps(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """Compute in Keras the reference for the file's second output.

    Args:
        model: A model with a head that `find_head` supports.
        inputs: `(n, *input_shape)`.

    Returns:
        Float32 maps `(n, height, width, classes)`.

    Raises:
        ValueError: If the model has a different head.
    """
    head = find_head(model)
    kernel, _ = head.weights()
    features = np.asarray(predict(head.features, inputs), "float32")
    return (np.moveaxis(features, 1, -1) if head.channels_first else features) @ kernel
