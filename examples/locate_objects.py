"""Predict class, box and keypoints of one object: one joint loss, int8 on a device.

Pieces of clothing (Fashion-MNIST) are cut out and pasted on photographs, which gives scenes with
exact boxes. There are only two photographs for training, so they are rotated and recolored to avoid
overfitting. The test scenes use other pieces and a third photograph. A process with only NumPy,
Pillow and LiteRT then locates the objects and draws the results.

python examples/locate_objects.py [--epochs 15] [--output runs/locate]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

SIDE, TRAIN, TEST, DRAWN = 64, 6000, 200, 8
KINDS = ("T-shirt/top", "Trouser", "Sandal", "Bag", "Ankle boot")
FORMAT = "rel_center_xywh"
POINTS = ("left", "top", "right", "bottom")  # the outermost points of a piece, in image directions


def at_the_desk(epochs: int, output: Path) -> None:
    """Compose scenes, train, export to int8, and save the test scenes as photos."""
    from itertools import permutations

    import keras
    import numpy as np
    from matplotlib.cbook import get_sample_data
    from PIL import Image
    from sklearn.datasets import load_sample_image

    import keras_dlcourse as kd

    keras.utils.set_random_seed(0)
    data = kd.data.load("fashion_mnist_small")

    def varied(photo: np.ndarray) -> list[np.ndarray]:
        turned = [np.rot90(photo, quarter) for quarter in range(4)]
        recoloured = [each[..., order] for each in turned for order in permutations(range(3))]
        return recoloured + [255 - each for each in recoloured]

    def scenes(part, photos: list[np.ndarray], count: int, seed: int):
        kept = np.flatnonzero(np.isin(part.y, [data.class_names.index(kind) for kind in KINDS]))
        pieces = np.asarray(part.x[kept, ..., 0])
        kinds = [KINDS.index(data.class_names[number]) for number in part.y[kept]]
        alpha = np.where(pieces > 16, 255, 0).astype("uint8")
        cutouts = np.stack([pieces, pieces, pieces, alpha], axis=-1)
        points = [outermost(cutout[..., 3] > 0) for cutout in cutouts]
        return kd.data.compose_scenes(
            cutouts, kinds, photos, count, (SIDE, SIDE),
            scale=(0.4, 0.9), keypoints=points, flip_pairs=[(0, 2)], seed=seed,
        )  # fmt: skip

    def outermost(shown: np.ndarray) -> list[tuple[float, float]]:
        rows, columns = np.nonzero(shown)
        ends = columns.argmin(), rows.argmin(), columns.argmax(), rows.argmax()
        return [(columns[k] + 0.5, rows[k] + 0.5) for k in ends]

    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as portrait:
        photos = [load_sample_image("china.jpg"), np.array(portrait.convert("RGB"))]
    train = scenes(data.train, [each for photo in photos for each in varied(photo)], TRAIN, seed=0)
    test = scenes(data.test, [load_sample_image("flower.jpg")], TEST, seed=1)
    normalization = kd.data.Normalization.fit(train.images)

    def labels(part: kd.data.Scenes) -> dict[str, np.ndarray]:
        boxes = part.boxes[:, 0]
        return {
            "label": part.labels[:, 0],
            "box": kd.data.convert_boxes(boxes, "xyxy", FORMAT, SIDE, SIDE),
            "keypoints": kd.data.keypoints_to_box(part.keypoints[:, 0], boxes),
        }

    x = image = keras.Input((SIDE, SIDE, 3))
    for filters, strides in ((16, 2), (32, 2), (64, 2), (96, 1)):
        x = keras.layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization(momentum=0.9)(x))
    backbone = keras.Model(image, x)  # or a kd.models.MobileNetV2(..., include_top=False)
    model = kd.models.localizer(backbone, len(KINDS), keypoints=POINTS)
    tasks = {
        "label": "sparse_categorical_crossentropy",
        "box": kd.losses.SmoothL1Loss(),
        "keypoints": kd.losses.KeypointLoss(),
    }
    loss = kd.losses.MultitaskLoss(tasks, {"label": 0.5, "box": 1.0, "keypoints": 0.5})
    trainer = kd.models.MultitaskModel(
        model, loss, joint_metrics=[kd.metrics.LocalizationAccuracy(FORMAT)]
    )
    trainer.compile(
        keras.optimizers.Adam(2e-3),
        metrics={"box": kd.metrics.BoxIoU(FORMAT), "keypoints": kd.metrics.PCK()},
    )
    trainer.fit(
        np.asarray(normalization(train.images), "float32"), labels(train), batch_size=64,
        epochs=epochs, verbose=2,
    )  # fmt: skip
    inputs = np.asarray(normalization(test.images), "float32")
    for name, value in trainer.evaluate(inputs, labels(test), verbose=0, return_dict=True).items():
        print(f"{name} on other pieces and another photograph: {value:.3f}")

    result = kd.export.to_tflite(
        model, output / "localizer.int8.tflite", quantization="int8",
        calibration=kd.data.pipeline(train.images, normalization=normalization),
        labels=KINDS, preprocessing=normalization,
    )  # fmt: skip
    print(kd.export.verify(model, result, kd.data.pipeline(
        test.images, labels(test)["label"], normalization=normalization
    )))  # fmt: skip
    photos = output / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(test.images):
        Image.fromarray(image).save(photos / f"{number:03}.png")
    truth = {"labels": [KINDS[k] for k in test.labels[:, 0]],
             "boxes": test.boxes[:, 0].tolist()}  # fmt: skip
    (output / "truth.json").write_text(json.dumps(truth))


def on_the_device(output: Path) -> None:
    """Locate the object in each photo, count correct results, and draw some."""
    from PIL import Image

    from keras_dlcourse.edge import ObjectLocalizer, draw_detection

    localizer = ObjectLocalizer(output / "localizer.int8.tflite")
    truth = json.loads((output / "truth.json").read_text())
    photos = sorted((output / "photos").glob("*.png"))
    found = [localizer.locate(photo, max_results=1) for photo in photos]
    right = 0
    for detection, label, box in zip(found, truth["labels"], truth["boxes"], strict=True):
        placed = intersection_over_union(detection.bounding_box, box) >= 0.5
        right += placed and detection.categories[0].label == label
    print(f"int8 on the device: class and box right in {right / len(found):.1%} of {len(found)}")
    print(f"{localizer.runtime}; one photo: {localizer.benchmark()}")
    sheet = Image.new("RGB", (DRAWN // 2 * 260, 2 * 260), "white")
    for number in range(DRAWN):
        photo = Image.open(photos[number]).resize((256, 256))
        drawn = draw_detection(photo, localizer.locate(photo, max_results=1))
        sheet.paste(drawn, (number % (DRAWN // 2) * 260, number // (DRAWN // 2) * 260))
    sheet.save(output / "located.png")
    print(f"drawn: {output / 'located.png'}")
    if {"keras", "tensorflow", "jax"} & set(sys.modules):
        raise RuntimeError("keras, tensorflow or jax was imported, which a device does not have.")


def intersection_over_union(one, other) -> float:
    """Return the IoU of a `BoundingBox` and (left, top, right, bottom)."""
    left, top = max(one.origin_x, other[0]), max(one.origin_y, other[1])
    right = min(one.origin_x + one.width, other[2])
    bottom = min(one.origin_y + one.height, other[3])
    common = max(right - left, 0) * max(bottom - top, 0)
    area = (other[2] - other[0]) * (other[3] - other[1])
    return common / (one.width * one.height + area - common)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--output", type=Path, default=Path("runs/locate"))
    parser.add_argument("--on-device", action="store_true", help="run only the device part")
    arguments = parser.parse_args()
    if arguments.on_device:
        on_the_device(arguments.output)
    else:
        at_the_desk(arguments.epochs, arguments.output)
        command = [sys.executable, __file__, "--on-device", "--output", str(arguments.output)]
        subprocess.run(command, check=True)
