"""Search learning rate, weight decay and augmentation with Optuna; each trial is a run.

pip install optuna
python examples/search_with_optuna.py [--trials 10] [--epochs 10] [--images 2000] [--output DIR]

A trial that is worse than the median of the earlier ones ends early, through a callback. The test
part chooses nothing: trials are compared on the validation part.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import keras
import optuna

import keras_dlcourse as kd


class Prune(keras.callbacks.Callback):
    """Reports each epoch to a trial, and ends a trial that is not worth going on."""

    def __init__(self, trial: optuna.Trial) -> None:
        super().__init__()
        self.trial = trial

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.trial.report((logs or {})["val_accuracy"], epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def main(trials: int, epochs: int, images: int, output: Path) -> optuna.Study:
    data = kd.data.load("fashion_mnist_small")
    arrays = (data.train.x[:images], data.train.y[:images]), (data.test.x, data.test.y)

    def train(trial: optuna.Trial) -> float:
        recipe = kd.training.Recipe(
            model="lenet5",
            epochs=epochs,
            learning_rate=trial.suggest_float("learning_rate", 3e-4, 1e-2, log=True),
            weight_decay=trial.suggest_float("weight_decay", 1e-3, 0.3, log=True),
            augment=trial.suggest_categorical("augment", ["none", "light"]),
        )
        folder = output / f"trial-{trial.number}"
        done = kd.training.run(arrays, folder, recipe, callbacks=[Prune(trial)])
        trial.set_user_attr("test_accuracy", done.accuracy)
        return float(done.results["validation_accuracy"])

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
    )
    study.optimize(train, n_trials=trials)
    best = study.best_trial
    print(
        f"best: {output / f'trial-{best.number}'}, {best.value:.1%} on the validation images, "
        f"{best.user_attrs['test_accuracy']:.1%} on the test images: {best.params}"
    )
    return study


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("runs/optuna"))
    arguments = parser.parse_args()
    main(arguments.trials, arguments.epochs, arguments.images, arguments.output)
