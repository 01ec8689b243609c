"""The settings that a run chooses from its data."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import keras_dlcourse as kd
from keras_dlcourse.data.image_cache import CachedImages
from keras_dlcourse.graph.weightless import weightless
from keras_dlcourse.training import Recipe
from keras_dlcourse.training.run import augment, pretrained
from keras_dlcourse.training.run.augment import (
    LEVELS,
    add_augmentation,
    augment_pixels,
    build_augmentation,
    can_mirror,
)
from keras_dlcourse.training.run.recipe import STEPS, choose_fine_tuning, choose_length, fill
from keras_dlcourse.training.run.tasks.classification import (
    batch_training_data,
    choose_settings,
    find_class_weight,
    summarize_data,
)

RNG = np.random.default_rng(0)


@given(st.integers(1, 2_000_000))
def test_length_is_counted_in_steps(examples):
    recipe, why = choose_length(Recipe(), examples)
    steps = recipe.epochs * math.ceil(examples / recipe.batch_size)
    assert steps >= STEPS
    assert (recipe.epochs - 1) * examples / recipe.batch_size < max(
        STEPS, STEPS * math.sqrt(examples / 2_000)
    )
    assert recipe.batch_size in (32, 64, 128)
    assert 10 <= recipe.patience <= max(10, recipe.epochs)
    assert len(why) == 5  # one sentence for each that was not given


def test_what_is_given_is_kept():
    given_ = {
        "epochs": 3,
        "batch_size": 7,
        "learning_rate": 0.5,
        "weight_decay": 0.0,
        "patience": 2,
    }
    for choose in (choose_length, choose_fine_tuning):
        assert choose(Recipe(**given_), 1_000) == (Recipe(**given_), [])


def test_fine_tuning_is_short_and_slow():
    recipe, _ = choose_fine_tuning(Recipe(), 900)
    whole, _ = choose_length(Recipe(), 900)
    assert recipe.epochs == math.ceil(300 / math.ceil(900 / 32)) < whole.epochs
    assert recipe.learning_rate < whole.learning_rate / 10


def test_fill_says_what_it_fills_in():
    recipe, why = fill(Recipe(flip=False), {"flip": (True, "x"), "augment": ("strong", "few")})
    assert recipe == Recipe(flip=False, augment="strong")
    assert why == ["augment=strong: few"]


def _bars(seed, n=24, is_mirrored=False):
    """Return images of a bright bar on the left."""
    images = np.random.default_rng(seed).integers(0, 60, (n, 20, 20, 1)).astype("uint8")
    images[:, 4:16, 2:8] += 150
    return images[:, :, ::-1] if is_mirrored else images


def test_left_and_right_are_not_mirrored_and_up_and_down_are():
    sides = np.concatenate([_bars(0), _bars(1, is_mirrored=True)])
    heights = np.concatenate(
        [_bars(0).transpose(0, 2, 1, 3), _bars(1).transpose(0, 2, 1, 3)[:, ::-1]]
    )
    labels = np.arange(48) // 24
    is_good, why = can_mirror(kd.data.pipeline(sides, labels))
    assert not is_good and "100.0% without" in why
    assert can_mirror(kd.data.pipeline(heights, labels))[0]
    is_good, why = can_mirror(kd.data.pipeline(sides[[0, 47]], np.array([0, 1])))
    assert not is_good and "too few" in why


def test_one_image_more_or_less_does_not_forbid_mirroring(monkeypatch):
    """One standard error of the difference: the root of the images that only one gets right."""
    images = kd.data.pipeline(_bars(0), np.arange(24) % 2)
    right = np.ones((2, 24), bool)
    monkeypatch.setattr(augment, "_compare", lambda *_: right)
    assert can_mirror(images)[0]
    right[1, 0] = False
    assert can_mirror(images)[0]
    right[1, :3] = False
    is_good, why = can_mirror(images)
    assert not is_good and why.endswith("87.5% with mirrored images and 100.0% without")
    right[0, 3:5] = False  # 3 lost, 2 gained
    assert can_mirror(images)[0]


def test_levels_change_more_and_more():
    images = RNG.random((8, 24, 24, 1)).astype("float32")
    changes = []
    for level in LEVELS:
        layer = build_augmentation(level, flip=False, seed=0)
        moved = images if layer is None else layer(images, training=True)
        changes.append(float(np.abs(keras.ops.convert_to_numpy(moved) - images).mean()))
        if layer is not None:
            np.testing.assert_array_equal(layer(images, training=False), images)
    assert changes[0] == 0 < changes[1] < changes[2]
    flipped = build_augmentation("none", flip=True, seed=0)(images, training=True)
    flipped = keras.ops.convert_to_numpy(flipped)
    same = [np.allclose(a, b) for a, b in zip(flipped, images, strict=True)]
    mirrored = [np.allclose(a, b[:, ::-1]) for a, b in zip(flipped, images, strict=True)]
    assert any(same) and any(mirrored) and all(map(max, same, mirrored))


def test_augmentation_is_not_part_of_the_model():
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    trained = add_augmentation(model, build_augmentation("strong", flip=True, seed=0))
    images = RNG.random((4, 8, 8, 1)).astype("float32")
    np.testing.assert_array_equal(trained(images, training=False), model(images))
    assert np.abs(trained(images, training=True) - model(images)).max() > 0.01
    trained.compile("sgd", "mse")
    trained.fit(images, np.zeros((4, 2)), verbose=0)
    np.testing.assert_array_equal(trained.get_weights()[-1], model.get_weights()[-1])
    assert add_augmentation(model, None) is model


def test_copies_for_calibration_keep_the_originals_first():
    images = RNG.integers(0, 256, (7, 12, 12, 3)).astype("uint8")
    data = kd.data.pipeline(
        images, np.arange(7) % 2, normalization=kd.data.Normalization(10.0, 2.0)
    )
    more = augment_pixels(data, build_augmentation("light", flip=False, seed=0), 20)
    assert more.x.shape == (21, 12, 12, 3) and more.x.dtype == np.uint8 and more.y is None
    np.testing.assert_array_equal(more.x[:7], images)
    assert not np.array_equal(more.x[7:14], images) and more.normalization == data.normalization


def _dataset(counts, size=16, channels=1):
    labels = np.repeat(np.arange(len(counts)), counts)
    images = RNG.integers(0, 256, (len(labels), size, size, channels)).astype("uint8")
    names = [f"class {number}" for number in range(len(counts))]
    return kd.data.Dataset.from_parts(
        "made", (images, labels), (images, labels), (images, labels), names
    )


def test_rare_classes_count_more_but_not_in_full_proportion():
    data = _dataset([40, 10])
    weights = find_class_weight(data)
    assert weights[1] / weights[0] == pytest.approx(2)  # not 4
    assert (weights * [40, 10]).sum() == pytest.approx(50)
    recipe, why = choose_settings(data, Recipe(augment="none", batch_size=8))
    assert "an image of class 1 counts 2.0 times as much as one of class 0" in why[-1]
    batches = batch_training_data(data, recipe)
    assert batches.batch_size == 8
    np.testing.assert_allclose(batches.sample_weight, weights[data.train.y])
    assert find_class_weight(_dataset([14, 10])) is None
    assert batch_training_data(_dataset([14, 10]), recipe).sample_weight is None


@pytest.mark.parametrize(
    ("counts", "recipe", "augment", "why"),
    [
        ([20, 20], Recipe(), "light", "augment=light: for 20 training images per class"),
        ([500, 500], Recipe(), "none", "augment=none: for 500 training images per class"),
        ([20, 20], Recipe(augment="none"), "none", "flip=False: augment=none"),
        ([20, 20], Recipe(augment="strong", flip=True), "strong", "label_smoothing=0.1"),
    ],
)
def test_augmentation_follows_the_images_per_class(counts, recipe, augment, why):
    chosen, reasons = choose_settings(_dataset(counts), recipe)
    assert chosen.augment == augment and chosen.label_smoothing == 0.1
    assert any(reason.startswith(why) for reason in reasons)
    assert recipe.flip is None or chosen.flip is recipe.flip
    assert all(
        value not in (None, "auto") for name, value in vars(chosen).items() if name != "time"
    )


def test_leaks_are_searched_for_unless_images_would_be_decoded_once_more(tmp_path):
    photos = tmp_path / "photos"
    for name in ("a", "b"):
        (photos / name).mkdir(parents=True)
        for number in range(5):
            pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3)).astype("uint8")
            Image.fromarray(pixels).save(photos / name / f"{number}.png")
    in_memory, on_disk, undecoded = (
        kd.data.image_folder(photos, image_size=8, cache=cache)
        for cache in (True, tmp_path / "cache", False)
    )
    assert "keras-dlcourse data DIR does it" in summarize_data(undecoded)[0]
    assert isinstance(on_disk.train.x, CachedImages)
    lines = summarize_data(on_disk)
    assert any(line.startswith("Leak: ") for line in lines)  # the same images are in both classes
    assert lines == summarize_data(in_memory) == kd.data.summarize(in_memory).lines()


def test_weights_on_this_machine_are_found_without_a_download(tmp_path, monkeypatch):
    """An empty cache and no network: the message says how to get the weights."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(pretrained.models, "build", lambda *a, **k: pytest.fail("a network"))
    monkeypatch.delenv(pretrained.FOLDER, raising=False)
    recipe, why = pretrained.choose_weights(Recipe(), (96, 96, 3))
    assert recipe.weights == "none" and "--weights imagenet" in why
    recipe, why = pretrained.choose_weights(Recipe(), (28, 28, 1))
    assert recipe.weights == "none" and "smaller than 64 pixels" in why
    (tmp_path / "mobilenet_v2_0.35.keras").touch()
    monkeypatch.setenv(pretrained.FOLDER, str(tmp_path))
    recipe, why = pretrained.choose_weights(Recipe(alpha=0.35), (96, 96, 3))
    assert recipe.weights == str(tmp_path / "mobilenet_v2_0.35.keras") and pretrained.FOLDER in why
    assert pretrained.choose_weights(Recipe(weights="none"), (96, 96, 3))[0].weights == "none"


