"""Follow a run in MLflow: settings, metrics of each epoch, test results, report and files.

pip install mlflow
python examples/track_with_mlflow.py [--epochs 10] [--images 2000] [--output runs/mlflow]
mlflow ui

It is recorded in mlflow.db, or where MLFLOW_TRACKING_URI says.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import keras
import mlflow

import keras_dlcourse as kd


def main(epochs: int, images: int, output: Path) -> None:
    data = kd.data.load("fashion_mnist_small")
    arrays = (data.train.x[:images], data.train.y[:images]), (data.test.x, data.test.y)
    recipe = kd.training.Recipe(model="lenet5", epochs=epochs)
    with mlflow.start_run() as tracked:
        mlflow.log_params(asdict(recipe))
        follow = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: mlflow.log_metrics(logs, step=epoch + 1)
        )
        done = kd.training.run(arrays, output, recipe, callbacks=[follow])
        mlflow.log_metric("test_accuracy", done.accuracy)
        mlflow.set_tag("verdict", done.results["verdict"]["level"])
        mlflow.log_artifacts(str(done.folder.path))
    print(f"{tracked.info.run_id}: {done.accuracy:.1%} on the test images")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("runs/mlflow"))
    arguments = parser.parse_args()
    main(arguments.epochs, arguments.images, arguments.output)
