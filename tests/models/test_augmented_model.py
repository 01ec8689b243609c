"""Labels and weights that are augmented in the training step, against arithmetic by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_dlcourse.layers import ClassSpecific, RandomAffine
from keras_dlcourse.models import AugmentedModel

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(8, 4, 5, 1)).astype("float32")
Y = np.eye(3)[np.arange(8) % 3]
WEIGHTS = RANDOM.uniform(0, 4, 8).astype("float32")


def _network():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
    return keras.Sequential([keras.Input((4, 5, 1)), *layers])


class Halves(keras.layers.Layer):
    """Mixes each example with the next one, a quarter of it, as MixUp does by chance."""

    def call(self, inputs, training=False):
        return {
            name: 0.75 * part + 0.25 * keras.ops.roll(part, -1, axis=0)
            for name, part in inputs.items()
        }


@pytest.mark.parametrize("is_weighted", [False, True])
def test_a_mixture_has_the_weighted_losses_of_its_parts(is_weighted):
    """Of each part by its own weight: the loss of one step, and where it leads."""
    weights = WEIGHTS if is_weighted else np.ones(8)
    model = _network()
    before = model.get_weights()
    trainer = AugmentedModel(model, Halves())
    trainer.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy")
    loss = trainer.train_on_batch(X, Y, sample_weight=WEIGHTS if is_weighted else None)

    twin = _network()
    twin.set_weights(before)
    mixed = 0.75 * X + 0.25 * np.roll(X, -1, axis=0)
    scores = keras.ops.convert_to_numpy(twin(mixed))
    own = -(Y * np.log(scores)).sum(1) * weights
    others = -(np.roll(Y, -1, axis=0) * np.log(scores)).sum(1) * np.roll(weights, -1)
    losses = 0.75 * own + 0.25 * others
    mixed_weights = 0.75 * weights + 0.25 * np.roll(weights, -1)
    assert float(loss) == pytest.approx(losses.mean(), rel=1e-4)
    slopes = scores * mixed_weights[:, None] - (
        0.75 * Y * weights[:, None] + 0.25 * np.roll(Y * weights[:, None], -1, axis=0)
    )
    expected = before[0] - 0.1 * mixed.reshape(8, -1).T @ slopes / 8
    np.testing.assert_allclose(model.get_weights()[0], expected, atol=1e-5)


@pytest.mark.parametrize("layer", [keras.layers.MixUp, keras.layers.CutMix])
def test_the_mixing_of_keras_trains_anew_in_each_step(layer):
    trainer = AugmentedModel(_network(), layer(1.0, seed=2))
    assert trainer.supports_jit == (keras.backend.backend() != "tensorflow")
    trainer.compile(keras.optimizers.SGD(0.0), "categorical_crossentropy")
    history = trainer.fit(
        X, Y, epochs=3, class_weight={0: 3.0}, validation_data=(X, Y), verbose=0
    ).history
    assert np.isfinite(history["loss"]).all() and len(set(history["loss"])) == 3
    assert len(set(history["val_loss"])) == 1  # nothing is augmented there


def test_classes_by_number_keep_their_weights():
    """With a rate of 0 nothing changes: as plain training."""
    layer = ClassSpecific(keras.layers.RandomFlip(seed=0), {1: 0.0})
    ours, theirs = _network(), _network()
    trainer = AugmentedModel(ours, layer)
    for model in (trainer, theirs):
        model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
        model.fit(X, Y.argmax(1), sample_weight=WEIGHTS, batch_size=4, shuffle=False, verbose=0)
    for mine, weight in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, weight, atol=1e-6)


def test_masks_as_labels_move_with_images():
    """A network that returns its input is right in every step only if the mask moves along."""
    masks = RANDOM.integers(0, 2, (8, 4, 5, 1))
    x = keras.Input((4, 5, 1))
    model = keras.Model(x, keras.layers.Activation("linear")(x))
    moving = RandomAffine(translation=0.4, masks={"labels": 0}, interpolation="nearest", seed=1)
    trainer = AugmentedModel(model, moving)
    trainer.compile("sgd", "mse")
    history = trainer.fit(masks.astype("float32"), masks, epochs=2, verbose=0).history
    assert history["loss"] == [0, 0]
    still = AugmentedModel(model, RandomAffine(translation=0.4, seed=1))
    still.compile("sgd", "mse")
    assert still.fit(masks.astype("float32"), masks, verbose=0).history["loss"][0] > 0.05


def test_weights_by_pixel_would_stay_in_place():
    masks = RANDOM.integers(0, 2, (8, 4, 5))
    x = keras.Input((4, 5, 1))
    model = keras.Model(x, keras.layers.Conv2D(2, 1)(x))
    trainer = AugmentedModel(model, RandomAffine(translation=0.4, masks={"labels": 0}))
    trainer.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match="weights per pixel would stay in place"):
        trainer.fit(masks[..., None], masks, sample_weight=np.ones(masks.shape), verbose=0)


def test_labels_in_a_dictionary_keep_their_names():
    class Named(keras.layers.Layer):
        def call(self, inputs, training=False):
            assert sorted(inputs) == ["class", "images"]
            return {**inputs, "class": keras.ops.zeros_like(inputs["class"])}

    x = keras.Input((4, 5, 1))
    outputs = keras.layers.Dense(3, "softmax", kernel_initializer="zeros")
    model = keras.Model(x, {"class": outputs(keras.layers.Flatten()(x))})
    trainer = AugmentedModel(model, Named())
    trainer.compile(keras.optimizers.SGD(0.1), {"class": "categorical_crossentropy"})
    history = trainer.fit(X, {"class": Y}, verbose=0).history
    assert history["loss"][0] == pytest.approx(0, abs=1e-6)


def test_errors():
    with pytest.raises(TypeError, match="model must be a keras.Model. Received: str"):
        AugmentedModel("model", keras.layers.MixUp())
    with pytest.raises(TypeError, match="augmentation must be a Keras layer. Received: None"):
        AugmentedModel(_network(), None)

    class Square(keras.layers.Layer):
        """What mixing of class numbers gives on JAX."""

        def call(self, inputs, training=False):
            return {**inputs, "labels": keras.ops.outer(inputs["labels"], inputs["labels"])}

    trainer = AugmentedModel(_network(), Square())
    trainer.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    with pytest.raises(ValueError, match=r"must be one-hot.*turned into \(8, 8\)"):
        trainer.train_on_batch(X, Y.argmax(1))
