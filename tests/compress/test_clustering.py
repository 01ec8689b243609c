from __future__ import annotations

import keras
import numpy as np
import pytest
from compression_models import images_and_labels, kernel, plain_network, transform_of
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dlcourse.compress.clustering import cluster
from keras_dlcourse.compress.pruning import prune
from keras_dlcourse.compress.transformed import strip
from keras_dlcourse.layers import ClusterWeight, FakeQuantizeWeight, PruneWeight, compressed


def _codes(weight: np.ndarray, axis: int) -> np.ndarray:
    """The int8 codes under one scale per channel."""
    others = tuple(n for n in range(weight.ndim) if n != axis % weight.ndim)
    scale = np.abs(weight).max(axis=others, keepdims=True) / 127
    return np.round(weight / np.where(scale == 0, 1, scale)).astype(int)


@pytest.mark.parametrize("init", ["kmeans++", "linear", "density"])
@pytest.mark.parametrize("clusters", [2, 5, 16])
def test_few_numbers_each_the_nearest_centroid(init, clusters) -> None:
    model = plain_network()
    clustered = cluster(model, clusters, init, per="layer")
    for name in ("conv", "transposed"):
        centroids = np.asarray(transform_of(clustered, name).centroids)
        weight = kernel(model, name)
        nearest = centroids[np.abs(weight[..., None] - centroids).argmin(axis=-1)]
        np.testing.assert_array_equal(kernel(clustered, name), nearest)
        # Even steps may have none to serve where numbers are rare.
        found = np.unique(kernel(clustered, name)).size
        assert found <= clusters if init == "linear" else found == clusters


def test_kmeans_has_a_smaller_error_than_even_steps() -> None:
    model = plain_network()
    errors = {
        init: np.mean(
            (kernel(cluster(model, 6, init), "transposed") - kernel(model, "transposed")) ** 2
        )
        for init in ("kmeans++", "linear")
    }
    assert errors["kmeans++"] < errors["linear"]


def test_per_channel_there_are_few_codes() -> None:
    """The same clusters of int8 codes in all channels, though channels differ 100-fold in size."""
    model = plain_network()
    conv = model.get_layer("conv")
    conv.kernel.assign(np.asarray(conv.kernel) * np.logspace(-1, 1, 8))
    clustered = cluster(model, 8)
    for name, axis in (("conv", -1), ("transposed", -2), ("scores", -1)):
        assert np.unique(_codes(kernel(clustered, name), axis)).size <= 8
        for channels in range(kernel(model, name).shape[axis]):
            one, other = (
                np.abs(np.take(kernel(network, name), channels, axis)).max()
                for network in (clustered, model)
            )
            assert one == pytest.approx(other)  # each channel keeps its range
    assert np.unique(_codes(kernel(cluster(model, 8, per="layer"), "conv"), -1)).size > 8


@settings(max_examples=30)
@given(
    # The middle of 0 and a number just above the smallest is 0 where such numbers are flushed.
    values=st.lists(
        st.floats(-4, 4, width=32).filter(lambda value: value == 0 or abs(value) > 1e-30),
        min_size=4,
        max_size=40,
    ),
    clusters=st.integers(3, 9),
    zeros=st.booleans(),
)
def test_never_more_numbers_than_clusters_and_zeros_stay(values, clusters, zeros) -> None:
    weight = np.array(values, "float32")[:, None]
    transform = ClusterWeight(clusters, keep_zeros=zeros)
    transform.build(weight.shape)
    transform.fit_centroids(weight, "density")
    result = np.asarray(transform(weight))
    assert np.unique(result).size <= clusters
    if zeros:
        assert (result[weight == 0] == 0).all()


def test_gradients_equal_numpy() -> None:
    """Straight-through to the weight; to a centroid the mean over its numbers."""
    import tensorflow as tf

    weight = tf.Variable([[0.9, 1.2, -2.0], [-2.2, 0.1, 1.0]])
    transform = ClusterWeight(3, keep_zeros=True)
    transform.build(weight.shape)
    transform.centroids.assign([1.0, -2.0])
    slopes = np.array([[1.0, 2.0, 3.0], [5.0, 7.0, 9.0]], "float32")
    with tf.GradientTape() as tape:
        outputs = transform(weight)
        loss = tf.reduce_sum(outputs * slopes)
    to_weight, to_centroids = tape.gradient(loss, [weight, transform.centroids.value])
    assert outputs.numpy().tolist() == [[1, 1, -2], [-2, 0, 1]]
    np.testing.assert_array_equal(to_weight, slopes)
    np.testing.assert_allclose(to_centroids, [(1 + 2 + 9) / 3, (3 + 5) / 2], rtol=1e-6)


