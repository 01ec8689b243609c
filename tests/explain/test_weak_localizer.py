"""Labels with boxes, and mean maps of classes, from a network trained with labels only."""

import keras
import numpy as np
import pytest
from explained_models import SHAPE, classifier, images
from keras import layers as L

from keras_dlcourse import explain
from keras_dlcourse.explain import boxes_from_map, class_mean_maps, weak_localizer
from keras_dlcourse.layers import ImageDescription


@pytest.mark.parametrize("method", ["cam", "grad_cam", "occlusion"])
def test_label_score_and_box_are_those_of_the_parts(method):
    model, x = classifier(), images(4)
    localize = weak_localizer(model, method, threshold=0.3, class_names=list("abcd"))
    scores = model.predict(x, verbose=0)
    top = scores.argmax(1)
    for classes, expected in ((None, top), (2, [2] * 4), ([0, 1, 2, 3], range(4))):
        found = localize(x, classes)
        given = np.array(list(expected))
        boxes = boxes_from_map(explain.METHODS[method](model, x, given), 0.3)
        assert [place.index for place in found] == given.tolist()
        assert [place.label for place in found] == ["abcd"[k] for k in given]
        assert [list(place.box) for place in found] == boxes.tolist()
        np.testing.assert_allclose([p.score for p in found], scores[range(4), given], atol=1e-5)


def test_names_recorded_in_the_model_are_taken():
    given = keras.Input(SHAPE)
    described = ImageDescription(class_names=["cat", "dog", "cow", "ewe"])(given)
    model = keras.Model(given, classifier()(described))
    assert weak_localizer(model).labels == ("cat", "dog", "cow", "ewe")
    assert weak_localizer(classifier()).labels == ("0", "1", "2", "3")


def test_a_square_is_found_by_its_label():
    """The class is what fills the square; where it is does not matter."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    y = np.arange(240) % 2
    x = rng.normal(0, 0.2, (240, 24, 24, 1)).astype("float32")
    boxes = []
    for image, label in zip(x, y, strict=True):
        top, left = rng.integers(0, 16, 2)
        stripes = np.indices((8, 8))[label] % 2 * 4.0 - 2
        image[top : top + 8, left : left + 8, 0] += stripes
        boxes.append([left, top, left + 8, top + 8])
    given = keras.Input((24, 24, 1))
    z = L.Conv2D(8, 3, padding="same", activation="relu")(given)
    z = L.Conv2D(8, 3, padding="same", activation="relu")(z)
    model = keras.Model(given, L.Dense(2, activation="softmax")(L.GlobalAveragePooling2D()(z)))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=24, epochs=8, verbose=0)
    found = weak_localizer(model, threshold=0.5)(x[:40])
    assert np.mean([place.index == label for place, label in zip(found, y, strict=False)]) > 0.9
    inside = []
    for place, (left, top, right, bottom) in zip(found, boxes, strict=False):
        x0, y0, x1, y1 = place.box
        common = max(0, min(x1, right) - max(x0, left)) * max(0, min(y1, bottom) - max(y0, top))
        inside.append(common / ((x1 - x0) * (y1 - y0) + 64 - common))
    assert np.mean(np.array(inside) >= 0.5) > 0.8


@pytest.mark.parametrize("method", ["cam", "layer_cam"])
def test_class_means_against_a_loop(method):
    model, x, labels = classifier(), images(7), [0, 2, 2, 0, 2, 2, 2]
    means = class_mean_maps(model, x, labels, method, batch_size=3)
    assert means.counts.tolist() == [2, 0, 5, 0]
    for k in range(4):
        mine = [i for i, label in enumerate(labels) if label == k]
        if not mine:
            assert not means.maps[k].any() and not means.images[k].any()
            continue
        maps = [explain.METHODS[method](model, x[i : i + 1], k)[0] for i in mine]
        np.testing.assert_allclose(means.maps[k], sum(maps) / len(mine), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(means.images[k], x[mine].mean(0), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: weak_localizer(classifier(), threshold=0),
            "threshold must be a number above 0.*: 0",
        ),
        (lambda: weak_localizer(classifier(), class_names=["a"]), "each of 4 classes.*: 1"),
        (lambda: weak_localizer(classifier())(images(2), 4), "between 0 and 3"),
        (lambda: class_mean_maps(classifier(), images(2), [0]), r"shape \(2,\)"),
        (
            lambda: class_mean_maps(classifier(), images(2), [[0], [1]]),
            r"\(2,\). Received: \(2, 1\)",
        ),
        (lambda: class_mean_maps(classifier(), images(2), [0, 4]), "between 0 and 3"),
    ],
)
def test_mistakes_are_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()
