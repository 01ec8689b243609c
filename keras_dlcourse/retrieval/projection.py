"""Projection of embeddings to the plane for plotting."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from keras_dlcourse._checks import check_one_of
from keras_dlcourse._extras import require
from keras_dlcourse.retrieval.pairs import check_embeddings


def embedding_map(
    embeddings: Any, method: str = "pca", *, metric: str = "cosine", seed: int = 0
) -> np.ndarray:
    """Project embeddings to the plane.

    PCA preserves distances as well as two directions can; UMAP preserves neighborhoods, but its
    distances between groups mean little.

    Args:
        embeddings: `(n, dimension)` with n of at least 3.
        method: `"pca"`, or `"umap"` (`pip install 'keras-dlcourse[retrieval]'`).
        metric: With `"cosine"`, embeddings are first scaled to length 1.
        seed: Seed of the projection.

    Returns:
        `(n, 2)` float32; pass it to `kd.report.draw_embedding_map`.

    Raises:
        ValueError: If there are too few embeddings, or they are not finite.
        ImportError: If `method` is `"umap"` and UMAP is not installed.

    Example:
        >>> embedding_map([[0.0, 3.0], [0.0, -3.0], [0.1, 0.0]], metric="euclidean").shape
        (3, 2)

    Reference:
        McInnes, Healy, Melville (2018), UMAP, https://arxiv.org/abs/1802.03426
    """
    rows = check_embeddings(embeddings, metric)
    check_one_of("method", method, ("pca", "umap"))
    if len(rows) < 3:
        raise ValueError(f"embeddings must hold at least 3 rows. Received: {len(rows)}.")
    if metric == "cosine":
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    if method == "pca":
        if rows.shape[1] == 1:
            rows = np.pad(rows, ((0, 0), (0, 1)))
        return PCA(2, random_state=seed).fit_transform(rows).astype(np.float32)
    require("embedding_map(method='umap')", "retrieval", "umap")
    import umap

    near = min(15, len(rows) - 1)
    layout = umap.UMAP(n_neighbors=near, random_state=seed, n_jobs=1, init="pca")
    return np.asarray(layout.fit_transform(rows), np.float32)