@pytest.mark.parametrize("per", ["layer", "channel"])
def test_training_moves_centroids_and_keeps_their_number_and_the_zeros(per, tmp_path) -> None:
    images, labels = images_and_labels(16)
    model = cluster(prune(plain_network(), 0.5), 6, per=per)
    # Other weights whose nearest centroid is 0 may leave it.
    zeros = np.asarray(transform_of(model, "conv", 0).mask) == 0
    assert zeros.mean() == 0.5
    before = np.asarray(transform_of(model, "conv", 1).centroids).copy()
    assert transform_of(model, "conv", 1).keep_zeros
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(images, labels, batch_size=4, epochs=3, verbose=0)
    assert (np.asarray(transform_of(model, "conv", 1).centroids) != before).all()
    trained = kernel(model, "conv")
    assert (trained[zeros] == 0).all()
    assert np.unique(_codes(trained, -1) if per == "channel" else trained).size <= 6
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(kernel(loaded, "conv"), trained)
    plain = strip(model)
    np.testing.assert_allclose(plain(images), model(images), atol=1e-6)
    assert {type(layer).__module__.split(".")[0] for layer in plain.layers} == {"keras"}


def _loss_falls(model: keras.Model) -> bool:
    images, labels = images_and_labels(16)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    losses = model.fit(images, labels, batch_size=8, epochs=12, verbose=0).history["loss"]
    return losses[-1] < losses[0]


def _transforms(pruned: bool, clustered: bool, weight: np.ndarray) -> list:
    transforms: list = []
    if pruned:
        transforms.append(PruneWeight(0.5))
        transforms[-1].build(weight.shape)
        transforms[-1].choose_mask(weight)
        weight = np.asarray(transforms[-1](weight))
    if clustered:
        transforms.append(ClusterWeight(8, keep_zeros=pruned, axis=-1))
        transforms[-1].build(weight.shape)
        transforms[-1].fit_centroids(weight)
    return [*transforms, FakeQuantizeWeight(axis=-1)]


@pytest.mark.parametrize(("pruned", "clustered"), [(True, False), (False, True), (True, True)])
def test_zeros_and_clusters_live_through_training_for_integers(pruned, clustered) -> None:
    """PQAT, CQAT and PCQAT."""
    model = plain_network()
    layers = {
        name: compressed(
            model.get_layer(name),
            {"kernel": _transforms(pruned, clustered, kernel(model, name))},
        )
        for name in ("conv", "scores")
    }
    copy = keras.models.clone_model(
        model, clone_function=lambda layer: layers.get(layer.name, layer)
    )
    assert _loss_falls(copy)
    for layer in layers.values():
        weight = np.asarray(keras.ops.convert_to_numpy(layer.transform_weight("kernel")))
        codes = _codes(weight, -1)
        scale = np.abs(weight).max(axis=tuple(range(weight.ndim - 1))) / 127
        np.testing.assert_allclose(codes * scale, weight, atol=1e-5 * np.abs(weight).max())
        if pruned:
            assert (codes == 0).mean() >= 0.5
        if clustered:
            assert np.unique(codes).size <= 8


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"clusters": 1, "per": "layer"},
            ValueError,
            "clusters must be an integer of at least 2. Received: 1",
        ),
        ({"clusters": 2}, ValueError, "at least 4, because 3 of them are fixed. Received: 2"),
        ({"clusters": 2.5}, TypeError, "clusters.*2.5"),
        ({"init": "random"}, ValueError, "init must be one of 'kmeans.*'random'"),
        ({"per": "model"}, ValueError, "per must be one of 'channel', 'layer'"),
        ({"skip": ["nothing*"]}, ValueError, r"skip='nothing\*' matches no layer"),
        ({"skip": ["*"]}, ValueError, "no layer to cluster"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        cluster(plain_network(), **arguments)


def test_clustered_twice_or_pruned_afterwards() -> None:
    clustered = cluster(plain_network(), 8)
    with pytest.raises(ValueError, match="already clustered"):
        cluster(clustered, 8)
    with pytest.raises(ValueError, match="Prune first, then cluster"):
        prune(clustered, 0.5)