@pytest.mark.parametrize("weights", ["auto", "imagenet"])
def test_weights_in_the_cache_are_found_without_building_a_network(tmp_path, monkeypatch, weights):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(pretrained.models, "build", lambda *a, **k: pytest.fail("a network"))
    (tmp_path / "models").mkdir()
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"
    (tmp_path / "models" / name).touch()
    wanted = Recipe(alpha=0.35, weights=weights)
    assert pretrained.choose_weights(wanted, (96, 96, 3))[0].weights == "imagenet"


@pytest.mark.parametrize(
    ("model", "alpha", "image_shape"),
    [
        ("mobilenet", 1.0, (100, 120, 3)),
        ("mobilenet", 0.75, (160, 160, 3)),
        ("mobilenet", 0.25, (96, 96, 3)),
        ("mobilenet_v2", 1.0, (96, 96, 1)),
        ("mobilenet_v3_large", 1.0, (96, 96, 3)),
        ("mobilenet_v3_small", 0.75, (96, 96, 3)),
        ("efficientnet_b0", 1.0, (96, 96, 3)),
        ("densenet121", 1.0, (96, 96, 3)),
        ("resnet50", 1.0, (96, 96, 3)),
        ("vgg16", 1.0, (96, 96, 3)),
    ],
)
def test_the_file_looked_for_is_the_one_that_keras_reads(model, alpha, image_shape, monkeypatch):
    asked = []

    def refuse(name, *args, **kwargs):
        asked.append(name)
        raise OSError("no network")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", refuse)
    recipe = Recipe(model=model, alpha=alpha, weights="imagenet")
    with weightless(), pytest.raises(OSError, match="no network"):
        pretrained._build_imagenet(recipe, image_shape)
    assert asked == [pretrained._cached_file(recipe, image_shape).name]


