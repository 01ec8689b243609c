"""The peer of `triplet_cost.py`: pytorch-metric-learning on the same batch, timed alike.

Runs in an environment of its own: `pip install torch pytorch-metric-learning`.
"""

import json
import math
import statistics
import sys
import time

import numpy as np
import torch
from pytorch_metric_learning import distances, losses, miners, reducers


def main(path: str, rounds: int) -> dict[str, dict[str, float]]:
    arrays = np.load(path)
    labels, x = torch.tensor(arrays["labels"]), torch.tensor(arrays["x"])
    kernel = torch.tensor(arrays["kernel"])
    plain = distances.LpDistance(normalize_embeddings=False)
    hard = miners.BatchHardMiner(distance=plain)
    active = losses.TripletMarginLoss(0.2, distance=plain)
    valid = losses.TripletMarginLoss(0.2, distance=plain, reducer=reducers.MeanReducer())
    classes, size = kernel.shape[1], kernel.shape[0]
    arc = losses.ArcFaceLoss(classes, size, margin=math.degrees(0.5), scale=64)
    cos = losses.CosFaceLoss(classes, size, margin=0.35, scale=64)
    proxy = losses.ProxyAnchorLoss(classes, size, margin=0.1, alpha=32)
    arc.W.data, cos.W.data, proxy.proxies.data = kernel.clone(), kernel.clone(), kernel.T.clone()
    functions = {
        "all triplets": lambda e: active(e, labels),
        "hard triplets": lambda e: valid(e, labels, hard(e, labels)),
        "NTXent": lambda e: losses.NTXentLoss(0.1)(e, labels),
        "SupervisedContrastive": lambda e: losses.SupConLoss(0.1)(e, labels),
        "ArcFace": lambda e: arc(e, labels),
        "CosFace": lambda e: cos(e, labels),
        "ProxyAnchor": lambda e: proxy(e, labels),
    }
    values = {name: float(function(x)) for name, function in functions.items()}
    seconds = {name: timed(functions[name], x, rounds) for name in ("all triplets", "NTXent")}
    return {"values": values, "seconds": seconds}


def timed(function, x: torch.Tensor, rounds: int) -> float:
    """Return the median seconds of a loss and its gradient."""
    times = []
    for _ in range(rounds + 1):
        given = x.clone().requires_grad_(True)
        started = time.perf_counter()
        function(given).backward()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
