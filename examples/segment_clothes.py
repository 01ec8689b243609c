"""From images and masks to colored overlays on a device: a U-Net, in integers.

The images are scenes of one to four garments that are composed from Fashion-MNIST; no download is
needed. A process with only NumPy, Pillow and LiteRT then segments test images and draws what it
found beside the truth.

python examples/segment_clothes.py [--epochs 6] [--output runs/clothes]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

DRAWN = 8


def at_the_desk(epochs: int, output: Path) -> None:
    """Train, export to int8, compare the file with Keras, and save test images with their masks."""
    import keras
    import numpy as np
    from PIL import Image

    import keras_dlcourse as kd

    keras.utils.set_random_seed(0)
    data = kd.data.load("fashion_scenes")  # of your own: kd.data.mask_folder("images/", "masks/")
    shares = kd.data.class_shares(data.train)
    print(
        ", ".join(
            f"{name} {share:.1%}" for name, share in zip(data.class_names, shares, strict=True)
        )
    )

    model = kd.models.UNet(
        data.image_shape, classes=data.class_names, preprocessing=data.normalization
    )
    steps = epochs * len(data.train)
    model.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(2e-3, steps)),
        kd.losses.DiceCrossentropy(),
        weighted_metrics=[kd.metrics.SegmentationMetric(len(data.class_names))],
    )
    model.fit(data.train, validation_data=data.validation, epochs=epochs, verbose=2)

    result = kd.export.to_tflite(
        model, output / "clothes.int8.tflite", quantization="int8", calibration=data.train
    )
    print(kd.export.verify(model, result, data.test))

    photos = output / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    for number in range(DRAWN):
        Image.fromarray(np.asarray(data.test.x[number])).save(photos / f"{number}.png")
        Image.fromarray(np.asarray(data.test.y[number])).save(photos / f"{number}.mask.png")


def on_the_device(output: Path) -> None:
    """Segment each photo, print what it shows, and draw the photo, the truth and the overlay."""
    import numpy as np
    from PIL import Image

    from keras_dlcourse.edge import ImageSegmenter, Segmentation, draw_segmentation

    segmenter = ImageSegmenter(output / "clothes.int8.tflite")
    print(f"{segmenter.runtime}; one photo: {segmenter.benchmark()}")
    side = 192
    sheet = Image.new("RGB", (DRAWN * (side + 4), 3 * (side + 4)), "white")
    for number in range(DRAWN):
        photo = Image.open(output / "photos" / f"{number}.png").convert("RGB")
        found = segmenter.segment(photo)
        true = np.array(Image.open(output / "photos" / f"{number}.mask.png"))
        shown = ", ".join(f"{name} {area:.0%}" for name, area in found.areas.items() if area > 0.01)
        print(f"photo {number}: {shown}; {(found.category_mask == true).mean():.1%} of it right")
        truth = draw_segmentation(photo, Segmentation(found.labels, true))
        for row, picture in enumerate((photo, truth, draw_segmentation(photo, found))):
            place = (number * (side + 4), row * (side + 4))
            sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST), place)
    sheet.save(output / "segmented.png")
    print(f"drawn: {output / 'segmented.png'}: photos, true masks, masks found")
    if {"keras", "tensorflow", "jax"} & set(sys.modules):
        raise RuntimeError("keras, tensorflow or jax was imported, which a device does not have.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--output", type=Path, default=Path("runs/clothes"))
    parser.add_argument("--on-device", action="store_true", help="run only the device part")
    arguments = parser.parse_args()
    if arguments.on_device:
        on_the_device(arguments.output)
    else:
        at_the_desk(arguments.epochs, arguments.output)
        command = [sys.executable, __file__, "--on-device", "--output", str(arguments.output)]
        subprocess.run(command, check=True)
