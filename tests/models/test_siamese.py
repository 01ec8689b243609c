"""One network on several images: what comes out, what is trained, what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dlcourse as kd
from keras_dlcourse.models import Siamese

SHAPE = (9, 7, 2)


def backbone(normalize=True):
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(5, 3, activation="relu")(inputs)
    model = kd.models.embedding_model(keras.Model(inputs, x), 4, normalize=normalize)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) * 0.5 for w in model.get_weights()])
    return model


def batch(count, n=6):
    rng = np.random.default_rng(1)
    return [rng.normal(size=(n, *SHAPE)).astype("float32") for _ in range(count)]


def test_distances_scores_and_embeddings_are_those_of_the_backbone():
    one, three = backbone(), batch(3)
    vectors = [one.predict(x, verbose=0) for x in three]
    distances = Siamese(one).predict(three[:2], verbose=0)
    expected = np.sqrt(((vectors[0] - vectors[1]) ** 2).sum(1, keepdims=True))
    np.testing.assert_allclose(distances, expected, rtol=1e-4, atol=1e-6)
    stacked = Siamese(one, "embeddings", branches=3)
    np.testing.assert_allclose(stacked.predict(three, verbose=0), np.stack(vectors, 1), atol=1e-5)
    assert [tensor.name for tensor in stacked.inputs] == ["anchor", "positive", "negative"]
    scored = Siamese(one, "score")
    kernel, bias = scored.get_layer("score").get_weights()
    logits = np.abs(vectors[0] - vectors[1]) @ kernel + bias
    given = {"left": three[0], "right": three[1]}
    np.testing.assert_allclose(
        scored.predict(given, verbose=0), 1 / (1 + np.exp(-logits)), atol=1e-5
    )


def test_the_weights_stand_once_and_their_gradient_is_the_sum_over_the_branches():
    one, (left, right) = backbone(normalize=False), batch(2)
    pair = Siamese(one)
    assert pair.count_params() == one.count_params()
    # The same with two networks of equal weights that are not shared.
    apart = [keras.models.clone_model(one) for _ in range(2)]
    for number, each in enumerate(apart):
        each.name = f"side_{number}"
        each.set_weights(one.get_weights())
    inputs = [keras.Input(SHAPE) for _ in apart]
    far = ops.subtract(*(model(given) for model, given in zip(apart, inputs, strict=True)))
    unshared = keras.Model(inputs, ops.sqrt(ops.sum(ops.square(far), axis=-1, keepdims=True)))
    before, steps = one.get_weights(), []
    for model, parts in ((pair, [one]), (unshared, apart)):
        model.compile(keras.optimizers.SGD(1.0), lambda true, said: ops.mean(said, axis=-1))
        model.train_on_batch([left, right], np.zeros(len(left)))
        steps.append(
            [
                [old - new for old, new in zip(before, part.get_weights(), strict=True)]
                for part in parts
            ]
        )
    ((shared,), (first, second)) = steps
    for together, a, b in zip(shared, first, second, strict=True):
        np.testing.assert_allclose(together, a + b, rtol=1e-3, atol=1e-5)
    assert max(np.abs(a).max() for a in first) > 1e-2 < max(np.abs(b).max() for b in second)


def test_it_learns_from_pairs_and_from_triplets(tmp_path):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(0, 0.3, (90, *SHAPE)).astype("float32")
    x[..., 0] += (y - 1)[:, None, None]
    one = backbone()
    before = kd.retrieval.triplet_accuracy(one.predict(x, verbose=0), y)
    pairs = Siamese(one)
    pairs.compile(keras.optimizers.Adam(0.01), kd.losses.ContrastiveLoss(margin=1.0))
    history = pairs.fit(kd.data.PairSampler((x, y), 30), epochs=8, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]
    triplets = Siamese(one, "embeddings", branches=3)
    triplets.compile(keras.optimizers.Adam(0.01), kd.losses.TripletLoss(0.5, mining=None))
    triplets.fit(kd.data.TripletSampler((x, y), 30), epochs=4, verbose=0)
    assert kd.retrieval.triplet_accuracy(one.predict(x, verbose=0), y) > max(0.95, before)
    scored = Siamese(one, "score")
    scored.compile("adam", "binary_crossentropy")
    scored.fit(kd.data.PairSampler((x, y), 30, different=0), verbose=0)
    for model in (pairs, triplets, scored):
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        given = batch(len(model.inputs))
        np.testing.assert_allclose(
            again.predict(given, verbose=0), model.predict(given, verbose=0), atol=1e-6
        )


def test_equal_images_leave_the_weights_as_they_are():
    one, (left,) = backbone(), batch(1)
    pair = Siamese(one)
    pair.compile(keras.optimizers.SGD(1.0), kd.losses.ContrastiveLoss())
    before = one.get_weights()
    pair.train_on_batch([left, left], np.zeros(len(left), "int32"))
    for new, old in zip(one.get_weights(), before, strict=True):
        np.testing.assert_allclose(new, old, atol=1e-7)


def _maps():
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, layers.Conv2D(2, 3)(inputs))


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Siamese(3), TypeError, "backbone must be a keras.Model. Received: int"),
        (lambda: Siamese(_maps()), ValueError, r"one vector.*outputs of shape \(None, 7, 5, 2\)"),
        (lambda: Siamese(keras.Sequential([layers.Dense(2)])), ValueError, "must be built"),
        (lambda: Siamese(backbone(), "cosine"), ValueError, "output must be one of.*'cosine'"),
        (lambda: Siamese(backbone(), branches=3), ValueError, "branches=3 with output='distance'"),
        (lambda: Siamese(backbone(), "embeddings", 1), ValueError, "branches must be 2"),
    ],
)
def test_mistakes_are_said(make, kind, message):
    with pytest.raises(kind, match=message):
        make()
