"""Convolutions and normalization as explicit NumPy loops, from their definitions."""

from __future__ import annotations

import numpy as np


def padded(images: np.ndarray, kernel: int, strides: int) -> tuple[np.ndarray, int, int]:
    """Pad with zeros so that the output has ceil(size / strides) places; the odd one goes last."""
    heights = []
    pads = [(0, 0)]
    for size in images.shape[1:3]:
        places = -(-size // strides)
        total = max(0, (places - 1) * strides + kernel - size)
        pads.append((total // 2, total - total // 2))
        heights.append(places)
    return np.pad(images, [*pads, (0, 0)]), heights[0], heights[1]


def depthwise(images: np.ndarray, kernels: np.ndarray, strides: int) -> np.ndarray:
    """Correlate channel c of each image with `kernels[:, :, c]`, and with nothing else."""
    size = kernels.shape[0]
    source, height, width = padded(images.astype("float64"), size, strides)
    outputs = np.zeros((len(images), height, width, images.shape[-1]))
    for n in range(len(images)):
        for row in range(height):
            for column in range(width):
                for channel in range(images.shape[-1]):
                    total = 0.0
                    for i in range(size):
                        for j in range(size):
                            pixel = source[n, row * strides + i, column * strides + j, channel]
                            total += pixel * kernels[i, j, channel]
                    outputs[n, row, column, channel] = total
    return outputs


def pointwise(images: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Combine the channels at each place: `outputs[f] = sum over c of images[c] * matrix[c, f]`."""
    outputs = np.zeros((*images.shape[:-1], matrix.shape[1]))
    for place in np.ndindex(*images.shape[:-1]):
        for channel in range(matrix.shape[0]):
            for target in range(matrix.shape[1]):
                outputs[(*place, target)] += images[(*place, channel)] * matrix[channel, target]
    return outputs


def normalized(images: np.ndarray, weights: list[np.ndarray], epsilon: float = 1e-3) -> np.ndarray:
    """Return gamma * (x - mean) / sqrt(variance + epsilon) + beta, channel by channel."""
    gamma, beta, mean, variance = (weight.astype("float64") for weight in weights)
    return gamma * (images - mean) / np.sqrt(variance + epsilon) + beta


def relu6(images: np.ndarray) -> np.ndarray:
    """Clip to 0..6."""
    return np.minimum(np.maximum(images, 0), 6)


def random_weights(layer, seed: int = 0) -> list[np.ndarray]:
    """Return random weights for a layer, of a size that makes ReLU6 clip on both sides."""
    random = np.random.default_rng(seed)
    return [
        random.uniform(0.5, 1.5, weight.shape)
        if weight.name in ("gamma", "moving_variance")
        else random.normal(0, 1, weight.shape)
        for weight in layer.weights
    ]
