"""Embeddings in the plane, beside a singular value decomposition."""

import importlib.util

import numpy as np
import pytest
from embedded_classes import embedded_classes

import keras_dlcourse as kd


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_pca_is_the_two_widest_directions(metric):
    embeddings, _ = embedded_classes(80)
    rows = embeddings.astype("float64")
    if metric == "cosine":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows -= rows.mean(0)
    left, sizes, _ = np.linalg.svd(rows, full_matrices=False)
    found = kd.retrieval.embedding_map(embeddings, metric=metric)
    np.testing.assert_allclose(np.abs(found), np.abs(left[:, :2] * sizes[:2]), atol=1e-4)


@pytest.mark.release  # numba compiles
def test_umap_keeps_classes_together():
    pytest.importorskip("umap")
    embeddings, labels = embedded_classes(120, 3, noise=0.1)
    found = kd.retrieval.embedding_map(embeddings, "umap", seed=1)
    assert found.shape == (120, 2)
    assert kd.retrieval.recall_at_k(found, labels, metric="euclidean") > 0.95
    np.testing.assert_array_equal(found, kd.retrieval.embedding_map(embeddings, "umap", seed=1))


def test_what_makes_no_sense_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="method must be one of 'pca', 'umap'. Received: 'tsne'"):
        kd.retrieval.embedding_map(np.eye(3), "tsne")
    with pytest.raises(ValueError, match="embeddings must hold at least 3 rows. Received: 2"):
        kd.retrieval.embedding_map(np.eye(2))
    with pytest.raises(ValueError, match="embeddings must be finite"):
        kd.retrieval.embedding_map(np.full((3, 2), np.nan))
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "umap" else find(name)
    )
    with pytest.raises(ImportError, match=r"needs umap.*'keras-dlcourse\[retrieval\]'"):
        kd.retrieval.embedding_map(np.eye(3), "umap")
