"""The losses as loops over pairs and triplets in NumPy, from their definitions, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Triplet = tuple[int, int, int]


def distance(kind: str, one: np.ndarray, other: np.ndarray) -> float:
    if kind == "cosine":
        return 1 - float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
    length = float(np.linalg.norm(one - other))
    return length**2 if kind == "squared" else length


def triplets(
    labels: np.ndarray, embeddings: np.ndarray, mining: str, kind: str = "euclidean"
) -> list[Triplet]:
    """Return the triplets taken, as (anchor, positive, negative)."""
    found, rows = [], range(len(labels))

    def d(i: int, j: int) -> float:
        return distance(kind, embeddings[i], embeddings[j])

    for a in rows:
        positives = [p for p in rows if p != a and labels[p] == labels[a]]
        negatives = [n for n in rows if labels[n] != labels[a]]
        if not negatives or not positives:
            continue
        if mining == "all":
            found += [(a, p, n) for p in positives for n in negatives]
        elif mining == "hard":
            near = min(negatives, key=lambda n: d(a, n))
            found.append((a, max(positives, key=lambda p: d(a, p)), near))
        else:
            for p in positives:
                farther = [n for n in negatives if d(a, n) > d(a, p)]
                if farther:
                    found.append((a, p, min(farther, key=lambda n: d(a, n))))
                else:
                    found.append((a, p, max(negatives, key=lambda n: d(a, n))))
    return found


def of_triplets(
    embeddings: np.ndarray,
    taken: list[Triplet],
    margin: float = 1.0,
    kind: str = "euclidean",
    soft: bool = False,
    over: str = "valid",
    weights: np.ndarray | None = None,
) -> float:
    """Return the mean loss of triplets, each weighted by the weight of its anchor."""
    total, number = 0.0, 0
    for a, p, n in taken:
        excess = margin + distance(kind, embeddings[a], embeddings[p])
        excess -= distance(kind, embeddings[a], embeddings[n])
        loss = math.log1p(math.exp(excess)) if soft else max(0.0, excess)
        number += over == "valid" or loss > 0
        total += loss * (1 if weights is None else weights[a])
    return total / number if number else 0.0


def nt_xent(labels: np.ndarray, embeddings: np.ndarray, temperature: float) -> float:
    losses, rows = [], range(len(labels))

    def e(i: int, j: int) -> float:
        return math.exp((1 - distance("cosine", embeddings[i], embeddings[j])) / temperature)

    for a in rows:
        negatives = sum(e(a, n) for n in rows if labels[n] != labels[a])
        for p in rows:
            if p != a and labels[p] == labels[a] and negatives:
                losses.append(-math.log(e(a, p) / (e(a, p) + negatives)))
    return float(np.mean(losses)) if losses else 0.0


def supervised_contrastive(labels: np.ndarray, embeddings: np.ndarray, temperature: float) -> float:
    losses, rows = [], range(len(labels))

    def e(i: int, j: int) -> float:
        return math.exp((1 - distance("cosine", embeddings[i], embeddings[j])) / temperature)

    for a in rows:
        positives = [p for p in rows if p != a and labels[p] == labels[a]]
        if positives and any(labels[k] != labels[a] for k in rows):
            others = sum(e(a, k) for k in rows if k != a)
            losses.append(-np.mean([math.log(e(a, p) / others) for p in positives]))
    return float(np.mean(losses)) if losses else 0.0


def margin_softmax(
    labels: np.ndarray, cosines: np.ndarray, scale: float, lowered: Callable[[float], float]
) -> float:
    losses = []
    for label, row in zip(labels, cosines, strict=True):
        logits = [
            scale * (lowered(float(cosine)) if column == label else float(cosine))
            for column, cosine in enumerate(row)
        ]
        losses.append(math.log(sum(math.exp(logit) for logit in logits)) - logits[label])
    return float(np.mean(losses))


def arc_face(labels: np.ndarray, cosines: np.ndarray, margin: float, scale: float) -> float:
    def lowered(cosine: float) -> float:
        angle = math.acos(cosine)
        if angle <= math.pi - margin:
            return math.cos(angle + margin)
        return cosine - margin * math.sin(margin)

    return margin_softmax(labels, cosines, scale, lowered)


def cos_face(labels: np.ndarray, cosines: np.ndarray, margin: float, scale: float) -> float:
    return margin_softmax(labels, cosines, scale, lambda cosine: cosine - margin)


def proxy_anchor(labels: np.ndarray, cosines: np.ndarray, margin: float, alpha: float) -> float:
    pulls, pushes = [], []
    for proxy in range(cosines.shape[1]):
        mine, others = cosines[labels == proxy, proxy], cosines[labels != proxy, proxy]
        if len(mine):
            pulls.append(math.log(1 + sum(math.exp(-alpha * (cos - margin)) for cos in mine)))
        pushes.append(math.log(1 + sum(math.exp(alpha * (cos + margin)) for cos in others)))
    return (float(np.mean(pulls)) if pulls else 0.0) + float(np.mean(pushes))


def contrastive(
    different: np.ndarray, distances: np.ndarray, margin: float, squared: bool
) -> float:
    power = 2 if squared else 1
    losses = [
        (max(0.0, margin - d) ** power if apart else d**power) / 2
        for apart, d in zip(different, distances, strict=True)
    ]
    return float(np.mean(losses))


def numeric_gradient(function: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    """Return the gradient by central differences, in float64."""
    gradient, step = np.zeros(x.shape), 1e-6
    for place in np.ndindex(*x.shape):
        moved = [np.array(x, "float64") for _ in range(2)]
        moved[0][place] += step
        moved[1][place] -= step
        gradient[place] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return gradient
