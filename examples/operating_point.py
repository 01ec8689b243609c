"""Choose an operating point: a threshold is chosen, tested, exported, and used on a device.

The classifier detects shirts. At most one in twenty other pieces of clothing may be taken for a
shirt. The threshold is chosen on the validation set, tested once on the test set, stored in the
.tflite file, and applied on the device. The ROC curve is drawn with the operating point.

python examples/operating_point.py [--epochs 15] [--fpr 0.05] [--output runs/operating_point]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

import keras_dlcourse as kd
from keras_dlcourse.edge import ImageClassifier


def main(epochs: int, fpr: float, output: Path) -> dict[str, kd.training.OperatingPoint]:
    output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    data = kd.data.load("fashion_mnist_small")
    shirt = data.class_names.index("Shirt")
    train, validation, test = (
        kd.data.pipeline(
            part.x,
            (part.y == shirt).astype("int32"),
            batch_size=64,
            shuffle=part is data.train,
            normalization=data.normalization,
        )
        for part in (data.train, data.validation, data.test)
    )
    layers = [keras.Input(data.image_shape)]
    for filters in (16, 32):
        layers += [keras.layers.Conv2D(filters, 3, activation="relu"), keras.layers.MaxPooling2D()]
    layers += [keras.layers.Flatten(), keras.layers.Dense(64, "relu"), keras.layers.Dropout(0.5)]
    model = keras.Sequential([*layers, keras.layers.Dense(1, "sigmoid")])
    model.compile(
        "adam",
        kd.losses.for_task("binary"),
        metrics=[
            keras.metrics.AUC(name="auc"),
            keras.metrics.SensitivityAtSpecificity(1 - fpr, name="recall_at_fpr"),
        ],
    )
    model.fit(train, epochs=epochs, validation_data=validation, verbose=2)

    chosen = kd.training.threshold_for(
        validation.y, model.predict(validation, verbose=0)[:, 0], fpr=fpr
    )
    scores = model.predict(test, verbose=0)[:, 0]
    path = kd.export.to_tflite(
        model,
        output / "shirt.int8.tflite",
        quantization="int8",
        calibration=train,
        labels=["Shirt"],
        score_thresholds=chosen.threshold,
    ).path
    device = ImageClassifier(path)
    found = {
        "validation": chosen,
        "test": chosen.on(test.y, scores),
        "test, int8 file": chosen.on(test.y, device.scores(test.x)),
    }
    for name, point in found.items():
        print(f"{name}: {point}")
    listed = [bool(categories) for categories in device.classify_batch(test.x)]
    print(f"the device lists {np.sum(listed)} of {len(listed)} as shirts")

    area = kd.report.confidence_interval(roc_auc_score, test.y, scores)
    print(f"area under ROC on the test part: {area}")
    result = kd.report.evaluation(test.y, scores, ["other", "Shirt"], threshold=chosen.threshold)
    print(result)
    pictures = {
        "roc.png": kd.report.draw_roc(test.y, scores, thresholds=chosen.threshold),
        "evaluation.png": kd.report.draw_evaluation(result),
        "confusion.png": kd.report.draw_confusion_matrix(result.confusion, result.class_names),
    }
    for name, figure in pictures.items():
        (output / name).write_bytes(kd.report.png_bytes(figure, dpi=100))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--fpr", type=float, default=0.05)
    parser.add_argument("--output", type=Path, default=Path("runs/operating_point"))
    options = parser.parse_args()
    main(options.epochs, options.fpr, options.output)
