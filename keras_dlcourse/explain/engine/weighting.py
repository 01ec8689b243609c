"""One small function for each method of the CAM family.

Each takes feature maps `A` and the gradients `G` of the explained score with respect to them, both
`(n, height, width, channels)`, and returns maps `(n, height, width)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Weighting = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Method:
    """An entry of `WEIGHTINGS`.

    Attributes:
        maps: Function from features and gradients to maps.
        gradients: Whether it needs gradients; if not, the map is the same for all classes.
    """

    maps: Weighting
    gradients: bool = True


def grad_cam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """ReLU(sum_k w_k A_k), w_k = spatial mean of G_k (Selvaraju et al., 2017, eq. 1 and 2)."""
    weights = gradients.mean((1, 2))
    return np.maximum(np.einsum("nhwk,nk->nhw", features, weights), 0)


def grad_cam_pp(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """ReLU(sum_k w_k A_k), w_k = spatial sum of alpha_k ReLU(G_k).

    alpha_k = G_k^2 / (2 G_k^2 + (spatial sum of A_k) G_k^3), and 0 where G_k is 0: eq. 19 of
    Chattopadhay et al. (2018), for the exponential of the score. Its factor exp(score) changes
    only the scale of the map.
    """
    squares = gradients**2
    below = 2 * squares + features.sum((1, 2), keepdims=True) * squares * gradients
    alphas = np.divide(squares, below, out=np.zeros_like(squares), where=below != 0)
    weights = (alphas * np.maximum(gradients, 0)).sum((1, 2))
    return np.maximum(np.einsum("nhwk,nk->nhw", features, weights), 0)


def layer_cam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """ReLU(sum_k ReLU(G_k) A_k), elementwise (Jiang et al., 2021, eq. 7 and 8)."""
    return np.maximum((np.maximum(gradients, 0) * features).sum(-1), 0)


def hires_cam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """sum_k G_k A_k, elementwise and signed (Draelos and Carin, 2020, eq. 3)."""
    return np.asarray((gradients * features).sum(-1))


def eigen_cam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Projection of the features on their first principal direction (Muhammad and Yeasin, 2020).

    The sign of a direction is arbitrary; it is chosen so that the projection has a positive sum.
    """
    n, height, width, channels = features.shape
    rows = features.reshape(n, height * width, channels)
    _, _, directions = np.linalg.svd(rows, full_matrices=False)
    maps = np.einsum("npk,nk->np", rows, directions[:, 0])
    maps *= np.where(maps.sum(1, keepdims=True) < 0, -1, 1)
    return np.maximum(maps, 0).reshape(n, height, width)


WEIGHTINGS: dict[str, Method] = {
    "grad_cam": Method(grad_cam),
    "grad_cam_pp": Method(grad_cam_pp),
    "layer_cam": Method(layer_cam),
    "hires_cam": Method(hires_cam),
    "eigen_cam": Method(eigen_cam, gradients=False),
}
