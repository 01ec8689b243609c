"""Transfer learning from twenty photos per class to a calibrated file on a device.

In practice, the base would have ImageNet weights. This example downloads nothing: it trains a small
base on six kinds of clothes and transfers it to four others, of which there are few photos. The
result gets test-time augmentation, a temperature and a score threshold. Then it compares training
from scratch, with a frozen base, and with fine-tuning, for fewer and more photos, each with and
without augmentation.

python examples/few_photos.py [--quick] [--output runs/few_photos]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import keras_dlcourse as kd
from keras_dlcourse.report.canvas import BLUE, GREEN, VERMILION, style_axes

NEW = (8, 4, 2, 7)  # bags, coats, pullovers, sneakers; in alphabetical order of their folders
PHOTOS = 20
VIEWS = ["identity", "flip", ("shift", 1, 0), ("shift", -1, 0), ("zoom", 1.1)]
COUNTS, QUICK_COUNTS = (5, 10, 20, 50), (5, 20)
WAYS = ("scratch", "frozen", "fine-tuned")
BATCH = 8
EPOCHS, RATES = (15, 10), (1e-2, 1e-3)  # of the two stages; from scratch, the sum of epochs
Part = tuple[np.ndarray, np.ndarray]


def main(output: Path, quick: bool = False) -> dict[str, list[float]]:
    clothes = kd.data.load("fashion_mnist_small")
    names = [clothes.class_names[number] for number in NEW]
    known, photos, later = sorted_out(clothes)
    base = pretrained(known, clothes.class_names, quick)
    write_photos(output / "photos", photos, names)
    deploy(base, output, later)
    curves = scarcity(base, photos, later, QUICK_COUNTS if quick else COUNTS, output / "features")
    counts = list(curves.pop("photos a class"))
    rows = [[name, *(f"{value:.1%}" for value in values)] for name, values in curves.items()]
    print(kd.report.text_table(["photos a class", *map(str, counts)], rows))
    picture = kd.report.png_bytes(draw(counts, curves))
    (output / "scarcity.png").write_bytes(picture)
    return curves


def sorted_out(clothes: kd.data.Dataset) -> tuple[Part, Part, Part]:
    """Return images of the known classes, photos of the new ones, and test photos of those."""
    new = np.isin(clothes.train.y, NEW)
    known = clothes.train.x[~new], np.unique(clothes.train.y[~new], return_inverse=True)[1]
    parts = [known]
    for part in (clothes.train, clothes.test):
        chosen = np.isin(part.y, NEW)
        parts.append((part.x[chosen], np.vectorize(NEW.index)(part.y[chosen])))
    return parts[0], parts[1], parts[2]


def network(classes: int, normalization: kd.data.Normalization) -> keras.Model:
    """Build a small VGG with global average pooling."""
    features = kd.models.VGG11(
        (28, 28, 1),
        alpha=0.25,
        output_stride=16,
        batch_norm=True,
        include_top=False,
        pooling="avg",
        preprocessing=normalization,
    )
    outputs = keras.layers.Dense(classes, "softmax")(features.output)
    return keras.Model(features.inputs[0], outputs, name="small_vgg")


def pretrained(known: Part, class_names: tuple[str, ...], quick: bool) -> keras.Model:
    """Train the base on the classes with many images."""
    keras.utils.set_random_seed(0)
    x, y = known
    normalization = kd.data.Normalization.fit(x)
    data = kd.data.pipeline(x, y, batch_size=64, shuffle=True, normalization=normalization)
    epochs = 1 if quick else 4
    base = network(len(class_names) - len(NEW), normalization)
    rate = kd.training.warmup_cosine(epochs * len(data), 3e-3)
    base.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    base.fit(data, epochs=epochs, verbose=2)
    return base


def some(photos: Part, count: int, seed: int = 0) -> Part:
    """Choose `count` photos of each class."""
    x, y = photos
    random = np.random.default_rng(seed)
    chosen = [random.permutation(np.flatnonzero(y == label))[:count] for label in range(len(NEW))]
    indices = np.concatenate(chosen)
    return x[indices], y[indices]


def write_photos(folder: Path, photos: Part, names: list[str]) -> None:
    """Write one folder of PNG files per class."""
    for number, (pixels, label) in enumerate(zip(*some(photos, PHOTOS), strict=True)):
        path = folder / names[label] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(path)


def augmentation() -> keras.layers.Layer:
    return kd.layers.RandomAffine(
        scale=(0.9, 1.1), translation=0.07, horizontal_flip=True, fill_mode="nearest", seed=0
    )


def deploy(base: keras.Model, output: Path, later: Part) -> None:
    """Go from a folder of photos to predictions on a device."""
    data = kd.data.image_folder(
        output / "photos", 28, channels=1, validation=0.25, test=0.05, batch_size=BATCH
    )
    found = kd.training.transfer(
        base,
        data.class_names,
        data.train,
        data.validation,
        augmentation=augmentation(),
        unfreeze=2,
        epochs=EPOCHS,
        learning_rates=RATES,
        verbose=0,
    )
    print(found)
    unseen = kd.data.pipeline(*later, normalization=data.normalization)
    tta = kd.models.TestTimeAugmentation(found.model, VIEWS)
    print(tta.gain(unseen, below=(0.6, 0.9)))
    scaling = kd.training.TemperatureScaling().fit(tta.augmented, data.validation)
    calibrated = scaling.apply(tta.augmented)
    point = surest(calibrated, data.validation)
    path = output / "few_photos.tflite"
    kd.export.to_tflite(calibrated, path, labels=data.class_names, score_thresholds=point.threshold)

    with kd.edge.ImageClassifier(path) as classifier:
        first = next(iter(sorted((output / "photos").rglob("*.png"))))
        print(first.parent.name, classifier.classify(first, max_results=2))
        scores = classifier.scores(later[0])
        answers = classifier.classify_batch(later[0], max_results=1)
    given = [(one[0].index, label) for one, label in zip(answers, later[1], strict=True) if one]
    print(
        f"score threshold {point.threshold:.2f}: {len(given) / len(answers):.1%} of later "
        f"photos have an answer, {np.mean([a == b for a, b in given]):.1%} of these are right"
    )
    before = kd.report.reliability(later[1], tta.predict(unseen).scores).error
    after = kd.report.reliability(later[1], scores).error
    print(f"{path.name}: {np.mean(scores.argmax(1) == later[1]):.1%} right, calibration error "
          f"{before:.1%}, {after:.1%} at temperature {scaling.temperature:.2f}")  # fmt: skip


def surest(model: keras.Model, validation: kd.data.Pipeline) -> kd.training.OperatingPoint:
    """Choose the score threshold above which 90 % of predictions are right."""
    scores = model.predict(validation, verbose=0)
    right = scores.argmax(axis=1) == validation.y
    return kd.training.threshold_for(right, scores.max(axis=1), precision=0.9)


def scarcity(
    base: keras.Model, photos: Part, later: Part, counts: tuple[int, ...], cache: Path
) -> dict[str, list[float]]:
    """Measure accuracy against the number of photos per class."""
    found: dict[str, list[float]] = {"photos a class": list(counts)}
    for count in counts:
        x, y = some(photos, count)
        normalization = kd.data.Normalization.fit(x)
        for layer, said in ((None, ""), (augmentation(), " + augmentation")):
            for way in WAYS:
                train = kd.data.pipeline(
                    x, y, batch_size=BATCH, shuffle=True, normalization=normalization
                )
                model = trained(way, base, train, layer, cache)
                unseen = kd.data.pipeline(*later, batch_size=200, normalization=normalization)
                _, right = model.evaluate(unseen, verbose=0)
                found.setdefault(way + said, []).append(right)
    return found


def trained(
    way: str,
    base: keras.Model,
    train: kd.data.Pipeline,
    layer: keras.layers.Layer | None,
    cache: Path,
) -> keras.Model:
    if way != "scratch":
        second = EPOCHS[1] if way == "fine-tuned" else 0
        return kd.training.transfer(
            base,
            len(NEW),
            train,
            augmentation=layer,
            cache=None if layer else cache,
            unfreeze=2,
            epochs=(EPOCHS[0], second),
            learning_rates=RATES,
            verbose=0,
        ).model
    keras.utils.set_random_seed(0)
    model = network(len(NEW), train.normalization)
    model = keras.Sequential([keras.Input(train.image_shape), *([layer] if layer else []), model])
    rate = kd.training.warmup_cosine(sum(EPOCHS) * len(train), 3e-3)
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(train, epochs=sum(EPOCHS), verbose=0)
    return model


def draw(counts: list[float], curves: dict[str, list[float]]) -> Figure:
    """Plot accuracy against the number of photos per class."""
    figure = kd.report.new_figure(6.4, 4.4)
    axes = figure.subplots()
    colors = dict(zip(WAYS, (VERMILION, BLUE, GREEN), strict=True))
    for name, values in curves.items():
        way, _, augmented = name.partition(" + ")
        style, marker = ("-", "s") if augmented else ("--", "o")
        axes.plot(counts, values, style, color=colors[way], marker=marker, lw=2, label=name)
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("photos a class", fontsize=12)
    axes.set_ylabel("right, of photos taken later", fontsize=12)
    style_axes(axes)
    axes.legend(frameon=False, fontsize=10)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("runs/few_photos"))
    options = parser.parse_args()
    main(options.output, options.quick)
