"""Small `.tflite` files that between them use many operators, to be damaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tflite_files import Network, describe

SIZE = (1, 12, 10, 3)


def fault_models() -> dict[str, bytes]:
    """Return plain and int8 convolutions, an open batch, metadata, and networks of many steps."""
    made = {kind: Network().convert(kind) for kind in ("float32", "uint8", "int8", "int16")}
    made["open batch"] = Network().convert("float32", None)
    made["metadata"] = describe(made["uint8"])
    made["unit"] = Network(head="unit").convert("float32")
    for function in (moving, choosing, attention, recurrent):
        made[function.__name__] = converted(function, quantized=False)
        if function is not recurrent:
            made[f"{function.__name__} int8"] = converted(function, quantized=True)
    return made


def converted(make: Callable[[Any], Callable[[Any], Any]], *, quantized: bool) -> bytes:
    import tensorflow as tf

    rng = np.random.default_rng(0)

    def weights(*shape: int) -> Any:
        return tf.constant(rng.normal(0, 0.5, shape).astype("float32"))

    function = tf.function(make(weights), input_signature=[tf.TensorSpec(SIZE)])
    concrete = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    if quantized:
        images = rng.normal(size=(10, *SIZE)).astype("float32")
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image] for image in images)
        converter.inference_input_type = converter.inference_output_type = tf.int8
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
    return converter.convert()


def moving(weights: Callable[..., Any]) -> Callable[[Any], Any]:
    """Convolutions and pools; then all that moves values about."""
    import tensorflow as tf

    first, second, depth = weights(3, 3, 3, 4), weights(3, 3, 8, 4), weights(3, 3, 3, 2)
    dense = weights(36, 5)

    def call(x: Any) -> Any:
        y = tf.nn.relu6(tf.nn.conv2d(x, first, 1, "SAME"))
        y = tf.concat([y, tf.nn.depthwise_conv2d(x, depth, [1, 1, 1, 1], "SAME")[..., :4]], -1)
        y = tf.nn.conv2d(y, second, 2, "SAME")
        y = tf.nn.max_pool2d(y, 2, 1, "SAME") + tf.nn.avg_pool2d(y, 2, 1, "SAME")
        y = tf.image.resize(tf.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]]), (6, 5))
        y = tf.transpose(tf.concat(tf.split(y, 2, -1)[::-1], -1), [0, 2, 1, 3])
        y = tf.gather(y, [4, 2, 1, 0, 3], axis=1)[:, ::-1][:, :3, ::2]
        return tf.nn.softmax(tf.matmul(tf.reshape(y, (1, -1)), dense))

    return call


def choosing(weights: Callable[..., Any]) -> Callable[[Any], Any]:
    """Element by element, and what chooses among values."""
    import tensorflow as tf

    first, back, dense = weights(3, 3, 3, 4), weights(2, 2, 4, 4), weights(60, 5)

    def call(x: Any) -> Any:
        y = tf.nn.conv2d(x, first, 2, "SAME")
        y = tf.nn.conv2d_transpose(y, back, (1, 12, 10, 4), 2, "SAME")
        y = tf.nn.depth_to_space(tf.nn.space_to_depth(y, 2), 2)
        y = tf.tile(tf.nn.leaky_relu(y) * tf.sigmoid(y), [1, 1, 1, 2])
        y = tf.reduce_max(y, -1) + tf.reduce_mean(y, -1)
        y *= tf.one_hot(tf.argmax(y, -1, output_type=tf.int32), 10)
        y = tf.unstack(tf.stack([y, -y], -1), axis=-1)[0]
        y = tf.compat.v1.image.resize_nearest_neighbor(y[..., None], (6, 10))
        y = tf.nn.top_k(tf.reshape(tf.squeeze(y, -1), (1, 60)), 60)[0]
        y = tf.where(y > 0.0, y, tf.exp(y))
        y = tf.minimum(tf.maximum(y, -1.0), 1.0) - tf.sqrt(tf.abs(y))
        return tf.nn.log_softmax(tf.matmul(y, dense))

    return call


def attention(weights: Callable[..., Any]) -> Callable[[Any], Any]:
    """Products of batches of matrices."""
    import tensorflow as tf

    query, key, value = weights(1, 30, 8), weights(1, 30, 8), weights(1, 30, 5)

    def call(x: Any) -> Any:
        rows = tf.reshape(x, (1, 12, 30))
        likeness = tf.matmul(tf.matmul(rows, query), tf.matmul(rows, key), transpose_b=True)
        y = tf.cumsum(tf.matmul(tf.nn.softmax(likeness), tf.matmul(rows, value)), 1)
        return tf.reduce_mean(tf.math.l2_normalize(y, -1), 1)

    return call


def recurrent(weights: Callable[..., Any]) -> Callable[[Any], Any]:
    """A loop over the rows of the image, which is a graph of its own in the file."""
    import tensorflow as tf

    kernel, state, dense = weights(30, 24), weights(6, 24), weights(6, 5)

    def call(x: Any) -> Any:
        rows = tf.reshape(x, (12, 1, 30))

        def step(n: Any, h: Any, c: Any) -> tuple[Any, Any, Any]:
            gates = tf.matmul(tf.gather(rows, n), kernel) + tf.matmul(h, state)
            a, b, d, e = tf.split(gates, 4, -1)
            c = tf.sigmoid(a) * c + tf.sigmoid(b) * tf.tanh(d)
            return n + 1, tf.sigmoid(e) * tf.tanh(c), c

        zeros = tf.zeros((1, 6))
        _, h, _ = tf.while_loop(lambda n, h, c: n < 12, step, (0, zeros, zeros))
        return tf.matmul(h, dense)

    return call
