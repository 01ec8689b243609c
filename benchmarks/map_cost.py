"""Maps in one compiled call beside loops of eager ones; MobileNetV2 0.35 at 96, TensorFlow."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from _figures import Figure, in_turn, ratio
from PIL import Image

from keras_dlcourse.explain import GradientMapper, score_cam

IMAGES, ROUNDS = 32, 5


def measure() -> list[Figure]:
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(
        input_shape=(96, 96, 3), alpha=0.35, weights=None, classes=20
    )
    x = np.random.default_rng(0).normal(size=(IMAGES, 96, 96, 3)).astype("float32")
    mapper = GradientMapper(model, "grad_cam")
    both = keras.Model(model.inputs[0], [model.get_layer("out_relu").output, model.output])
    compiled, counted = _compiled(both), _Counted(mapper)

    def ours() -> np.ndarray:
        return mapper.maps(x, 3)[0]

    for function in (ours, lambda: compiled(x), lambda: _eager(both, x[:1])):
        function()
    batched, bare = in_turn(ours, lambda: compiled(x), rounds=5 * ROUNDS)
    _, loop = in_turn(ours, lambda: _eager(both, x), rounds=2)
    masks = keras.Model(model.inputs[0], model.get_layer("block_1_project_BN").output)
    channels = int(masks.output.shape[-1])
    options = {"layer": "block_1_project_BN", "batch_size": 32}
    score_cam(model, x[:2], 3, **options)
    together, apart = in_turn(
        lambda: score_cam(model, x[:2], 3, **options),
        lambda: _one_mask_at_a_time(model, masks, x[:2]),
        rounds=2,
    )
    return [
        ratio("Grad-CAM of 32 images: against eager tapes, one by one", batched, loop, 1 / 50),
        ratio("Grad-CAM of 32 images: against compiled forward + gradient", batched, bare, 1.25),
        ratio(f"Score-CAM, {channels} channels: against single masks", together, apart, 1 / 10),
        Figure("Grad-CAM: traces for other images and classes", counted.more(x), "", 0),
    ]  # fmt: skip


class _Counted:
    """Counts how often the mapper's program is traced."""

    def __init__(self, mapper: GradientMapper) -> None:
        self.mapper, self.traces = mapper, 0
        explained = mapper.probe._explain

        def counting(*arguments: object) -> object:
            self.traces += 1
            return explained(*arguments)

        mapper.probe._explain = counting

    def more(self, x: np.ndarray) -> int:
        before = self.traces
        for number in range(5):
            self.mapper.maps(np.roll(x, number, 0), np.arange(len(x)) % (number + 2))
        return self.traces - before


def _compiled(both: keras.Model):
    @tf.function
    def run(x):
        with tf.GradientTape() as tape:
            features, outputs = both(x, training=False)
            score = tf.reduce_sum(outputs[:, 3])
        return features, tape.gradient(score, features)

    return lambda x: [part.numpy() for part in run(tf.constant(x))]


def _eager(both: keras.Model, x: np.ndarray) -> list[np.ndarray]:
    """Grad-CAM as the tutorials write it: one image at a time, nothing compiled."""
    maps = []
    for image in x:
        with tf.GradientTape() as tape:
            features, outputs = both(image[None], training=False)
            score = outputs[:, 3]
        gradient = tape.gradient(score, features)
        weights = tf.reduce_mean(gradient, axis=(0, 1, 2))
        maps.append(tf.nn.relu(features[0] @ weights[:, None]).numpy())
    return maps


def _one_mask_at_a_time(model: keras.Model, masks: keras.Model, x: np.ndarray) -> None:
    for image, features in zip(x, masks.predict_on_batch(x), strict=True):
        for k in range(features.shape[-1]):
            plane = features[..., k] - features[..., k].min()
            plane = plane / max(plane.max(), 1e-6)
            mask = np.asarray(Image.fromarray(plane).resize((96, 96), Image.Resampling.BILINEAR))
            model(image[None] * mask[None, ..., None], training=False)
