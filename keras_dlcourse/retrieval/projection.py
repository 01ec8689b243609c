"""Embeddings in the plane, to be looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from keras_dlcourse._extras import require
from keras_dlcourse.retrieval.pairs import checked_embeddings


def embedding_map(
    embeddings: Any, method: str = "pca", *, metric: str = "cosine", seed: int = 0
) -> np.ndarray:
    """Lay embeddings out in the plane.

    PCA shows true distances, as far as two directions can; UMAP shows which embeddings are
    neighbours, and its distances between groups mean little.

    Args:
        embeddings: `(n, dimension)` with n of at least 3.
        method: `"pca"`, or `"umap"` (`pip install 'keras-dlcourse[retrieval]'`).
        metric: For `"cosine"` the directions are shown, all of length 1.
        seed: The same seed gives the same map.

    Returns:
        `(n, 2)` float32; pass it to `kd.report.draw_embedding_map`.

    Raises:
        ValueError: If there are too few embeddings, or they are not finite.
        ImportError: If UMAP is asked for and not installed.

    Example:
        >>> embedding_map([[0.0, 3.0], [0.0, -3.0], [0.1, 0.0]], metric="euclidean").shape
        (3, 2)

    Reference:
        McInnes, Healy, Melville (2018), UMAP, https://arxiv.org/abs/1802.03426
    """
    rows = checked_embeddings(embeddings, metric)
    if method not in ("pca", "umap"):
        raise ValueError(f"method must be 'pca' or 'umap', got {method!r}")
    if len(rows) < 3:
        raise ValueError(f"a map needs at least 3 embeddings, got {len(rows)}")
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