def test_no_file_is_looked_for_where_there_are_no_weights():
    for recipe in (Recipe(model="resnet50", alpha=0.5), Recipe(model="lenet5")):
        assert not pretrained._cached_file(recipe, (96, 96, 3)).is_file()
        assert pretrained._cached_file(recipe, (96, 96, 3)).name == "models"


def test_a_download_that_fails_is_said(monkeypatch, tmp_path):
    def fail(*args):
        raise OSError("no network")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(pretrained, "_build_imagenet", fail)
    recipe, why = pretrained.choose_weights(Recipe(weights="imagenet"), (96, 96, 3))
    assert recipe.weights == "none"
    assert why == ("weights=none: the network is trained from random weights, because no network")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Return the file of a network with random weights that records its normalization."""
    keras.utils.set_random_seed(0)
    model = kd.models.MobileNetV2(
        (32, 32, 3),
        alpha=0.35,
        include_top=False,
        preprocessing=kd.data.Normalization(127.5, 127.5),
    )
    path = tmp_path_factory.mktemp("weights") / "base.keras"
    model.save(path)
    return path


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_is_the_logistic_regression_on_the_features(base, classes):
    from sklearn.linear_model import LogisticRegression

    images = RNG.integers(0, 256, (30, 32, 32, 3)).astype("uint8")
    labels = np.arange(30) % classes
    images[labels == 1, :16] //= 3
    images[labels == 2, 16:] //= 3
    names = ["a", "b", "c"][:classes]
    data = kd.data.Dataset.from_parts("made", *[(images, labels)] * 3, names)
    model = pretrained.build_pretrained(data, Recipe(weights=str(base)))
    accuracy = pretrained.fit_head(model, data)
    scores = model.predict(data.test, verbose=0)
    assert accuracy == np.mean(scores.argmax(axis=1) == labels) > 0.9
    features = keras.Model(model.inputs[0], model.get_layer("head_dropout").input)
    vectors = features.predict(data.test, verbose=0)
    vectors = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0).mean()
    expected = [
        LogisticRegression(C=strength, max_iter=1000).fit(vectors, labels).predict_proba(vectors)
        for strength in pretrained._STRENGTHS
    ]
    assert min(np.abs(scores - one).max() for one in expected) < 1e-4
    trained = {weight.path.split("/")[0] for weight in model.trainable_weights}
    assert "predictions" in trained and 1 < len(trained) < 8  # the last block, not more


def test_a_file_of_weights_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"weights must be .*Received: .*no\.keras"):
        pretrained.build_pretrained(_dataset([4, 4]), Recipe(weights=str(tmp_path / "no.keras")))
