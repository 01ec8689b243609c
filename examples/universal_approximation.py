"""One hidden layer can approximate any continuous function: the error falls with the width.

python examples/universal_approximation.py [--epochs 400] [--output universal]

The theorem (Hornik et al., 1989) says that, on a bounded range, weights exist for any maximum error
if the layer is wide enough. It does not say that training finds them. So each width is trained from
three initializations, the best fit is kept, and its maximum error is plotted against the width.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_dlcourse as kd
from keras_dlcourse.report.canvas import BLUE, GREY, VERMILION, style_axes

WIDTHS = (1, 2, 4, 8, 16)
SHOWN = (1, 4, 16)
BEGINNINGS = 3


def target(x: np.ndarray) -> np.ndarray:
    """Return the target function, whose five bends a single unit cannot follow."""
    return np.sin(2.5 * x) + 0.3 * x


def main(epochs: int, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    x = np.linspace(-3, 3, 512, dtype="float32")[:, None]
    fits = {}
    for width in WIDTHS:
        fits[width] = best_fit(x, width, epochs)
        error = np.abs(fits[width] - target(x))
        print(f"{width:3} units: largest error {error.max():.3f}, mean {error.mean():.3f}")
    path = output / "error_by_width.png"
    path.write_bytes(kd.report.png_bytes(draw(x, fits)))
    print(f"picture: {path}")


def best_fit(x: np.ndarray, width: int, epochs: int) -> np.ndarray:
    """Return the predictions of the best of several networks of one width."""
    found = [fit(x, width, epochs, seed) for seed in range(BEGINNINGS)]
    return min(found, key=lambda y: float(np.abs(y - target(x)).max()))


def fit(x: np.ndarray, width: int, epochs: int, seed: int) -> np.ndarray:
    keras.utils.set_random_seed(seed)
    model = kd.models.MLP(1, (width,), task="regression", activation="tanh")
    # Spread the bends of the units over the range; with zero biases, all would be at 0.
    layer = model.get_layer("hidden_1")
    places = np.random.default_rng(seed).uniform(-3, 3, width)
    slopes = np.random.default_rng(seed + 100).choice([-2.0, 2.0], width)
    layer.set_weights([slopes[None], -slopes * places])
    steps = epochs * len(x) // 64
    rate = keras.optimizers.schedules.CosineDecay(0.03, steps)
    model.compile(
        keras.optimizers.Adam(rate), kd.losses.for_task("regression"), steps_per_execution=8
    )
    model.fit(x, target(x), batch_size=64, epochs=epochs, verbose=0)
    return keras.ops.convert_to_numpy(model(x))


def draw(x: np.ndarray, fits: dict[int, np.ndarray]) -> Figure:
    """Plot the fits of some widths, and the error of all widths."""
    figure = kd.report.new_figure(9.6, 4.0)
    left, right = figure.subplots(1, 2)
    left.plot(x, target(x), color=GREY, lw=5, alpha=0.4, label="function")
    for width, color, style in zip(SHOWN, (GREY, VERMILION, BLUE), (":", "--", "-"), strict=True):
        left.plot(x, fits[width], style, color=color, lw=2, label=f"width {width}")
    left.set_xlabel("x", fontsize=12)
    left.legend(frameon=False, fontsize=10)
    errors = [np.abs(y - target(x)) for y in fits.values()]
    curves = ((np.max, "largest", VERMILION, "o"), (np.mean, "mean", BLUE, "s"))
    for measure, name, color, mark in curves:
        right.loglog(list(fits), [measure(e) for e in errors], color=color, marker=mark, label=name)
    right.set_xticks(list(fits), [str(width) for width in fits])
    right.yaxis.set_major_formatter("{x:g}")
    right.minorticks_off()
    right.set_xlabel("units of the hidden layer", fontsize=12)
    right.set_ylabel("error", fontsize=12)
    right.legend(frameon=False, fontsize=10)
    style_axes(left, right)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--output", type=Path, default=Path("universal"))
    arguments = parser.parse_args()
    main(arguments.epochs, arguments.output)
